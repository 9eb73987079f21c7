"""Captured locals that cannot be created again, at a graph break: the program is the plain one, they are counted."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import astcapture

HEAD = """\
import contextlib
import itertools
import torch
from collections import OrderedDict, namedtuple

SCALE = 1
Pair = namedtuple("Pair", "first second")

@contextlib.contextmanager
def own():
    yield 1

class Own:
    def __enter__(self):
        return self
    def __exit__(self, *error):
        return False

def numbers(x):
    yield x
    yield x * 2
"""
#: What is bound to `v` before a graph break, and the program's use of it; what is said of it.
LEFT_BEHIND = {
    "no_grad": ("v = torch.no_grad()\n    y = x * 2", "a set_grad_enabled"),
    "no_grad_entered": ("v = torch.no_grad()\n    with v:\n        y = x * 2", "a set_grad_enabled"),
    "inference_mode": ("v = torch.inference_mode()\n    y = x * 2", "an inference_mode"),
    "autocast": ("v = torch.autocast('cpu')\n    y = x @ x.mT", "an autocast"),
    "nullcontext": ("v = contextlib.nullcontext()\n    y = x * 2", "a nullcontext"),
    "own_generator": ("v = own()\n    y = x * 2", "a _GeneratorContextManager"),
    "enumerate": ("v = enumerate([x, x * 2])\n    y = next(v)[1]", "a generator"),
    "generator": ("v = numbers(x)\n    y = next(v)", "a generator"),
    "expression": ("v = (t * 2 for t in [x, x])\n    y = next(v)", "a generator"),
    "map": ("v = map(torch.neg, [x, x * 2])\n    y = next(v)", "a map"),
    "zip": ("v = zip([x], [x])\n    y = next(v)[0]", "a zip"),
    "iter": ("v = iter([x, x * 2])\n    y = next(v)", "a list_iterator"),
    "count": ("v = itertools.count()\n    y = x + next(v)", "a count"),
    "list": ("v = [1, [torch.no_grad()]]\n    y = x * 2", "a list with a list with a set_grad_enabled in it in it"),
    "ordered_dict": (
        "v = OrderedDict(a=iter([x]))\n    y = next(v['a'])",
        "an OrderedDict with a list_iterator in it",
    ),
    "named_tuple": ("v = Pair(x, torch.no_grad())\n    y = v.first", "a Pair with a set_grad_enabled in it"),
    "dict": ("v = {'a': iter([x])}\n    y = next(v['a'])", "a dict with a list_iterator in it"),
}
#: The program itself reads these after the break.
READ = {
    "read_later": "v = iter([x, x * 2])\n    y = next(v)\n    print(end='')\n    y = y + next(v)",
    "read_in_a_branch": "v = [x, x * 2]\n    y = v[0]\n    print(end='')\n    y = y + (v[1] if y.ndim else 0)",
    "containers": "v = OrderedDict(a=x, b=[x * 2, Pair(x, 1)])\n    y = v['a']\n    print(end='')",
    "bound_anew": "v = torch.no_grad()\n    y = x * 2\n    print(end='')\n    v = y * 2",
}


def source() -> str:
    functions = [HEAD]
    for name, (body, _) in LEFT_BEHIND.items():
        functions.append(f"def of_{name}(x):\n    {body}\n    print(end='')\n    return y + x\n")
    for name, body in READ.items():
        functions.append(f"def of_{name}(x):\n    {body}\n    return y + x\n")
    # After the break it depends on a global, and so is compiled anew.
    functions.append(
        "def changing(x):\n    v = iter([x, x * 2])\n    y = next(v)\n    print(end='')\n    return y * SCALE\n"
    )
    return "\n\n".join(functions)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], tuple[Any, Any]]]:
    """The plain module and the captured one."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("left_plain", "left_captured"):
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text(source())
    importlib.invalidate_caches()
    torch._dynamo.reset()
    hook = astcapture.install("left_captured:*=v")
    yield lambda: (importlib.import_module("left_plain"), importlib.import_module("left_captured"))
    hook.uninstall()
    torch._dynamo.reset()


def outcome(function: Any, backend: str = "eager") -> dict[str, Any]:
    """What a compiled function gives, the modes that it leaves, and what torch counts."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled: Any = torch.compile(function, backend=backend)
    results: list[Any] = []
    try:
        for x in (torch.arange(16.0).view(4, 4).requires_grad_(), torch.ones(4, 4).requires_grad_()):
            with contextlib.suppress(StopIteration):
                y = compiled(x)
                results.append((y.detach().tolist(), y.requires_grad))
        modes = (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled())
    finally:
        torch.set_grad_enabled(True)
    counters = torch._dynamo.utils.counters
    return {"results": results, "modes": modes, **{name: dict(counters[name]) for name in ("frames", "recompiles")}}


def told(rec: Any, key: str) -> tuple[int, int, str]:
    """How many values there are, how many failed, and why."""
    values = rec[key]
    count = dict(rec.counts).get((key, "v"))
    return len(values), count.failed if count else 0, str(count.error) if count else ""


@pytest.mark.cases(4)
@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_only_a_capture_reads_is_not_created_again_after_a_break(load: Any, name: str) -> None:
    plain, captured = load()
    key = f"left_captured:of_{name}"
    want = outcome(getattr(plain, f"of_{name}"))
    with astcapture.recording() as rec:
        assert outcome(getattr(captured, f"of_{name}")) == want
        values, failed, why = told(rec, key)
    assert want["modes"] == (True, False, False)
    assert (values, failed) == (0, 2)
    assert f"torch.compile cannot return {LEFT_BEHIND[name][1]} from its graph" in why


@pytest.mark.parametrize("name", READ)
def test_what_the_program_reads_after_the_break_is_kept(load: Any, name: str) -> None:
    plain, captured = load()
    want = outcome(getattr(plain, f"of_{name}"))
    with astcapture.recording() as rec:
        assert outcome(getattr(captured, f"of_{name}")) == want
        values, failed, _ = told(rec, f"left_captured:of_{name}")
    assert (values, failed) == ((0, 2) if name in ("read_later", "containers") else (2, 0))


def test_it_is_counted_also_where_the_rest_runs_uncompiled(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, captured = load()

    def run(module: Any) -> list[Any]:
        torch._dynamo.reset()
        compiled: Any = torch.compile(module.changing, backend="eager")
        results = []
        for scale in range(4):
            monkeypatch.setattr(module, "SCALE", scale + 0.5)
            results.append(compiled(torch.ones(2)).tolist())
        return results

    with torch._dynamo.config.patch(recompile_limit=1):
        want = run(plain)
        with astcapture.recording() as rec:
            assert run(captured) == want
            assert told(rec, "left_captured:changing")[:2] == (0, 4)
            assert "cannot return a list_iterator" in told(rec, "left_captured:changing")[2]


PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import astcapture
Path(sys.argv[1], "late.py").write_text(
    "import torch\\ndef f(x):\\n    v = torch.no_grad()\\n    print(end='')\\n    return x * 2\\n"
)
if "compiler first" in sys.argv:
    import torch._dynamo
astcapture.install("late:f=v")
import late, torch
compiled = torch.compile(late.f, backend="eager")
compiled(torch.ones(2))
print(torch.is_grad_enabled())
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["compiler first", "hook first"])
def test_the_first_function_that_a_process_compiles_is_right_too(tmp_path: Path, when: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), when], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout == "True\n", done.stderr
