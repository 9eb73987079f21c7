"""The variables and the file that say what to capture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from astcapture.errors import CaptureError
from astcapture.targets.environment import Settings, read_environment


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "capture.toml"

    def write(text: str) -> dict[str, str]:
        path.write_text(text, encoding="utf-8")
        return {"ASTCAPTURE_CONFIG": str(path)}

    return write


def test_an_environment_that_says_nothing_asks_for_nothing():
    assert read_environment({"PATH": "/bin"}) == Settings()


def test_targets_are_separated_by_semicolons_or_lines_and_blank_ones_are_skipped():
    environ = {"ASTCAPTURE": " mymodel ;; timm.layers:Attention.forward=attn,q\n\n other.*\n;"}
    assert read_environment(environ).targets == ("mymodel", "timm.layers:Attention.forward=attn,q", "other.*")


def test_every_setting_has_a_variable():
    environ = {
        "ASTCAPTURE": "m",
        "ASTCAPTURE_STORE": "runs/eval",
        "ASTCAPTURE_LIMIT": "2GB",
        "ASTCAPTURE_DEVICE": "cpu",
        "ASTCAPTURE_DTYPE": "float16",
        "ASTCAPTURE_STRICT": "1",
        "ASTCAPTURE_LAYERS": "blocks.11.*",
    }
    expected = Settings(("m",), "runs/eval", "2GB", "cpu", "float16", True, layers="blocks.11.*")
    assert read_environment(environ) == expected


def test_an_empty_variable_is_one_that_is_not_set():
    assert read_environment({"ASTCAPTURE": "", "ASTCAPTURE_STORE": "", "ASTCAPTURE_CONFIG": ""}) == Settings()


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("1", True),
        ("true", True),
        ("Yes", True),
        ("ON", True),
        ("0", False),
        ("no", False),
        ("off", False),
        ("", False),
    ],
)
def test_strict_takes_the_usual_words(word, meaning):
    assert read_environment({"ASTCAPTURE_STRICT": word}).strict is meaning


def test_another_word_for_strict_is_refused_by_the_name_of_the_variable():
    with pytest.raises(CaptureError) as caught:
        read_environment({"ASTCAPTURE_STRICT": "maybe"})
    assert str(caught.value) == "ASTCAPTURE_STRICT='maybe' is neither on nor off: write 1 or 0"


def test_a_file_holds_every_setting(config):
    environ = config('targets = ["m", "n:f=x"]\nstore = "s"\nlimit = 1000\ndevice = "cpu"\ndtype = "f2"\nstrict = true')
    assert read_environment(environ) == Settings(("m", "n:f=x"), "s", "1000", "cpu", "f2", True)


def test_targets_in_a_file_may_be_a_table_of_captures(config):
    environ = config('[targets]\n"m:Attention.forward" = ["attn", "mean:=f(q, k)"]\n"n:g" = []')
    assert read_environment(environ).targets == ("m:Attention.forward=attn,mean:=f(q, k)", "n:g")


def test_a_variable_goes_before_the_file(config):
    environ = config('targets = ["m"]\nlimit = "1GB"\nstrict = true\nstore = "s"')
    environ |= {"ASTCAPTURE": "n", "ASTCAPTURE_LIMIT": "2GB", "ASTCAPTURE_STRICT": "0"}
    assert read_environment(environ) == Settings(("n",), "s", "2GB", None, None, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('target = ["m"]', ": there is no key 'target': did you mean 'targets'?"),
        (
            "colour = 1",
            (
                ": there is no key 'colour': write one of targets, store, limit, device, dtype, strict, copy, reduce, "
                "grad, layers, edits"
            ),
        ),
        (
            'targets = "m"',
            ': targets is \'m\': write a list of strings, ["mymodel"], or a table, "MODULE:QUALNAME" = ["attn"]',
        ),
        ('[targets]\n"m:f" = "x"', ": targets: 'm:f' is 'x': write a list of strings, [\"attn\", \"q\"]"),
        ("store = 1", ": store is 1: write a string"),
        ("limit = true", ': limit is True: write a number of bytes or a string such as "2GB"'),
        ("strict = 1", ": strict is 1: write true or false"),
    ],
)
def test_a_wrong_key_or_value_names_the_file_and_the_key(config, text, message):
    environ = config(text)
    with pytest.raises(CaptureError) as caught:
        read_environment(environ)
    assert str(caught.value) == environ["ASTCAPTURE_CONFIG"] + message


def test_a_file_that_is_no_toml_is_named_with_the_line(config):
    environ = config("targets = [\nstore")
    with pytest.raises(CaptureError, match=r"capture\.toml is not a TOML file: .*line 2"):
        read_environment(environ)


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "capture.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CaptureError, match="is not a TOML file"):
        read_environment({"ASTCAPTURE_CONFIG": str(path)})


def test_a_missing_file_is_named_with_its_variable(tmp_path):
    path = str(tmp_path / "gone.toml")
    with pytest.raises(CaptureError) as caught:
        read_environment({"ASTCAPTURE_CONFIG": path})
    assert str(caught.value) == (
        f"ASTCAPTURE_CONFIG={path!r} cannot be read (No such file or directory): write the path of a TOML file"
    )


def test_reading_variables_imports_no_toml():
    code = (
        "import sys; from astcapture.targets.environment import read_environment; "
        "read_environment({'ASTCAPTURE': 'm'}); "
        "sys.exit(bool({'tomllib', 'tomli'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1]).returncode == 0
