"""Edits of an unmodified script and the processes that it starts, by the environment and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import astcapture
from astcapture import EditError
from astcapture.targets.edit_text import parse_edit_text, split_edits

MODULE = """
import torch
from torch import nn
class Attention(nn.Module):
    def forward(self, x):
        attn = (x @ x.mT).softmax(-1)
        return attn @ x
def run():
    torch.manual_seed(0)
    return nn.Sequential(Attention(), Attention())(torch.randn(1, 4, 3, 8)).sum().item()
"""
SCRIPT = "import scripted\nprint(scripted.run())\n"
TARGET = "scripted:Attention.forward=attn"
ZERO = f"{TARGET}=zero(heads=[3])"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "scripted.py").write_text(MODULE)
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def run(script: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    environment |= {"PYTHONPATH": str(script.parent), **variables}
    return subprocess.run(
        [sys.executable, *(command or (str(script),))], env=environment, capture_output=True, text=True, check=False
    )


def expected(script: Path) -> str:
    """What the script prints with the source edited by hand."""
    edited = MODULE.replace("softmax(-1)\n", "softmax(-1)\n        attn[:, 3] = 0\n").replace("class", "class", 1)
    (script.parent / "by_hand.py").write_text(edited)
    by_hand = script.parent / "script_by_hand.py"
    by_hand.write_text(SCRIPT.replace("scripted", "by_hand"))
    return run(by_hand).stdout


@pytest.mark.cases(1)
@pytest.mark.parametrize("way", ["variable", "toml", "command line", "main"])
def test_a_script_is_edited_and_says_what_it_did(script, way):
    wanted, plain = expected(script), run(script).stdout
    assert wanted != plain
    if way == "variable":
        done = run(script, ASTCAPTURE_EDIT=ZERO)
    elif way == "toml":
        (script.parent / "edits.toml").write_text(f'edits = ["{ZERO}"]\n')
        done = run(script, ASTCAPTURE_CONFIG=str(script.parent / "edits.toml"))
    elif way == "command line":
        done = run(script, "-m", "astcapture", "run", "-e", ZERO, str(script))
    else:
        script.write_text(MODULE + "print(run())\n")
        done = run(script, "-m", "astcapture", "run", "-e", ZERO.replace("scripted", "__main__"), str(script))
    assert done.stdout == wanted, done.stderr
    assert ": fired 2 times on 2 layers\n" in done.stderr
    assert "Error" not in done.stderr


@pytest.mark.slow
def test_capturing_and_editing_go_together(script):
    done = run(script, ASTCAPTURE_EDIT=ZERO, ASTCAPTURE=TARGET, ASTCAPTURE_STORE=str(script.parent / "run"))
    assert done.returncode == 0, done.stderr
    stored = astcapture.load(script.parent / "run")
    assert all(not value[:, 3].any() for value in stored.select(label="attn"))
    assert "edited: edit(" in str(stored.summary())
    listed = run(script, "-m", "astcapture", "ls", str(script.parent / "run"))
    assert "the values are not the model's own" in listed.stdout


@pytest.mark.slow
def test_an_edit_that_did_not_fire_is_said_at_exit(script):
    done = run(script, ASTCAPTURE_EDIT=f"{TARGET}=zero(layer='blocks.*')")
    assert done.stdout == run(script).stdout
    assert (
        "EditError: edit('scripted:Attention.forward=attn', zero(), layer='blocks.*'): changed nothing" in done.stderr
    )


@pytest.mark.slow
def test_processes_that_the_script_starts_are_edited(script):
    wanted = expected(script)
    script.write_text(
        "import multiprocessing, scripted\n"
        "def work(queue): queue.put(scripted.run())\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        "    queue = context.Queue()\n"
        "    process = context.Process(target=work, args=(queue,))\n"
        "    process.start(); print(queue.get()); process.join()\n"
    )
    done = run(script, ASTCAPTURE_EDIT=ZERO)
    assert done.stdout == wanted, done.stderr
    assert "EditError" not in done.stderr, "the other process ran the model"


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{TARGET}=zero(heads=[n])", "[n] is not a literal"),
        (f"{TARGET}=zero(heads=__import__('os').system('true'))", "is not a literal"),
        (f"{TARGET}=remove()", "there is no change remove: write one of add, clamp"),
        (f"{TARGET}=zero(heds=[3])", "heds"),
        (TARGET, "is not of the form TARGET=CHANGE(...)"),
        (f"{TARGET}=zero(**{{}})", "write each option by its name"),
        (f"{TARGET}=zero().__class__()", "is not one change"),
    ],
)
def test_a_mistake_is_said_in_a_line_and_the_program_runs(script, text, said):
    done = run(script, ASTCAPTURE_EDIT=text)
    assert done.returncode == 0
    assert done.stdout == run(script).stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    strict = run(script, "-m", "astcapture", "run", "-e", text, str(script))
    assert (strict.returncode, strict.stdout) == (1, ""), strict.stderr
    assert said in strict.stderr


def test_edits_are_split_outside_of_brackets_and_quotes():
    assert split_edits("a:f=x=add('1;2'); b:g=y=zero(heads=[1,\n2])\nc:h=z=zero()") == (
        "a:f=x=add('1;2')", "b:g=y=zero(heads=[1,\n2])", "c:h=z=zero()",
    )  # fmt: skip


def test_the_options_of_the_edit_are_told_from_those_of_its_change():
    parsed = parse_edit_text("m:C.f=attn@assign=scale(0.5, heads=[-1], layer='blocks.4.*', call=2, strict=False)")
    assert parsed == (
        "m:C.f=attn@assign", "scale", [0.5], {"heads": [-1]}, {"layer": "blocks.4.*", "call": 2, "strict": False},
    )  # fmt: skip
    with pytest.raises(EditError, match="cannot be read"):
        parse_edit_text("m:f=x=zero(heads=)")
