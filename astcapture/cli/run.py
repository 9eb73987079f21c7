"""``astcapture run``: a program run with capturing switched on, whether or not the start-up file is installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial

import click


@click.command(
    short_help="Run a program with capturing switched on.",
    # What stands after SCRIPT is the script's, even where it looks like an option.
    context_settings={"allow_interspersed_args": False},
    options_metavar="-c TARGET [-c TARGET]... [OPTIONS]",
)
@click.option("-c", "targets", metavar="TARGET", multiple=True, help="What to capture: MODULE[:QUALNAME[=CAPTURES]].")
@click.option("-o", "store", metavar="DIR", help="Stream what is captured to this folder.")
@click.option("--strict", is_flag=True, help="Make errors of what would be warned of.")
@click.option("-m", "module", is_flag=True, help="SCRIPT is the name of a module, as after python -m.")
@click.argument("script")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def run(
    targets: tuple[str, ...], store: str | None, strict: bool, module: bool, script: str, args: tuple[str, ...]
) -> Callable[[], None]:
    """Run SCRIPT with ARGS as python would, and capture from the modules that it imports.

    Without -c the targets are those of the environment. What is captured is summed up on standard
    error at exit, unless -o streams it to a folder. The processes that SCRIPT starts are captured too
    where the start-up file is installed, see doctor. The exit status is that of SCRIPT.
    """
    from astcapture.imports import startup
    from astcapture.imports.launcher import run_script

    if sys.flags.ignore_environment:  # -E and -I: what was not said on the command line was not said
        for name in [name for name in os.environ if name.startswith("ASTCAPTURE")]:
            del os.environ[name]
    # Said through the environment, so that the processes that SCRIPT starts hear it as well.
    if targets:
        os.environ["ASTCAPTURE"] = ";".join(targets)
    elif not (os.environ.get("ASTCAPTURE") or os.environ.get("ASTCAPTURE_CONFIG")):
        raise click.UsageError("nothing to capture: write -c TARGET before SCRIPT, -c mymodel for instance")
    if store is not None:
        os.environ["ASTCAPTURE_STORE"] = os.path.abspath(store)  # a child may work in another folder
    if strict:
        os.environ["ASTCAPTURE_STRICT"] = "1"
    # The hook looks at what is imported already, and __main__ is this program still, not SCRIPT.
    main = sys.modules.pop("__main__")
    try:
        hook = startup.switch_on()
    finally:
        sys.modules["__main__"] = main
    return partial(run_script, [script, *args], module=module, hook=hook)
