"""Locals of every kind in compiled code: what is recorded, what is counted, and that the program is the plain one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import astcapture
from astcapture.values.shared import Counts

HEAD = """\
import contextlib
import functools
import itertools

import numpy as np
import torch
from torch import nn


class Names(dict):
    __getattr__ = dict.__getitem__


class Forwarding:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Asked:
    def __init__(self):
        self.times = 0

    @property
    def detach(self):
        self.times += 1
        return lambda: self


class Eager(torch.Tensor):
    pass


class Error(Exception):
    pass


torch.manual_seed(0)
linear = nn.Linear(4, 4)
"""

#: What is bound to `v`, and the program's use of it; what is said of it where it is not recorded.
CARRIED = {
    "tensor": "v = x * 2; y = v + 1",
    "written_to_later": "v = x * 2; y = v.clone(); v += 1; v = v; y = y + v",
    "int": "v = 3; y = x + v",
    "size": "v = x.shape; y = x.view(v)",
    "length": "v = x.shape[0] + 1; y = x + v",
    "text": "v = 'mean'; y = getattr(x, v)()",
    "nothing": "v = None; y = x if v is None else v",
    "dtype": "v = x.dtype; y = x.to(v)",
    "range": "v = range(3); y = x + v[1]",
    "tuple": "v = (x, x * 2, 3); y = v[0]",
    "list": "v = [x, [x * 2]]; y = v[0]; ",
    "dict": "v = {'a': x, 'b': 2}; y = v['a']",
    "list_written_to_later": "v = [x]; y = v[0] + 1; v = v; v.append(y)",
    "class_of_tensors": "v = x.as_subclass(Eager); y = v + 1",
}
REFUSED = {
    "slice": ("v = slice(0, 1); y = x[v]", "a slice"),
    "zip": ("v = zip([x], [x]); y = next(v)[0]", "a zip"),
    "enumerate": ("v = enumerate([x, x]); next(v); y = next(v)[1]", "a generator"),
    "generator": ("v = (t for t in [x, x * 2]); next(v); y = next(v)", "a generator"),
    "map": ("v = map(torch.neg, [x, x * 2]); next(v); y = next(v)", "a map"),
    "count": ("v = itertools.count(); y = x + next(v)", "a count"),
    "no_grad": ("v = torch.no_grad(); y = x * 2", "a set_grad_enabled"),
    "no_grad_entered": ("v = torch.no_grad()\n    with v:\n        y = x * 2", "a set_grad_enabled"),
    "autocast": ("v = torch.autocast('cpu'); y = x @ x.mT", "an autocast"),
    "nullcontext": ("v = contextlib.nullcontext(); y = x * 2", "a nullcontext"),
    "bound_method": ("v = x.sum; y = v()", "a function"),
    "a_class": ("v = type(x); y = x * 2", "a class"),
    "module_of_torch": ("v = torch; y = v.relu(x)", "a module"),
    "layer": ("v = linear; y = v(x)", "a Linear"),
    "numpy_array": ("v = x.detach().numpy(); y = torch.from_numpy(v * 2)", "a NumPy array"),
    "numpy_scalar": ("v = np.float32(2); y = x * float(v)", "a NumPy array"),
    "closure": ("v = lambda t: t * x; y = v(x)", "a function"),
    "partial": ("v = functools.partial(torch.add, x); y = v(x)", "a partial"),
    "attribute_dict": ("v = Names(a=x); y = v.a", "a Names"),
    "forwarding": ("v = Forwarding(Forwarding(3)); y = x + v.inner.inner", "a Forwarding"),
    "asked": ("v = Asked(); y = x + v.times", "an Asked"),
    "exception": ("v = Error('no'); y = x * 2", "an Error"),
    "list_with_a_slice": ("v = [x, slice(0, 1)]; y = x[v[1]]", "a list with a slice in it"),
    "dict_with_an_iterator": ("v = {'a': iter([x, x * 2])}; next(v['a']); y = next(v['a'])", "a dict with a"),
}


def source() -> str:
    bodies = CARRIED | {name: body for name, (body, _) in REFUSED.items()}
    functions = []
    for name, body in bodies.items():
        lines = body.strip("; ").replace("; ", "\n    ")
        functions.append(f"def of_{name}(x):\n    {lines}\n    return y * 2\n")
    return "\n\n".join([HEAD, *functions])


class Modules(NamedTuple):
    plain: Any
    captured: Any


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Modules]]:
    """Write a source to two modules, of which one is captured."""
    monkeypatch.syspath_prepend(str(tmp_path))
    hooks = []

    def load(text: str, target: str = "*=v") -> Modules:
        for name in ("as_written", "kinds_of_locals"):
            monkeypatch.delitem(__import__("sys").modules, name, raising=False)
            (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        hooks.append(astcapture.install(f"kinds_of_locals:{target}"))
        return Modules(importlib.import_module("as_written"), importlib.import_module("kinds_of_locals"))

    torch._dynamo.reset()
    yield load
    for hook in hooks:
        hook.uninstall()
    torch._dynamo.reset()


def outcome(function: Any, backend: str, fullgraph: bool, *inputs: torch.Tensor) -> dict[str, Any]:
    """What a compiled function gives, and what torch tells of compiling it."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    results: list[Any] = []
    try:
        compiled: Any = torch.compile(function, backend=backend, fullgraph=fullgraph)
        for x in inputs:
            y = compiled(x)
            results.append((y.detach().tolist(), y.requires_grad))
    except Exception as error:
        results.append(type(error).__name__)
    counters = torch._dynamo.utils.counters
    state = (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled())
    torch.set_grad_enabled(True)
    told = {name: dict(counters[name]) for name in ("frames", "graph_break", "recompiles")}
    return {"results": results, "state": state, "graphs": counters["stats"]["unique_graphs"], **told}


INPUTS = [torch.arange(16.0).view(4, 4).requires_grad_(), torch.ones(4, 4).requires_grad_()]
KEY = "kinds_of_locals:of_"


@pytest.mark.slow
@pytest.mark.parametrize("fullgraph", [True, False])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_local_of_any_kind_leaves_the_compiled_program_as_it_is_and_is_recorded_or_counted(
    load: Callable[..., Modules], backend: str, fullgraph: bool
) -> None:
    modules = load(source())
    wrong = {}
    for name in CARRIED | REFUSED:
        plain = outcome(getattr(modules.plain, f"of_{name}"), backend, fullgraph, *INPUTS)
        with astcapture.recording() as rec:
            captured = outcome(getattr(modules.captured, f"of_{name}"), backend, fullgraph, *INPUTS)
            values = rec[KEY + name]
            count = dict(rec.counts).get((KEY + name, "v"), Counts())
            found = len(values), count.failed, count.missed
        stopped = [one for one in plain["results"] if isinstance(one, str)]
        if captured != plain:
            wrong[name] = f"{captured}, plain {plain}"
        elif stopped or not (fullgraph or plain["frames"].get("ok")):  # the plain one is not compiled either
            assert stopped == (["Unsupported"] if fullgraph else [])
            assert found == ((0, 0, 0) if fullgraph else (2, 0, 0))
        elif found != ((2, 0, 0) if name in CARRIED else (0, 2, 0)):
            wrong[name] = f"recorded, failed, missed: {found}"
        elif name in REFUSED and f"cannot return {REFUSED[name][1]}" not in str(count.error):
            wrong[name] = str(count.error)
    assert wrong == {}, wrong


def flat(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return (value.tolist(), str(value.dtype), value.requires_grad)
    if isinstance(value, (tuple, list)):
        return type(value), [flat(one) for one in value]
    return {key: flat(one) for key, one in value.items()} if isinstance(value, dict) else value


@pytest.mark.slow
def test_what_compiled_code_hands_out_is_what_running_it_plainly_records(load: Callable[..., Modules]) -> None:
    modules = load(source())
    for name in CARRIED:
        found = []
        for compiling in (False, True):
            function = getattr(modules.captured, f"of_{name}")
            with astcapture.recording() as rec:
                for x in INPUTS:
                    (torch.compile(function, backend="eager", fullgraph=True) if compiling else function)(x)
                found.append([flat(value) for value in rec[KEY + name]])
            torch._dynamo.reset()
        assert found[1] == found[0], name
        assert len(found[0]) == 2


TRANSFORMS = """\
import torch
from torch.nn.attention.flex_attention import create_mask


def inner(t):
    v = t * 2
    return v.sum()


def written_to_later(t):
    v = t * 2
    y = v.sum()
    v.add_(1)
    return y


def loss(w, t):
    v = (t * w).sin()
    return v.sum()


def mask_mod(b, h, q, kv):
    v = q >= kv
    return v


class Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        v = x * 2
        return v

    @staticmethod
    def backward(ctx, g):
        return g * 2


def under_vmap(x):
    return torch.func.vmap(inner)(x)


def under_vmap_of_columns(x):
    return torch.func.vmap(inner, in_dims=1)(x)


def under_vmap_with_writing(x):
    return torch.func.vmap(lambda t: inner(t * 3))(x)


def under_two(x):
    return torch.func.vmap(torch.func.vmap(inner, in_dims=1))(x.expand(2, 4, 4))


def under_grad(x):
    return torch.func.grad(inner)(x)


def under_grad_of_samples(x):
    return torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(x[0], x)


def under_jacrev(x):
    return torch.func.jacrev(inner)(x)


def of_a_mask(x):
    return create_mask(mask_mod, 1, 1, 8, 8, device="cpu")


def of_a_function(x):
    return Double.apply(x)
"""
FORWARD = "kinds_of_locals:Double.forward"
UNDER = ["vmap", "vmap_of_columns", "vmap_with_writing", "two", "grad", "grad_of_samples", "jacrev"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(f"under_{one}" for one in UNDER), "of_a_mask"])
def test_a_local_under_a_transform_is_recorded_in_compiled_code_as_in_eager_code(
    load: Callable[..., Modules], name: str
) -> None:
    modules = load(TRANSFORMS, "*=v")
    x = torch.arange(16.0).view(4, 4)
    with astcapture.recording() as rec:
        getattr(modules.captured, name)(x)
        expected = [flat(value) for value in rec.select(label="v")]
    assert expected
    for backend in ("eager", "aot_eager"):
        plain = outcome(getattr(modules.plain, name), backend, True, x, x + 1)
        with astcapture.recording() as rec:
            captured = outcome(getattr(modules.captured, name), backend, True, x, x + 1)
            found = [flat(value) for value in rec.select(label="v")]
        assert captured == plain
        assert found[: len(expected)] == expected
        assert len(found) == 2 * len(expected)


@pytest.mark.slow
@pytest.mark.parametrize("fullgraph", [True, False])
def test_a_local_of_a_function_of_autograd_is_recorded_in_its_forward_and_counted_in_its_backward(
    load: Callable[..., Modules], fullgraph: bool
) -> None:
    modules = load(TRANSFORMS, "*=*")
    for backend in ("eager", "aot_eager"):
        plain = outcome(modules.plain.of_a_function, backend, fullgraph, *INPUTS)
        with astcapture.recording() as rec:
            captured = outcome(modules.captured.of_a_function, backend, fullgraph, *INPUTS)
            values = [value.tolist() for value in rec[FORWARD]["v"]]
        assert captured == plain
        assert values == [result for result, _ in plain["results"]]
    rec.summary()
    assert "allow no side effects" in str(rec.counts[FORWARD.replace(".for", ".back"), "g"].error)


def test_a_value_that_no_mode_and_no_class_of_tensors_sees_is_recorded(load: Callable[..., Modules]) -> None:
    modules = load(
        """\
import torch
from torch.overrides import TorchFunctionMode


class Doubling(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        return made * 2 if function is torch.sin else made + 1 if "detach" in str(function) else made


class Detaching(torch.Tensor):
    def detach(self):
        self.add_(1)
        return self


def f(x):
    with Doubling():
        v = torch.sin(x)
    return v


def inside(x):
    v = torch.sin(x)
    return v


def of_a_mode(x):
    with Doubling():
        return inside(x)


def of_a_class(x):
    v = x.as_subclass(Detaching)
    return v * 2
"""
    )
    for name, key in (("f", "f"), ("of_a_mode", "inside"), ("of_a_class", "of_a_class")):
        plain = outcome(getattr(modules.plain, name), "aot_eager", True, *INPUTS)
        with astcapture.recording() as rec:
            captured = outcome(getattr(modules.captured, name), "aot_eager", True, *INPUTS)
            values = [value.tolist() for value in rec["kinds_of_locals:" + key]]
        assert captured == plain
        if name != "of_a_class":
            assert values == [result for result, _ in plain["results"]]
        else:
            assert values == [x.tolist() for x in INPUTS]
