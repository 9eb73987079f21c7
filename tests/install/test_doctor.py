"""`astcapture doctor` says whether start-up activation works, and if not why, in one line."""

from __future__ import annotations

import shutil

import pytest

pytestmark = pytest.mark.slow


def doctor(venv, *options: str, **environ: str):
    return venv.run(*options, "-m", "astcapture", "doctor", **environ)


def test_where_activation_works_it_says_so_and_what_it_saw(installed):
    result = doctor(installed)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("start-up activation works\n")
    assert f"{installed.site_packages / 'astcapture.pth'}, part of the installed package" in result.stdout
    assert "torch         not installed" in result.stdout


def test_a_build_in_the_current_folder_does_not_hide_what_is_installed(installed, tmp_path):
    (tmp_path / "astcapture.egg-info").mkdir()
    (tmp_path / "astcapture.egg-info" / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: astcapture\nVersion: 0\n")
    result = installed.run("-m", "astcapture", "doctor", cwd=tmp_path)
    assert "astcapture.pth, part of the installed package" in result.stdout


def test_a_file_that_no_installed_package_lists_is_shown_as_such(installed, tmp_path):
    venv = type(installed)(tmp_path / "venv")
    shutil.copytree(installed.folder, venv.folder, symlinks=True)
    (record,) = venv.site_packages.glob("astcapture-*.dist-info/RECORD")
    record.write_text("")
    assert (
        "astcapture.pth, not part of the installed package: pip uninstall will leave it behind" in doctor(venv).stdout
    )


def test_variables_that_are_set_are_shown(installed):
    result = doctor(installed, ASTCAPTURE="model", ASTCAPTURE_STRICT="0")
    assert result.returncode == 0
    assert "ASTCAPTURE=model\n" in result.stdout
    assert "ASTCAPTURE_STRICT=0\n" in result.stdout
    assert "ASTCAPTURE_FIRST_PROCESS" not in result.stdout


@pytest.mark.parametrize("option", ["-E", "-I"])
def test_an_interpreter_that_ignores_the_environment_is_the_reason(installed, option):
    result = doctor(installed, option)
    assert result.returncode == 1
    assert result.stderr == (
        f"astcapture: start-up activation does not work: {option} makes Python ignore ASTCAPTURE: omit it, "
        "or use python -m astcapture run instead\n"
    )


def test_an_interpreter_without_site_is_the_reason(installed):
    result = doctor(installed, "-S", PYTHONPATH=str(installed.site_packages))
    assert result.returncode == 1
    assert "-S stops Python from reading start-up files" in result.stderr


def test_a_missing_start_up_file_is_the_reason(installed, tmp_path):
    venv = type(installed)(tmp_path / "venv")
    shutil.copytree(installed.folder, venv.folder, symlinks=True)
    (venv.site_packages / "astcapture.pth").unlink()
    result = doctor(venv)
    assert result.returncode == 1
    assert "astcapture.pth is not in site-packages: install astcapture with pip" in result.stderr
    assert str(venv.site_packages) in result.stdout


def test_a_wrong_target_in_the_environment_is_the_reason(installed):
    result = doctor(installed, ASTCAPTURE="model.py")
    assert result.returncode == 1
    assert "start-up activation does not work: target 'model.py'" in result.stderr


def test_a_start_up_file_that_does_not_switch_it_on_is_the_reason(installed, tmp_path):
    venv = type(installed)(tmp_path / "venv")
    shutil.copytree(installed.folder, venv.folder, symlinks=True)
    (venv.site_packages / "astcapture.pth").write_text("import sys\n")
    result = doctor(venv)
    assert result.returncode == 1
    assert f"a new {venv.python} process does not capture" in result.stderr
