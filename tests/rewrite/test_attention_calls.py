"""Calls of torch's attention as rewritten, torch itself being played by a module of a few lines: on every Python."""

from __future__ import annotations

import ast
import sys
import types
from typing import Any

import pytest
from plain_and_rewritten import both, plain_code, rewritten_code, shown, traced, write_down

from astcapture.record import recorder
from astcapture.rewrite.attention import FUSED, attention_names

HEAD = """
import functional as F
scaled_dot_product_attention = F.scaled_dot_product_attention
KERNELS = {"none": None, "fused": scaled_dot_product_attention}
def seen(value):
    print(value)
    return value
def other(a, b=2):
    if b == "stop": raise StopIteration(3)
    return a, b
attend = other or F.scaled_dot_product_attention
"""


@pytest.fixture(autouse=True)
def _torch(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(query: Any, key: Any, value: Any, attn_mask: Any = None, *, scale: Any = None) -> Any:
        if value == "fail":
            raise ValueError(query)
        return query, key, value, attn_mask, scale

    functional: Any = types.ModuleType("functional")
    functional.scaled_dot_product_attention = kernel
    monkeypatch.setitem(sys.modules, "functional", functional)
    monkeypatch.setitem(sys.modules, "torch.nn.functional", functional)


CALLS = {
    "plainly": ("F.scaled_dot_product_attention(1, 2, 3)", [1]),
    "by keywords": ("scaled_dot_product_attention(value=3, query=1, key=2)", [1]),
    "unpacked": ("scaled_dot_product_attention(*[seen(1), 2], **{'value': 3}, scale=seen(4))", [1]),
    "from a dict": ("KERNELS['fused'](1, 2, 3)", [1]),
    "over lines": (
        "(\n  F.scaled_dot_product_attention(\n    1,\n    seen(2),\n    scale=3,\n    value=4\n  )\n  [0]\n)",
        [1],
    ),
    "in another call": ("seen(F.scaled_dot_product_attention(seen(1), *[2, 3])[seen(0)])", [1]),
    "in itself": ("F.scaled_dot_product_attention(F.scaled_dot_product_attention(1, 2, 3)[0], 5, 6)", [1, 1]),
    "in a loop of a comprehension": ("[F.scaled_dot_product_attention(i, 2, 3) for i in range(2)]", [0, 1]),
    "in a lambda": ("(lambda i: F.scaled_dot_product_attention(i, 2, 3))(7)", [7]),
    "of another function": ("attend(seen(1), seen(2))", []),
    "raising": ("(0, F.scaled_dot_product_attention(1, 2, 'fail'))", []),
    "raising over lines": ("(0,\n  F.scaled_dot_product_attention(\n    1,\n    2,\n    'fail'\n  )\n)", []),
    "raising in an argument": ("F.scaled_dot_product_attention(1, 2, 1 // 0)", []),
    "of too few arguments": ("F.scaled_dot_product_attention(1)", []),
    "of too many, of another function": ("attend(1, 2, 3, 4)", []),
    "that stops, of another function": ("attend(1, 'stop')", []),
    "of nothing": ("KERNELS['none'](seen(1))", []),
    "of no such attribute": ("F.nothing.scaled_dot_product_attention(seen(1))", []),
}


@pytest.mark.parametrize("case", CALLS)
def test_what_the_program_shows_is_unchanged_and_each_call_that_is_made_is_recorded(case):
    call, expected = CALLS[case]
    seen = both(f"{HEAD}def f():\n    return {call}\n", "f()", "m:f=query@sdpa")
    assert [value for _, value in seen.captured] == expected
    assert recorder.__file__ not in seen.traceback


@pytest.mark.parametrize("case", CALLS)
def test_a_trace_function_sees_the_events_of_a_plain_run(case):
    source, path = write_down(f"{HEAD}def f():\n    x = 1\n    return {CALLS[case][0]}\n")
    plain, ours = plain_code(source, path), rewritten_code(source, path, "m:f=query@sdpa,x@assign,x")
    assert traced(ours, "f()").events == traced(plain, "f()").events


def test_a_coroutine_that_waits_between_the_arguments_mixes_up_no_calls():
    source = """
    import asyncio
    from functional import scaled_dot_product_attention as sdpa
    async def f(i):
        return sdpa(i, await asyncio.sleep(0.02 - i / 100, "key"), i * 10)
    async def main():
        return await asyncio.gather(f(0), f(1), f(2))
    """
    seen = both(source, lambda names: __import__("asyncio").run(names["main"]()), "m:f=query@sdpa,value@sdpa")
    assert [value for _, value in seen.captured] == [2, 20, 1, 10, 0, 0]


def test_calls_under_other_names_are_left_as_they_are():
    source = """
    from functional import scaled_dot_product_attention as sdpa
    def f(q):
        return len(sdpa(q))
    """
    assert shown(source, "m:f=output@sdpa").endswith(
        "return len(_@attend(((('m', 'f', 'output', 3), 'output'),), (), sdpa, q)())\n"
    )


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from torch.nn.functional import scaled_dot_product_attention as sdpa", {"sdpa"}),
        ("import kernels.scaled_dot_product_attention as a", {"a"}),
        ("import kernels.other as a", set()),
        ("a = F.scaled_dot_product_attention", {"a"}),
        ("a.b = c[0] = F.scaled_dot_product_attention", {"b", "c"}),
        ("a: object = F.scaled_dot_product_attention", {"a"}),
        ("a: object", set()),
        ("(a := scaled_dot_product_attention)", {"a"}),
        ("a = scaled_dot_product_attention\nb = a\nc = b or d", {"a", "b", "c"}),
        ("a = scaled_dot_product_attention(q, k, v)", set()),
        ("a = getattr(F, 'scaled_dot_product_attention')", {"a"}),
        ("a, b = c, scaled_dot_product_attention", {"a", "b"}),
        ("for a in [scaled_dot_product_attention]: pass", {"a"}),
        ("[a(q) for a in [scaled_dot_product_attention]]", {"a"}),
        ("def f(a, b=scaled_dot_product_attention): pass", {"b"}),
        ("def f(a, b, /, c=scaled_dot_product_attention, d=1): pass", {"c"}),
        ("def f(*, a, b=scaled_dot_product_attention, c=1): pass", {"b"}),
        ("f(a=scaled_dot_product_attention, **b)", {"a"}),
        ("f(**scaled_dot_product_attention)", set()),
    ],
)
def test_the_names_that_may_stand_for_attention_are_those_that_get_it_somewhere(source: str, names: set[str]):
    assert attention_names(ast.parse(source)) == FUSED | names
