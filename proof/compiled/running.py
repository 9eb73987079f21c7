"""One run of a program, eager or compiled: all that the program and the compiler show, and what was recorded."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import linecache
import random
import re
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from plain_and_rewritten import plain_code, recorded, rewritten_code

from astcapture.errors import CaptureWarning

#: Each run has a module of its own: the compiler knows modules by name, for good.
_numbers = itertools.count()

#: A value, taken apart: what can be compared as it is, and tensors.
Flat = list[Any]


@dataclass
class Way:
    """How a program runs; without a backend it is not compiled."""

    backend: str | None
    fullgraph: bool = False

    @property
    def tolerance(self) -> float:
        """What a value may differ by: with one more output inductor fuses, and so rounds, otherwise."""
        return 1e-4 if self.backend == "inductor" else 0.0


@dataclass
class Seen:
    """What a run showed of the program."""

    results: Flat = field(default_factory=list)
    #: What the program printed, and the warnings.
    printed: str = ""
    warned: list[str] = field(default_factory=list)
    #: What the compiler counted: frames, graphs, graph breaks with their reasons, recompilations.
    compiler: dict[str, Any] = field(default_factory=dict)
    #: Modes of torch that a run may have left changed.
    state: tuple[Any, ...] = ()


@dataclass
class Records:
    """What was recorded: for each function and label the values, and how many failed, with the first reason."""

    values: dict[tuple[str, str], list[Flat]] = field(default_factory=dict)
    failed: dict[tuple[str, str], tuple[int, str | None]] = field(default_factory=dict)
    missed: dict[tuple[str, str], int] = field(default_factory=dict)


def code_of(source: str, path: str, module: str, target: str | None = None) -> types.CodeType:
    """The code of a program, as it is written, or captured as the target has it; ``M`` in that is the module.

    Raises:
        SyntaxError: not every draw is a program.
        CaptureError, AssertionError: the target does not fit the program.
    """
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if target is None:
            return plain_code(source, path)
        return rewritten_code(source, path, target.replace("M:", f"{module}:"), module)


def run(source: str, target: str | None, seed: int, way: Way) -> tuple[Seen, Records]:
    """Run a program with each of its inputs, one compiled function for them all."""
    module = f"m{next(_numbers):06}"
    code = code_of(source, f"/source/tensors{seed}.py", module, target)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    seen = Seen()
    out = io.StringIO()
    with (
        recorded() as cache,
        contextlib.redirect_stdout(out),
        warnings.catch_warnings(record=True) as warned,
        _module(module, code) as names,
    ):
        warnings.simplefilter("always")
        model = function = names["model"]
        if way.backend is not None:
            function = torch.compile(model, backend=way.backend, fullgraph=way.fullgraph)
        for number in range(3):
            _run_once(function, model, names, seed, number, seen)
        records = Records()
        for record in cache.select().records:
            records.values.setdefault((record.function, record.label), []).append(flat(record.value))
        for (key, label), count in cache.counts.items():
            where = (key.partition(":")[2], label)
            if count.failed:
                records.failed[where] = (count.failed, count.error)
            if count.missed:
                records.missed[where] = count.missed
    seen.printed = lasting(out.getvalue())
    seen.warned = [
        lasting(f"{one.lineno}: {one.category.__name__}: {one.message}")
        for one in warned
        if not issubclass(one.category, CaptureWarning)
    ]
    seen.compiler = _counted()
    return seen, records


@contextlib.contextmanager
def _module(name: str, code: types.CodeType) -> Iterator[dict[str, Any]]:
    """The program as an imported module: where a function is inlined, the compiler looks for its module by name."""
    module = sys.modules[name] = types.ModuleType(name)
    try:
        exec(code, vars(module))
        yield vars(module)
    finally:
        del sys.modules[name]


def _run_once(function: Any, model: Any, names: Mapping[str, Any], seed: int, number: int, seen: Seen) -> None:
    chance = random.Random(f"{seed} {number}")
    x = torch.linspace(-1, 1 + number, 16).view(4, 4).requires_grad_(number > 0)
    steps = names["Steps"]([chance.random() < 0.5 for _ in range(5)])
    parameters = list(getattr(model, "parameters", list)()) or list(names["blocks"].parameters())
    try:
        result = drive(function(x, steps, number == 1))
        seen.results.append(flat(result))
        for one in tensors(result):
            if one.requires_grad and one.grad_fn is not None:
                gradients = torch.autograd.grad(
                    one.float().sum(), [x, *parameters], allow_unused=True, retain_graph=True
                )
                seen.results.append(flat(gradients))
                break
    except Exception as error:
        seen.results.append(["raised", type(error).__name__, told(error)])
    seen.results.append(flat([steps.at, getattr(steps, "seen", None), getattr(model, "seen", None)]))
    seen.results.append(flat(x))
    seen.state += (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled())
    torch.set_grad_enabled(True)


def told(error: Exception) -> str:
    """An exception's own words; the compiler's are about its inside, of which the first line tells what it is."""
    text = str(error)
    return lasting(text.partition("\n")[0] if type(error).__module__.startswith("torch.") else text)


def lasting(text: str) -> str:
    """A text without what differs between two runs: addresses, the numbers of graphs and of modules."""
    return re.sub(r"0x[0-9a-f]+|\bat \d{6,}|_\d+\b|\bm\d{6}\b", "#", text)


def _counted() -> dict[str, Any]:
    counters = torch._dynamo.utils.counters
    breaks: dict[str, int] = {}
    for reason, count in counters["graph_break"].items():
        short = lasting(reason.partition("\n")[0])
        breaks[short] = breaks.get(short, 0) + count
    return {
        "graphs": counters["stats"]["unique_graphs"],
        "frames": dict(counters["frames"]),
        "graph breaks": breaks,
        "recompilations": sum(counters["recompiles"].values()),
    }


def drive(result: Any) -> Any:
    """What a call gives; of a generator all that it yields."""
    if not isinstance(result, types.GeneratorType):
        return result
    given: list[Any] = []
    while True:
        try:
            given.append(next(result))
        except StopIteration as end:
            return [*given, "returned", end.value]


def tensors(value: Any) -> Iterator[torch.Tensor]:
    return (one for one in flat(value, detached=False) if isinstance(one, torch.Tensor))


def flat(value: Any, detached: bool = True, depth: int = 6) -> Flat:
    """A value taken apart into texts and tensors, which are copied unless they are to be used."""
    if isinstance(value, torch.Tensor):
        told = (type(value).__name__, str(value.dtype), tuple(value.shape), value.requires_grad)
        return [told, value.detach().clone()] if detached else [told, value]
    if isinstance(value, np.ndarray):
        return ["ndarray", str(value.dtype), value.tolist()]
    if depth and isinstance(value, (tuple, list)):
        return [type(value).__name__, len(value), *(one for part in value for one in flat(part, detached, depth - 1))]
    if depth and isinstance(value, dict):
        return [type(value).__name__, *(one for part in value.items() for one in flat(part, detached, depth - 1))]
    if depth and dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [type(value).__name__, *flat(vars(value), detached, depth - 1)]
    if isinstance(value, (int, float, str, bytes, type(None), torch.dtype, torch.device, range, slice)):
        return [type(value).__name__, repr(value)]
    # In compiled code torch puts the one in place of the other.
    return [type(value).__name__.replace("record_function", "nullcontext")]


def equal(one: Flat, other: Flat, tolerance: float) -> bool:
    """Whether two values are the same; tensors may differ by as much, with not-a-numbers where they are."""
    if len(one) != len(other):
        return False
    for left, right in zip(one, other, strict=True):
        if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
            if left.shape != right.shape or left.dtype != right.dtype:
                return False
            if not torch.allclose(left.double(), right.double(), rtol=tolerance, atol=tolerance, equal_nan=True):
                return False
        elif isinstance(left, list) and isinstance(right, list):
            if not equal(left, right, tolerance):
                return False
        elif isinstance(left, torch.Tensor) or isinstance(right, torch.Tensor) or left != right:
            return False
    return True
