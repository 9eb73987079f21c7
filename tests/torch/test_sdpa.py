"""The weights of fused attention: taken at the call, equal to what the kernel used, and nothing else changed."""

from __future__ import annotations

import ast
import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import astcapture
from astcapture.errors import CaptureError
from astcapture.record import recorder
from astcapture.record.events import events as waiting
from astcapture.record.torch import attention
from astcapture.record.torch.attention import attention_weights
from astcapture.rewrite.attention import FUSED, attention_names

sys.path.append(str(Path(__file__).parent.parent / "rewrite"))

from plain_and_rewritten import both, plain_code, recorded, rewritten_code, shown, traced, write_down

SPELLINGS = {
    "F.": ("import torch.nn.functional as F", "F.scaled_dot_product_attention(q, k, v)"),
    "in full": ("import torch", "torch.nn.functional.scaled_dot_product_attention(q, k, v)"),
    "a bare name": (
        "from torch.nn.functional import scaled_dot_product_attention",
        "scaled_dot_product_attention(q, k, v)",
    ),
    "an imported alias": (
        "from torch.nn.functional import scaled_dot_product_attention as sdpa",
        "sdpa(q, k, v)",
    ),
    "an alias of the module": (
        "import torch.nn.functional as F\nsdpa: object = F.scaled_dot_product_attention\nattend = sdpa",
        "attend(q, k, v)",
    ),
    "a local": ("import torch.nn.functional as F", "(g := F.scaled_dot_product_attention) and g(q, k, v)"),
    "an attribute": (
        """
import torch.nn.functional as F
class A:
    def __init__(self, fn=None):
        self.attn_fn = fn or F.scaled_dot_product_attention
a = A()""",
        "a.attn_fn(q, k, v)",
    ),
    "a default": (
        "import torch.nn.functional as F\ndef g(*, attend=F.scaled_dot_product_attention): return attend",
        "[attend(q, k, v) for attend in [g()]][0]",
    ),
    "getattr": (
        "import torch.nn.functional as F\nattend = getattr(F, 'scaled_dot_product_attention', None)",
        "attend(q, k, v)",
    ),
    "a dict": (
        "import torch.nn.functional as F\nKERNELS = {}\nKERNELS['fused'] = F.scaled_dot_product_attention",
        "KERNELS['fused'](q, k, v)",
    ),
    "inside another expression": (
        "import torch.nn.functional as F",
        "(F.scaled_dot_product_attention(q.contiguous(), k, v).transpose(-1, -2) + 0).mT",
    ),
    "in a lambda": ("import torch.nn.functional as F", "(lambda a: F.scaled_dot_product_attention(a, k, v))(q)"),
    "by keywords": (
        "from torch.nn import functional",
        "functional.scaled_dot_product_attention(value=v, key=k, query=q, **{'scale': None})",
    ),
}


def program(head: str, call: str) -> str:
    return f"{head}\ndef f(q, k, v):\n    return {call}\n"


def tensors(*shape: int, dtype: torch.dtype = torch.float32, count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator).to(dtype) for _ in range(count)]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_call_is_found_under_every_spelling_and_its_weights_give_its_output(spelling: str) -> None:
    q, k, v = tensors(2, 3, 5, 4)
    source = program(*SPELLINGS[spelling])
    seen = both(source, lambda names: names["f"](q, k, v), "m:f=weights@sdpa,output@sdpa")
    assert [label for label, _ in seen.captured] == ["weights", "output"]
    weights, output = (value for _, value in seen.captured)
    assert torch.allclose(weights @ v, output, atol=1e-6)
    assert torch.equal(output, F.scaled_dot_product_attention(q, k, v))
    assert torch.equal(output, seen.result)


def mask(*shape: int, kind: str) -> torch.Tensor:
    allowed = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) > 0.4
    allowed[..., 0] = True
    return allowed if kind == "bool" else torch.randn(*shape).masked_fill(~allowed, float("-inf"))


TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6, torch.bfloat16: 2e-2, torch.float16: 2e-3}


@pytest.mark.cases(128)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("kind", ["none", "bool", "float", "bool per head", "float broadcast", "causal"])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 2, 3)], ids=str)
@pytest.mark.parametrize(("length", "keys"), [(5, 5), (4, 7), (7, 4), (1, 6)])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_weights_times_value_is_the_output(
    dtype: torch.dtype, kind: str, lead: tuple[int, ...], length: int, keys: int, scale: float | None
) -> None:
    (q,) = tensors(*lead, length, 8, dtype=dtype, count=1)
    k, v = tensors(*lead, keys, 8, dtype=dtype, count=2)
    options: dict[str, Any] = {"scale": scale}
    if kind == "causal":
        options["is_causal"] = True
    elif kind != "none":
        shape = (*lead, length, keys) if "head" in kind else (length, keys) if kind != "float broadcast" else (1, keys)
        options["attn_mask"] = mask(*shape, kind=kind.split()[0])
        if options["attn_mask"].is_floating_point():
            options["attn_mask"] = options["attn_mask"].to(dtype)
    weights = attention_weights(q, k, **options)
    assert weights.dtype == dtype
    assert weights.shape == (*lead, length, keys)
    output = F.scaled_dot_product_attention(q, k, v, **options)
    assert torch.allclose(weights @ v, output, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_grouped_queries(dtype: torch.dtype, causal: bool, groups: int) -> None:
    (q,) = tensors(2, 6, 5, 8, dtype=dtype, count=1)
    k, v = tensors(2, 6 // groups, 5, 8, dtype=dtype, count=2)
    output = F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)
    weights = attention_weights(q, k, is_causal=causal, enable_gqa=True)
    assert weights.shape == (2, 6, 5, 5)
    assert torch.allclose(weights @ v.repeat_interleave(groups, 1), output, atol=TOLERANCE[dtype])


def test_keys_that_are_broadcast_over_the_batch() -> None:
    q, k, v = tensors(2, 3, 5, 4)[0], *tensors(1, 3, 6, 4, count=2)
    output = F.scaled_dot_product_attention(q, k, v)
    assert torch.allclose(attention_weights(q, k) @ v, output, atol=1e-6)


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_rows_that_are_masked_entirely_are_what_torch_makes_of_them(kind: str) -> None:
    q, k, v = tensors(1, 2, 4, 8)
    allowed = torch.ones(4, 4, dtype=torch.bool)
    allowed[2] = False
    given = allowed if kind == "bool" else torch.zeros(4, 4).masked_fill(~allowed, float("-inf"))
    output = F.scaled_dot_product_attention(q, k, v, given)
    assert torch.allclose(attention_weights(q, k, given) @ v, output, atol=1e-6, equal_nan=True)


def test_a_mask_of_torchs_own_causal_kind() -> None:
    bias = pytest.importorskip("torch.nn.attention.bias").causal_lower_right(3, 5)
    q, k, v = tensors(1, 2, 3, 8)[0], *tensors(1, 2, 5, 8, count=2)
    weights = attention_weights(q, k, bias)
    assert torch.allclose(weights @ v, F.scaled_dot_product_attention(q, k, v, bias), atol=1e-6)


def test_dropout_is_left_out_of_the_weights_and_its_random_numbers_are_untouched() -> None:
    source = program("import torch.nn.functional as F", "F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)")
    q, k, v = tensors(1, 2, 5, 8)

    def call(names: dict[str, Any]) -> list[torch.Tensor]:
        torch.manual_seed(3)
        return [names["f"](q, k, v), torch.rand(2)]

    seen = both(source, call, "m:f=weights@sdpa,dropout_p@sdpa")
    assert seen.captured[1] == ("dropout_p", 0.5)
    assert torch.equal(seen.captured[0][1], attention_weights(q, k))


def test_every_name_of_the_call_can_be_taken_and_defaults_are_torchs_own() -> None:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa", "output")
    source = program("import torch.nn.functional as F", "F.scaled_dot_product_attention(q, k, v, None, 0.0, True)")
    q, k, v = tensors(1, 2, 5, 8)
    target = "m:f=" + ",".join(f"{name}@sdpa" for name in names)
    captured = dict(both(source, lambda names: names["f"](q, k, v), target).captured)
    assert list(captured) == list(names)
    assert torch.equal(captured["query"], q)
    assert torch.equal(captured["value"], v)
    assert [captured[name] for name in names[3:8]] == [None, 0.0, True, None, False]


def test_labels_and_several_calls_each_have_the_line_of_the_call() -> None:
    source, path = write_down(
        """
        import torch.nn.functional as F
        def f(q, k, v):
            for _ in range(2):
                v = F.scaled_dot_product_attention(q, k, v)
            return (
                F.scaled_dot_product_attention(
                    q, k, v))
        """
    )
    names: dict[str, Any] = {"__name__": "m"}
    exec(rewritten_code(source, path, "m:f=map:=weights@sdpa,v,v@assign"), names)
    with recorded() as cache:
        names["f"](*tensors(2, 4, 4))
    found = [(record.label, record.lineno) for record in cache.select().records]
    assert found == [("map", 4), ("v", 4), ("map", 4), ("v", 4), ("map", 6), ("v", 5)]


# The call itself.


def test_the_very_same_objects_reach_the_callee_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
    import torch.nn.functional as F
    order = []
    def seen(value, name):
        order.append(name)
        return value
    def f(q, k, v, m):
        return seen(F, "F").scaled_dot_product_attention(
            seen(q, "q"), *seen([k, v], "kv"), attn_mask=seen(m, "m"), **seen({"scale": 2.0}, "scale"))
    """
    real = F.scaled_dot_product_attention
    got: list[Any] = []

    def spy(*arguments: Any, **options: Any) -> Any:
        got.append((arguments, options))
        return real(*arguments, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    q, k, v = tensors(2, 4, 4)
    m = torch.zeros(4, 4)
    seen = both(source, lambda names: (names["f"](q, k, v, m), names["order"])[1], "m:f=weights@sdpa")
    assert seen.result == ["F", "q", "kv", "m", "scale"]
    (arguments, options) = got[-1]
    assert len(got) == 2
    assert all(one is other for one, other in zip(arguments, (q, k, v), strict=True))
    assert options["attn_mask"] is m
    assert len(seen.captured) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_output_and_gradients_are_bitwise_those_of_a_plain_run(dtype: torch.dtype) -> None:
    source, path = write_down(
        program("import torch.nn.functional as F", "F.scaled_dot_product_attention(q, k, v, is_causal=True) * 2")
    )
    results = []
    for code in (plain_code(source, path), rewritten_code(source, path, "m:f=weights@sdpa,output@sdpa")):
        names: dict[str, Any] = {"__name__": "m"}
        exec(code, names)
        inputs = [one.requires_grad_() for one in tensors(2, 3, 6, 8, dtype=dtype)]
        with recorded() as cache:
            output = names["f"](*inputs)
        output.float().square().sum().backward()
        results.append([output.detach(), *(one.grad for one in inputs)])
        for value in cache.select():
            assert not value.requires_grad
    for plain, ours in zip(*results, strict=True):
        assert torch.equal(plain, ours)


def test_nothing_is_computed_while_recording_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    source, path = write_down(program(*SPELLINGS["F."]))
    names: dict[str, Any] = {"__name__": "m"}
    exec(rewritten_code(source, path, "m:f=weights@sdpa"), names)

    def fail(**arguments: Any) -> None:
        raise AssertionError("weights were computed")

    monkeypatch.setattr(attention, "attention_weights", fail)
    q, k, v = tensors(2, 4, 4)
    assert torch.equal(names["f"](q, k, v), F.scaled_dot_product_attention(q, k, v))
    assert not waiting
    with recorded() as cache:
        names["f"](q, k, v)
    (count,) = cache.counts.values()
    assert (count.failed, count.error) == (1, "AssertionError: weights were computed")


def test_autocast_does_not_reach_the_weights_and_is_on_again_behind() -> None:
    q, k = tensors(2, 4, 4, count=2)
    with torch.autocast("cpu", torch.bfloat16):
        weights = attention_weights(q, k)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(weights, attention_weights(q, k))


def test_a_call_of_something_else_under_that_name_is_made_and_not_recorded() -> None:
    source = """
    def scaled_dot_product_attention(*arguments, **options):
        return arguments, options
    def f(a):
        return scaled_dot_product_attention(a, *[1], b=2)
    """
    seen = both(source, "f(0)", "m:f=weights@sdpa")
    assert seen.result == ((0, 1), {"b": 2})
    assert seen.captured == []


RAISING = {
    "the kernel": "F.scaled_dot_product_attention(q, k[..., :2], v)",
    "an argument": "F.scaled_dot_product_attention(q, k, 1 // 0)",
    "the callee": "F.no_such.scaled_dot_product_attention(q, k, v)",
    "too few arguments": "scaled_dot_product_attention(q)",
    "a callee in Python": "(1, sdpa(q, 2))",
    "a callee in Python, wrongly called": "sdpa(q, nothing=1)",
    "a stop": "sdpa(q, 'stop')",
    "nothing to call": "KERNELS['none'](q, k)",
    "over lines": "F.scaled_dot_product_attention(\n        q,\n        k,\n        1 // 0\n    )",
}
RAISING_HEAD = """
import torch.nn.functional as F
scaled_dot_product_attention = F.scaled_dot_product_attention
KERNELS = {"none": None, "fused": scaled_dot_product_attention}
def sdpa(a, b, use=F.scaled_dot_product_attention):
    if b == "stop": raise StopIteration(3)
    raise ValueError("in the callee")
sdpa = sdpa or F.scaled_dot_product_attention
"""


@pytest.mark.parametrize("case", RAISING)
def test_a_traceback_is_the_plain_one_to_the_last_caret(case: str) -> None:
    q, k, v = tensors(2, 4, 4)
    source = program(RAISING_HEAD, RAISING[case])
    seen = both(source, lambda names: names["f"](q, k, v), "m:f=weights@sdpa")
    assert seen.error is not None
    assert recorder.__file__ not in seen.traceback


def test_a_kernel_that_raises_through_a_recorded_call_shows_no_frame_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(*arguments: Any) -> Any:
        raise StopIteration("seven")

    monkeypatch.setattr(F, "scaled_dot_product_attention", kernel)
    source = program("import torch.nn.functional as F", "F.scaled_dot_product_attention(q, k, v)")
    seen = both(source, lambda names: names["f"](1, 2, 3), "m:f=weights@sdpa")
    assert isinstance(seen.error, StopIteration)
    files = [frame.filename for frame in traceback.extract_tb(seen.error.__traceback__)]
    assert not any(file == recorder.__file__ for file in files)
    assert seen.captured == []


LINES = {
    **{name: program(*SPELLINGS[name]) for name in SPELLINGS},
    "over lines": program(
        "import torch.nn.functional as F",
        "(\n        F.scaled_dot_product_attention(\n            q,\n            k,\n            value=v,\n"
        "        )\n        .mean(\n        )\n    )",
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_a_trace_function_sees_the_events_of_a_plain_run(case: str) -> None:
    source, path = write_down(LINES[case])
    q, k, v = tensors(2, 4, 4)
    plain, ours = plain_code(source, path), rewritten_code(source, path, "m:f=weights@sdpa")
    call: Callable[[dict[str, Any]], Any] = lambda names: names["f"](q, k, v)  # noqa: E731
    assert traced(ours, call).events == traced(plain, call).events


def test_the_rewritten_call_reads_as_described() -> None:
    assert shown(program("import torch.nn.functional as F", SPELLINGS["F."][1]), "m:f=weights@sdpa").endswith(
        "return _@attend(((('m', 'f', 'weights', 3), 'weights'),), (), F.\n"
        "        scaled_dot_product_attention, q, k, v)()\n"
    )


# What is refused, and what may be the call.


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("m:f=weight@sdpa", "is_causal, scale, enable_gqa, output or weights: did you mean weights?"),
        ("m:f=q@sdpa", "'q': @sdpa takes query, "),
        ("m:f=*@sdpa", "'*': @sdpa takes query, "),
        ("m:g=weights@sdpa", "weights@sdpa: g (line 4) does not call scaled_dot_product_attention"),
        ("m:[gh]*=weights@sdpa", "calls scaled_dot_product_attention or another fused attention"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_an_error_that_says_what_can(target: str, message: str) -> None:
    source, path = write_down(program(*SPELLINGS["F."]) + "def g(q):\n    return q\n")
    with pytest.raises(CaptureError) as raised:
        rewritten_code(source, path, target)
    assert message in str(raised.value)


def test_a_marker_asking_for_no_name_of_the_call_is_an_error_at_its_line() -> None:
    source, path = write_down(
        "from astcapture import capture\n@capture('attn', at='sdpa')\ndef f():\n    scaled_dot_product_attention()"
    )
    with pytest.raises(CaptureError, match=r":2: 'attn': @sdpa takes query"):
        rewritten_code(source, path, "m")


def test_names_that_only_call_it_do_not_stand_for_it() -> None:
    tree = ast.parse("x = F.scaled_dot_product_attention(q, k, v)\nself.f, y = F.scaled_dot_product_attention, 1")
    assert attention_names(tree) == FUSED | {"f", "y"}


# Real modules.

MODULE = """
from torch import nn
from torch.nn import functional as F
from astcapture import capture

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.attn_fn = F.scaled_dot_product_attention

    @capture("weights", at="sdpa")
    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.attn_fn(q, k, v, is_causal=True) + x

class Binding(nn.Module):
    @capture("x", at="assign")
    def forward(self, x):
        x = x + 1
        x = x * 2
        return x

class Model(nn.Sequential):
    def __init__(self):
        super().__init__(Attention(), Attention(), Binding())
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "fused_model.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "fused_model", raising=False)
    torch._dynamo.reset()
    with astcapture.install(["fused_model"], strict=True):
        yield importlib.import_module("fused_model")
    torch._dynamo.reset()


def test_records_know_their_layer(module: Any) -> None:
    with astcapture.recording() as rec:
        module.Model()(torch.randn(2, 5, 8))
    assert [record.layer for record in rec["fused_model:Attention.forward"].records] == ["0", "1"]
    assert [tuple(value.shape) for value in rec["fused_model:Attention.forward"]] == [(2, 5, 5)] * 2
    assert [record.layer for record in rec["fused_model:Binding.forward"].records] == ["2", "2"]


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_is_one_graph_and_records_what_eager_running_does(module: Any, backend: str) -> None:
    model = module.Model()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    torch._dynamo.utils.counters.clear()
    inputs = [torch.randn(2, 5, 8) for _ in range(10)]
    with astcapture.recording() as eager:
        expected = [model(x) for x in inputs]
    with astcapture.recording() as rec:
        outputs = [compiled(x) for x in inputs]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    for one, other in zip(outputs, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    for key in ("fused_model:Attention.forward", "fused_model:Binding.forward"):
        assert len(rec[key]) == len(eager[key]) == 20
        for one, other in zip(rec[key], eager[key], strict=True):
            assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.all_objects
def test_multihead_attention_of_torch_gives_its_weights_where_it_computes_none() -> None:
    attention_module = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(3, 5, 8)
    _, expected = attention_module(x, x, x, need_weights=True, average_attn_weights=False)
    with astcapture.install("torch.nn.functional:multi_head_attention_forward=weights@sdpa"):
        with astcapture.recording() as rec:
            attention_module(x, x, x, need_weights=False)
        (weights,) = rec["multi_head_attention_forward"]
        assert torch.allclose(weights, expected, atol=1e-6)
        encoder = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with astcapture.recording() as rec, torch.no_grad():
                encoder(x)
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
        (record,) = rec["multi_head_attention_forward"].records
        assert record.value.shape == (3, 2, 5, 5)
        assert record.layer == "self_attn"
