"""Programs that are exported, traced and compiled in parts: each plain beside captured.

A capture adds no operation, no name, no guard and no warning to what is written down; what has no value there is
counted with its reason.
"""

from __future__ import annotations

import importlib
import itertools
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import astcapture

torch = pytest.importorskip("torch")
from torch._dynamo.utils import counters  # noqa: E402
from torch.fx.experimental.proxy_tensor import make_fx  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SOURCE = """\
import contextlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def attend(q, k, v, scale):
    size = q.shape
    scores = q @ k.mT * scale
    if scores.dim() == 3:
        scores = scores + 1
    attn = scores.softmax(-1)
    mixed = attn @ v
    return mixed


def halves(x):
    half = x.shape[-1] // 2
    for start in (0, half):
        where = slice(start, start + half)
        part = x[..., where]
        yield part


class Attention(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.scale = dim**-0.5

    def forward(self, x):
        q, k = self.q(x), self.k(x)
        first = attend(q, k, x, self.scale)
        fused = F.scaled_dot_product_attention(q, k, x)
        return self.out(first + fused)


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = Attention(dim)

    def forward(self, x):
        def scaled(t):
            grown = t * 2
            return grown

        names = {"x": x, "n": 3}
        table = torch.tensor([0.5, 1.5])
        with contextlib.nullcontext() as nothing:
            y = names["x"] + self.attn(self.norm(x))
        parts = list(halves(y))
        joined = torch.cat(parts, -1)
        number = np.float32(2)
        y = scaled(joined) * float(number) + table[1]
        return y


class Model(nn.Module):
    def __init__(self, dim=8, depth=2):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList(Block(dim) for _ in range(depth))
        self.head = nn.Linear(dim, 3)

    def forward(self, x):
        batch, length = x.shape[:2]
        for number, block in enumerate(self.blocks):
            x = block(x)
        pooled = x.mean(1)
        if batch > 100:
            pooled = pooled * 0
        logits = self.head(pooled)
        return logits


class Plain(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.q = nn.Linear(dim, dim)

    def forward(self, x):
        q = self.q(x)
        size = q.shape
        parts = {"a": q, "b": [x, 3]}
        attn = (q @ x.mT).softmax(-1)
        fused = F.scaled_dot_product_attention(q, x, x)
        out = attn @ q + parts["b"][0] + fused
        return out.reshape(size)
"""


def reduced(value: Any) -> Any:
    return value.sum() if isinstance(value, torch.Tensor) else value


EXPRESSIONS = [
    "Attention.forward=e:=q @ k.mT,n:=x.shape[0] + 1",
    "Plain.forward=e:=q @ x.mT",
    "attend=s:=scores.sum()",
    "Model.forward=c:=[x * 2 for _ in range(2)]",
]
CAPTURES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "every local": (["*=*"], {}),
    "every binding": (["*=*@assign"], {}),
    "weights": (["Attention.forward=weights@sdpa,query@sdpa", "Plain.forward=weights@sdpa"], {}),
    "expressions": (EXPRESSIONS, {}),
    "reduced": (["*=*"], {"reduce": reduced}),
    "converted": (["*=*"], {"dtype": "float64"}),
    "gradients": (["*=*"], {"grad": True}),
    "layers": (["*=*"], {"layers": "blocks.1*"}),
    "references": (["*=*"], {"copy": False}),
}
PLAIN, CAPTURED = "as_written", "to_export"
# A module that torch has compiled is known to it by its name: each test has one of its own.
NUMBER = itertools.count()
# Numbered by torch, anew for each class that it meets, and by the interpreter.
NUMBERS = re.compile(r"\.?___torch_mangle_\d+|(?<=_)\d{9,}|\b\d{14,}\b|0x[0-9a-f]+")

# Torch can name the file of an equal function that it has met before.
FOLDERS = re.compile(r'(?<=File ")[^"]*/')


class Modules(NamedTuple):
    plain: Any
    captured: Any


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Modules]]:
    """The source as two modules, of which one is captured."""
    monkeypatch.syspath_prepend(str(tmp_path))
    hooks = []

    def load(captures: str, source: str = SOURCE) -> Modules:
        targets, options = CAPTURES[captures]
        number = next(NUMBER)
        plain, captured = f"{PLAIN}_{number}", f"{CAPTURED}_{number}"
        for name in (plain, captured):
            (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        hooks.append(astcapture.install([f"{captured}:{target}" for target in targets], **options))
        return Modules(importlib.import_module(plain), importlib.import_module(captured))

    torch._dynamo.reset()
    yield load
    for hook in hooks:
        hook.uninstall()
    torch._dynamo.reset()


def data(batch: int = 2, length: int = 5, grad: bool = False) -> Any:
    torch.manual_seed(100 * batch + length)
    return torch.randn(batch, length, 8, requires_grad=grad)


def text(value: Any) -> str:
    return re.sub(rf"{CAPTURED}_\d+|{PLAIN}_\d+", PLAIN, NUMBERS.sub("", FOLDERS.sub("", str(value))))


def outcome(program: Callable[[Any], dict[str, Any]], module: Any) -> dict[str, Any]:
    """What a program comes to, what torch counts meanwhile, and the warnings."""
    torch._dynamo.reset()
    counters.clear()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = program(module)
    counted = {name: dict(counters[name]) for name in ("frames", "graph_break", "recompiles")}
    # Compiling the first program of a process warns of what it imports.
    said = [text(one.message) for one in told if one.category is not DeprecationWarning]
    return {**found, **counted, "graphs": counters["stats"]["unique_graphs"], "warnings": said}


def differences(plain: dict[str, Any], captured: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (plain.get(name), captured.get(name))
        for name in plain | captured
        if plain.get(name) != captured.get(name)
    }


def tensors_in(value: Any) -> int:
    if isinstance(value, (tuple, list)):
        return sum(map(tensors_in, value))
    return sum(map(tensors_in, value.values())) if isinstance(value, dict) else isinstance(value, torch.Tensor)


def told(rec: Any) -> tuple[int, set[str]]:
    """How many tensors have been recorded, and why others have not."""
    tensors = sum(tensors_in(list(rec[key])) for key in rec if key.startswith(CAPTURED))
    return tensors, {str(one.error) for key, one in rec.counts.items() if key[0].startswith(CAPTURED) and one.error}


# --- torch.export


def described(program: Any) -> dict[str, Any]:
    """All that is told of an exported program, and what it gives."""
    nodes = list(program.graph.nodes)
    return {
        "graph": text(program.graph),
        "code": program.graph_module.code,
        "module": program.module().code,
        "signature": str(program.graph_signature),
        "ranges": str(program.range_constraints),
        "state": (sorted(program.state_dict), sorted(map(str, program.constants)), str(program.call_spec)),
        "meta": [sorted(node.meta) for node in nodes],
        "stacks": [text(node.meta.get("stack_trace")) for node in nodes],
        "layers": [text(node.meta.get("nn_module_stack")) for node in nodes],
        "result": program.module()(data()).tolist(),
    }


def exported(module: Any, strict: bool, dynamic: bool = True) -> Any:
    sizes = {"x": {0: torch.export.Dim("b", min=2, max=64), 1: torch.export.Dim.DYNAMIC}} if dynamic else None
    return torch.export.export(module.Model(), (data(),), strict=strict, dynamic_shapes=sizes)


@pytest.mark.parametrize("captures", CAPTURES)
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program_is_the_plain_one_and_what_has_no_value_is_counted(
    load: Callable[..., Modules], strict: bool, captures: str
) -> None:
    modules = load(captures)
    program = lambda module: described(exported(module, strict))  # noqa: E731
    plain = outcome(program, modules.plain)
    with astcapture.recording() as rec:
        captured = outcome(program, modules.captured)
        tensors, reasons = told(rec)
    assert differences(plain, captured) == {}
    assert tensors == 0
    assert reasons == {"NotRun: torch.export traces this function without data, so there is no value to record"}


@pytest.mark.parametrize("strict", [False, True])
def test_so_it_is_where_no_size_may_change(load: Callable[..., Modules], strict: bool) -> None:
    modules = load("every local")
    program = lambda module: described(exported(module, strict, dynamic=False))  # noqa: E731
    assert differences(outcome(program, modules.plain), outcome(program, modules.captured)) == {}


def test_the_layers_are_known_while_a_program_is_exported(load: Callable[..., Modules]) -> None:
    modules = load("layers")
    with astcapture.recording() as rec:
        exported(modules.captured, strict=False)
        assert {record.layer for record in rec.select().records} == {"blocks.1", "blocks.1.attn"}


def test_an_exported_program_that_was_saved_and_loaded_is_the_plain_one(
    load: Callable[..., Modules], tmp_path: Path
) -> None:
    modules = load("every local")
    found = []
    for module in modules:
        torch.export.save(exported(module, strict=False), tmp_path / "model.pt2")
        with astcapture.recording() as rec:
            loaded = torch.export.load(tmp_path / "model.pt2")
            found.append((text(loaded.graph), loaded.module()(data(4, 7)).tolist()))
            assert told(rec) == (0, set())
    assert found[0] == found[1]
    assert found[1][1] == modules.captured.Model()(data(4, 7)).tolist()


def test_what_is_run_after_it_was_exported_is_recorded(load: Callable[..., Modules]) -> None:
    module = load("every local").captured
    model = module.Model()
    torch.export.export(model, (data(),))
    with astcapture.recording() as rec:
        model(data())
        assert [record.layer for record in rec[f"{module.__name__}:Attention.forward"]["first"].records] == [
            "blocks.0.attn",
            "blocks.1.attn",
        ]


# --- torch.jit.trace and torch.jit.script


@pytest.mark.parametrize("captures", CAPTURES)
def test_a_trace_has_the_values_and_names_of_the_plain_one(load: Callable[..., Modules], captures: str) -> None:
    modules = load(captures)

    def program(module: Any) -> dict[str, Any]:
        x = data()
        traced = torch.jit.trace(module.Model(), x, check_trace=False)
        free = torch.jit.trace(module.attend, (x, x, x, torch.tensor(0.5)))
        return {
            "graph": text(traced.graph),
            "inlined": text(traced.inlined_graph),
            "codes": [one.code for _, one in traced.named_modules() if hasattr(one, "code")],
            "names": [value.debugName() for node in traced.inlined_graph.nodes() for value in node.outputs()],
            "free": (text(free.graph), free.code),
            "results": (traced(data(3, 5)).tolist(), free(x, x, x, torch.tensor(0.5)).tolist()),
        }

    plain = outcome(program, modules.plain)
    with astcapture.recording() as rec:
        captured = outcome(program, modules.captured)
        tensors, reasons = told(rec)
    assert differences(plain, captured) == {}
    if captures == "expressions":
        # Its check of a function of tensors runs that once more, with no trace.
        assert (tensors, len(reasons)) == (1, 1)
        assert "NotRun: torch.jit.trace would add the operations of the expression" in reasons.pop()
    else:
        assert tensors > 0 and reasons == set()


def test_a_trace_runs_the_function_and_what_it_records_is_what_a_plain_run_does(load: Callable[..., Modules]) -> None:
    module = load("every binding").captured
    found = []
    for traces in (False, True):
        with astcapture.recording() as rec:
            model = module.Model()
            torch.jit.trace(model, data(), check_trace=False) if traces else model(data())
            records = rec[f"{module.__name__}:attend"].records
            found.append(
                [(one.label, one.value.tolist()) for one in records if one.label in ("scores", "attn", "mixed")]
            )
            layers = [one.layer for one in rec[f"{module.__name__}:Block.forward"]["joined"].records]
            assert layers == ["blocks.0", "blocks.1"]
    assert found[0] == found[1] and len(found[0]) == 8


def test_a_scripted_function_is_left_plain_and_named(load: Callable[..., Modules]) -> None:
    source = "import torch\n\ndef twice(x):\n    y = x * 2\n    return y\n"
    modules = load("every local", source)
    plain, captured = (torch.jit.script(module.twice) for module in modules)
    assert text(captured.graph) == text(plain.graph) and captured.code == plain.code
    assert captured(torch.ones(2)).tolist() == [2, 2]
    assert len(astcapture.cache[f"{modules.captured.__name__}:twice"]) == 0
    assert "torch.jit.script compiled it" in astcapture.cache.summary()


# --- torch.fx and make_fx


class OfOurs(torch.fx.Tracer):  # type: ignore[misc]
    """Traces into everything but torch's own layers."""

    def is_leaf_module(self, module: Any, name: str) -> bool:
        return type(module).__module__.startswith("torch.nn") and not isinstance(module, torch.nn.Sequential)


@pytest.mark.parametrize("captures", CAPTURES)
def test_a_module_of_fx_is_the_plain_one(load: Callable[..., Modules], captures: str) -> None:
    modules = load(captures)

    def program(module: Any) -> dict[str, Any]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(module.Plain(8), module.Plain(8))
        traced = torch.fx.GraphModule(model, OfOurs().trace(model))
        simple = torch.fx.symbolic_trace(module.Plain(8))
        return {"code": (traced.code, simple.code), "graph": text(traced.graph), "result": traced(data()).tolist()}

    plain = outcome(program, modules.plain)
    with astcapture.recording() as rec:
        captured = outcome(program, modules.captured)
        tensors, reasons = told(rec)
    assert differences(plain, captured) == {}
    assert tensors == 0
    none = captures == "layers"  # there is no such layer
    assert reasons == (
        set()
        if none
        else {"NotRun: torch.fx traces this function instead of running it, so there is no value to record"}
    )


@pytest.mark.parametrize(
    ("mode", "captures"),
    [
        *(("real", one) for one in CAPTURES),
        ("fake", "every local"),
        ("symbolic", "reduced"),
        ("symbolic", "expressions"),
    ],
)
def test_a_trace_of_make_fx_is_the_plain_one(load: Callable[..., Modules], mode: str, captures: str) -> None:
    modules = load(captures)

    def program(module: Any) -> dict[str, Any]:
        model = module.Model()
        parameters = dict(model.named_parameters())

        def loss(parameters: Any, x: Any) -> Any:
            return torch.func.functional_call(model, parameters, (x,)).sum()

        traced = make_fx(loss, tracing_mode=mode)(parameters, data())
        ahead = make_fx(torch.func.grad(loss, argnums=1), tracing_mode=mode)(parameters, data())
        return {"code": (traced.code, ahead.code), "result": traced(parameters, data()).tolist()}

    plain = outcome(program, modules.plain)
    with astcapture.recording() as rec:
        captured = outcome(program, modules.captured)
        tensors, reasons = told(rec)
    assert differences(plain, captured) == {}
    if captures == "expressions" and mode == "real":
        assert tensors == 0
        assert [reason for reason in reasons if "make_fx would add the operations of the expression" in reason]
    elif mode == "real":
        assert tensors > 0 and reasons == set()
    else:
        assert tensors == 0
        assert reasons == {"NotRun: make_fx traces this function without data, so there is no value to record"}


# --- torch.compile


SIZES = [(2, 5), (3, 5), (4, 7), (2, 9), (2, 5)]
ROWS = ["every binding", "weights", "expressions"]


def trained(function: Callable[[Any], Any], sizes: Any = SIZES) -> list[Any]:
    """Results and gradients of inputs of some sizes."""
    found = []
    for size in sizes:
        x = data(*size, grad=True)
        y = function(x)
        y.sum().backward()
        found.append((y.tolist(), x.grad.tolist()))
    return found


def whole(module: Any, **options: Any) -> Any:
    return trained(torch.compile(module.Model(), **options))


def in_blocks(module: Any, **options: Any) -> Any:
    model = module.Model(depth=4)
    for block in model.blocks:
        block.compile(**options)
    return trained(model)


def with_marked_sizes(module: Any) -> Any:
    compiled = torch.compile(module.Model(), backend="eager", fullgraph=True)
    found = []
    for size in SIZES:
        x = data(*size)
        torch._dynamo.mark_dynamic(x, [0, 1])
        found.append(compiled(x).tolist())
    return found


def in_stances(module: Any) -> Any:
    compiled = torch.compile(module.Model(), backend="eager")
    found = trained(compiled, SIZES[:2])
    for stance in ("force_eager", "eager_on_recompile"):
        with torch.compiler.set_stance(stance):
            found += trained(compiled, [(5, 11)])
    with torch.compiler.set_stance("fail_on_recompile"), pytest.raises(RuntimeError) as error:
        compiled(data(5, 11))
    return [*found, type(error.value).__name__]


def with_no_recompilation_allowed(module: Any) -> Any:
    with torch._dynamo.config.patch(error_on_recompile=True):
        return whole(module, backend="eager", dynamic=True, fullgraph=True)


def with_a_function_as_a_whole(module: Any) -> Any:
    torch.compiler.allow_in_graph(module.attend)

    def twice(x: Any) -> Any:
        return module.attend(x, x, x, 0.5) * 2

    compiled = torch.compile(twice, backend="aot_eager", fullgraph=True, dynamic=True)
    torch.compiler.cudagraph_mark_step_begin()
    return trained(compiled)


def functional(module: Any) -> Any:
    model = module.Model()
    parameters = dict(model.named_parameters())
    return trained(torch.compile(lambda x: torch.func.functional_call(model, parameters, (x,)), backend="eager"))


COMPILED: dict[str, Callable[[Any], Any]] = {
    "sizes found out": lambda module: whole(module, backend="eager"),
    "dynamic": lambda module: whole(module, backend="eager", dynamic=True, fullgraph=True),
    "no recompilation": with_no_recompilation_allowed,
    "marked": with_marked_sizes,
    "blocks": lambda module: in_blocks(module, backend="eager"),
    "blocks, dynamic": lambda module: in_blocks(module, backend="eager", dynamic=True, fullgraph=True),
    "stances": in_stances,
    "allow_in_graph": with_a_function_as_a_whole,
    "functional_call": functional,
}
BY_COMPILERS: dict[str, Callable[[Any], Any]] = {
    "decompositions": lambda module: whole(module, backend="aot_eager_decomp_partition"),
    "autotuned": lambda module: whole(module, mode="max-autotune-no-cudagraphs", dynamic=True),
    "reduced overhead": lambda module: whole(module, mode="reduce-overhead", dynamic=True),
}
KEPT_WHOLE = "NotRun: torch.compile keeps this torch function in its graph as a single operation"


@pytest.mark.parametrize(
    ("row", "captures"),
    [*((row, ROWS[0]) for row in COMPILED), *((row, one) for row in ("dynamic", "blocks") for one in ROWS[1:])],
)
def test_compiled_in_any_way_there_are_no_more_graphs_breaks_or_recompilations(
    load: Callable[..., Modules], row: str, captures: str
) -> None:
    modules = load(captures)
    program = lambda module: {"results": COMPILED[row](module)}  # noqa: E731
    plain = outcome(program, modules.plain)
    with astcapture.recording() as rec:
        captured = outcome(program, modules.captured)
        tensors, reasons = told(rec)
    assert differences(plain, captured) == {}
    if row == "allow_in_graph":
        assert tensors == 0
        assert all(reason.startswith(KEPT_WHOLE) for reason in reasons)
        assert bool(reasons) == (captures != "weights")
    else:
        assert tensors > 0
        assert all("torch.compile cannot return" in reason for reason in reasons)


@pytest.mark.long
@pytest.mark.parametrize(("row", "captures"), zip(BY_COMPILERS, ROWS, strict=True))
def test_by_other_compilers_and_in_other_modes_too(load: Callable[..., Modules], row: str, captures: str) -> None:
    modules = load(captures)
    found = []
    for module in modules:
        with astcapture.recording() as rec:
            found.append(outcome(lambda module: {"results": BY_COMPILERS[row](module)}, module))
            tensors, _ = told(rec)
    results = [[torch.tensor(one) for pair in case.pop("results") for one in pair] for case in found]
    assert found[0] == found[1]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))
    assert tensors > 0


@pytest.mark.parametrize("dynamic", [False, True])
def test_blocks_that_share_their_compiled_code_have_layers_of_their_own(
    load: Callable[..., Modules], dynamic: bool
) -> None:
    module = load("weights").captured
    with astcapture.recording() as rec:
        in_blocks(module, backend="eager", dynamic=dynamic, fullgraph=True)
        # The model is gone by now, and its blocks are not yet.
        layers = [one.layer for one in rec[f"{module.__name__}:Attention.forward"]["weights"].records]
    assert layers == [f"blocks.{number}.attn" for _ in SIZES for number in range(4)]


@pytest.mark.long
def test_a_package_of_aotinductor_runs_as_the_plain_one(load: Callable[..., Modules], tmp_path: Path) -> None:
    modules = load("expressions")
    found = []
    for number, module in enumerate(modules):
        path = str(tmp_path / f"model_{number}.pt2")
        torch._inductor.aoti_compile_and_package(exported(module, strict=False), package_path=path)
        with astcapture.recording() as rec:
            found.append(torch._inductor.aoti_load_package(path)(data(4, 7)))
            assert told(rec) == (0, set())
    assert torch.equal(*found)
    assert torch.allclose(found[1], modules.captured.Model()(data(4, 7)), atol=1e-5)


@pytest.mark.parametrize(
    ("capture", "expected"),
    [("c:=[t * 2 for t in (y, y)]", 2), ("c:=z + 1", 1), ("c:=(lambda: y + 1)()", 1), ("c:=unset + 1", 0)],
)
@pytest.mark.parametrize("ends", ["return y", "out.append(y)"])
def test_an_expression_breaks_no_graph(
    load: Callable[..., Modules], monkeypatch: pytest.MonkeyPatch, capture: str, expected: int, ends: str
) -> None:
    monkeypatch.setitem(CAPTURES, "this", ([f"f={capture}"], {}))
    body = "    y = x * 2\n    if n > 2:\n        z = y\n    else:\n        unset = y\n"
    modules = load("this", f"import torch\n\ndef f(x, out, n):\n{body}    {ends}\n")

    def program(module: Any) -> dict[str, Any]:
        out: list[Any] = []
        result = torch.compile(module.f, backend="eager", fullgraph=True)(torch.ones(3), out, 3)
        return {"result": text(result), "out": text(out)}

    plain = outcome(program, modules.plain)
    with astcapture.recording() as rec:
        captured = outcome(program, modules.captured)
        assert differences(plain, captured) == {}
        assert told(rec) == (expected, set())
        missed = rec.counts.get((f"{modules.captured.__name__}:f", "c"))
        assert (missed.missed if missed else 0) == (expected == 0)
