"""What setup.cfg cannot say: the start-up file belongs beside the package, in site-packages.

Interpreters read ``*.pth`` in site-packages alone, where neither package data nor data files go. As a step
of the build it gets into the sdist, every wheel and its RECORD, and so into what an uninstall removes.
"""

import os
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build

START_UP_FILE = "astcapture.pth"


class BuildStartUpFile(Command):
    """Put the start-up file at the root of what is built."""

    description = "copy the start-up file beside the package"
    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None:
        self.editable_mode = False
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        # An editable install leaves build_lib behind; what it installs is install_lib, the root of its wheel.
        folder = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        self.mkpath(folder)
        self.copy_file(START_UP_FILE, folder)

    def get_source_files(self) -> list[str]:
        return [START_UP_FILE]

    def get_outputs(self) -> list[str]:
        return [] if self.editable_mode else [os.path.join(self.build_lib, START_UP_FILE)]

    def get_output_mapping(self) -> dict[str, str]:
        return dict.fromkeys(self.get_outputs(), START_UP_FILE)


class Build(build):
    """The usual build, and the start-up file."""

    sub_commands: ClassVar[list] = [*build.sub_commands, ("build_start_up_file", None)]


setup(cmdclass={"build": Build, "build_start_up_file": BuildStartUpFile})
