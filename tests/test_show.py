"""`show`, `show --diff` and `locals`: a module is read, not imported, and told about in the user's words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import astcapture
from astcapture.cli.main import commands, main

SOURCE = """\
raise RuntimeError("this module must not be imported")

from astcapture import capture


class Attention:
    @capture("attn")
    def forward(self, x, *, scale=1):
        for head in x:
            attn = head * scale
        return [attn]


def plain(a):
    b = a
"""


@pytest.fixture(autouse=True)
def attention_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "shown_module.py"
    path.write_text(SOURCE)
    return path


def test_show_gives_the_transformed_source_of_a_marked_function_without_importing_it(attention_module: Path) -> None:
    text = astcapture.show("shown_module:Attention.forward")
    assert text.startswith(f"# shown_module:Attention.forward  {attention_module}:8\n@capture('attn')\n")
    assert "_@look([attn], ('shown_module', 'Attention.forward', 'attn', 11), 'attn', _@locals(), self)" in " ".join(
        text.split()
    )
    assert "shown_module" not in sys.modules


def test_show_of_a_module_shows_its_marked_functions_alone() -> None:
    text = astcapture.show("shown_module")
    assert "def forward" in text and "def plain" not in text


def test_show_takes_a_function_of_anybodys_with_its_captures() -> None:
    assert "_@record(None, ('shown_module', 'plain', 'b', 15), b)" in astcapture.show("shown_module:plain=b")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shown_module:plain", "plain: not marked with @capture: name what to capture, shown_module:plain=NAME"),
        (
            "shown_module:plane=b",
            "{path}: target 'shown_module:plane=b' matches no function in shown_module: did you mean plain?",
        ),
        ("shown_module:plain=c", "{path}:14: 'c' is never bound in plain (line 14)"),
        ("no_such_module:f=x", "no module named 'no_such_module' on sys.path"),
        ("shown_*:f=x", "target 'shown_*:f=x': the module must be named in full here, without wildcards"),
        ("sys:exit=x", "sys has no source file: only modules loaded from source can be rewritten"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line_with_status_1(
    target: str, message: str, attention_module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", target]) == 1
    assert capsys.readouterr().err == f"astcapture: {message.format(path=attention_module)}\n"


def test_a_module_that_does_not_parse_is_told_with_file_and_line(
    attention_module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attention_module.write_text("x = 1\ndef f(:\n")
    assert main(["show", "shown_module:f=x"]) == 1
    assert capsys.readouterr().err == f"astcapture: {attention_module}:2: invalid syntax\n"


def test_show_diff_prints_what_capturing_adds_and_takes_away() -> None:
    result = CliRunner().invoke(commands, ["show", "--diff", "shown_module:plain=b"])
    lines = result.output.splitlines()
    assert lines[1:3] == ["--- as written", "+++ captured"]
    assert [line for line in lines[3:] if line[0] in "+-"] == [
        "+    _@record(None, ('shown_module', 'plain', 'b', 15), b)"
    ]


def test_show_diff_is_coloured_where_the_output_takes_colours() -> None:
    result = CliRunner().invoke(commands, ["show", "--diff", "shown_module:plain=b"], color=True)
    assert "\x1b[32m+    _@record" in result.output
    assert "\x1b[31m--- as written" in result.output


def test_locals_lists_functions_with_parameters_and_the_line_where_each_local_is_first_bound() -> None:
    result = CliRunner().invoke(commands, ["locals", "shown_module"])
    assert result.output.splitlines()[1:] == [
        "shown_module:Attention.forward  line 8  (marked)",
        "    parameters  self, x, scale",
        "    locals      head (9), attn (10)",
        "shown_module:plain  line 14",
        "    parameters  a",
        "    locals      b (15)",
    ]


def test_locals_takes_wildcards_in_the_qualname() -> None:
    result = CliRunner().invoke(commands, ["locals", "shown_module:Att*"])
    assert "forward" in result.output and "plain" not in result.output


def test_the_help_of_every_command_fits_its_line() -> None:
    result = CliRunner().invoke(commands, ["--help"])
    assert not any(line.endswith("...") for line in result.output.partition("Commands:")[2].splitlines())
