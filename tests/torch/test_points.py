"""The points `@call`, `@input`, `@enter` and `@yield` by every way in which a target can be given."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import astcapture

SOURCE = """
import torch
import torch.nn.functional as F
from torch import nn
from astcapture import capture


class Attention(nn.Module):
    MARK
    def forward(s, x):
        x = x * 2
        return F.dropout(F.softmax(x @ x.mT, -1), 0.0) @ x


class Model(nn.Sequential):
    def __init__(self):
        super().__init__(Attention(), Attention())
"""
NAME = "points_ways"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.syspath_prepend(tmp_path)

    def write(mark: str = "") -> None:
        (tmp_path / f"{NAME}.py").write_text(SOURCE.replace("MARK", mark))
        importlib.invalidate_caches()

    yield write
    sys.modules.pop(NAME, None)
    astcapture.cache.clear()


def maps(x: torch.Tensor) -> list[torch.Tensor]:
    """What the two softmaxes give."""
    found = []
    for _ in range(2):
        x = x * 2
        found.append((x @ x.mT).softmax(-1))
        x = found[-1] @ x
    return found


def run(x: torch.Tensor) -> None:
    importlib.import_module(NAME).Model()(x)


X = torch.linspace(-1, 1, 12).reshape(1, 3, 4)


@pytest.mark.parametrize(
    ("targets", "mark"),
    [
        ([NAME], '@capture("softmax", at="call")'),
        ([NAME], '@capture(softmax="F.softmax", at="call")'),
        ([f"{NAME}:Attention.forward=softmax@call"], ""),
        ({f"{NAME}:Attention.forward": ["softmax@call"]}, ""),
        (f"{NAME}:*=softmax@call", ""),
        ([f"{NAME}:Attention.forward=softmax:=dropout@input"], ""),
    ],
)
def test_the_map_that_has_no_name_is_taken_as_each_target_says(write, targets, mark):
    write(mark)
    with astcapture.install(targets):
        run(X)
    records = astcapture.cache["Attention.forward"]["softmax"].records
    assert [one.layer for one in records] == ["0", "1"]
    assert [one.call for one in records] == [0, 0]
    for one, expected in zip(records, maps(X), strict=True):
        torch.testing.assert_close(one.value, expected)


def test_live_functions_are_exchanged_and_given_back(write):
    write()
    model = importlib.import_module(NAME).Model()
    hook = astcapture.install([f"{NAME}:Attention.forward=softmax@call,x@enter"])
    model(X)
    hook.uninstall()
    model(X)
    assert [len(one) for one in astcapture.cache["Attention.forward"].by_layer().values()] == [2, 2]
    assert torch.equal(astcapture.cache["Attention.forward"]["x"][0], X)


def test_options_of_a_hook_apply(write):
    write()
    target = f"{NAME}:Attention.forward=softmax@call"
    with astcapture.install([target], layers="1", dtype=torch.float16, reduce=lambda value: value.mean(-1)):
        run(X)
    (record,) = astcapture.cache["Attention.forward"].records
    assert (record.layer, record.value.dtype, tuple(record.value.shape)) == ("1", torch.float16, (1, 3))


def test_a_gradient_reaches_the_result_of_a_call(write):
    write()
    with astcapture.install([f"{NAME}:Attention.forward=softmax@call"], grad=True):
        x = X.clone().requires_grad_()
        importlib.import_module(NAME).Model()(x).sum().backward()
    record = astcapture.cache["Attention.forward"].records[-1]
    # The sum of attn @ v has in attn the sums of the rows of v.
    first = maps(X)[0] @ (X * 2)
    torch.testing.assert_close(record.grad, (first * 2).sum(-1).expand(1, 3, 3))


def test_stored_values_keep_the_line_and_the_source_of_their_call(write, tmp_path):
    write()
    with astcapture.install([f"{NAME}:Attention.forward=*@call"], store=tmp_path / "run"):
        run(X)
    stored = astcapture.load(tmp_path / "run")
    assert len(stored.select(lineno=12)) == 4
    assert not stored.select(lineno=11)
    assert "12: F.softmax(x @ x.mT, -1)" in str(stored.summary())
    for one, expected in zip(stored.select(label="softmax"), maps(X), strict=True):
        torch.testing.assert_close(torch.as_tensor(one), expected)


SCRIPT = f"""
import torch, {NAME}
{NAME}.Model()(torch.ones(1, 3, 4))
"""


@pytest.mark.cases(1)
@pytest.mark.parametrize("way", ["variable", "toml", "command line"])
def test_an_unmodified_script_is_captured(write, tmp_path, way):
    write()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    target = f"{NAME}:Attention.forward=softmax@call,scores:=softmax@input"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASTCAPTURE")}
    environment["PYTHONPATH"] = str(tmp_path)
    command = [sys.executable, str(script)]
    if way == "variable":
        environment["ASTCAPTURE"] = target
    elif way == "toml":
        (tmp_path / "capture.toml").write_text(f'targets = ["{target}"]\n')
        environment["ASTCAPTURE_CONFIG"] = str(tmp_path / "capture.toml")
    else:
        command = [sys.executable, "-m", "astcapture", "run", "-c", target, "-o", str(tmp_path / "run"), str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    if way == "command line":
        assert len(astcapture.load(tmp_path / "run").select(label="softmax")) == 2
    else:
        assert "12: F.softmax(x @ x.mT, -1)" in done.stderr


def test_a_call_that_never_ran_says_so(write):
    write()
    source = Path(importlib.util.find_spec(NAME).origin)
    source.write_text(SOURCE.replace("MARK", "").replace("x = x * 2", "x = x * 2 if x.ndim else torch.exp(x)"))
    with astcapture.install([f"{NAME}:Attention.forward=exp@call"]):
        run(X)
    assert "it ran, but no call of exp in it returned" in str(astcapture.cache.summary())
