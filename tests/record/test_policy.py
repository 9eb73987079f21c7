"""Which hook's options hold at a site: the closest target's, and of equals the newest's."""

from __future__ import annotations

import fnmatch
import re
import sys
from types import FrameType
from typing import Any

import pytest

from astcapture.record import policy
from astcapture.record.options import PLAIN, read_conversions
from astcapture.targets.target import parse_targets

SITE = ("m", "C.f", "attn", 3)


@pytest.fixture(autouse=True)
def _no_other_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, empty in (("_asked", {}), ("_ever", []), ("_known", {})):
        monkeypatch.setattr(policy, name, empty)


def ask(targets: str | list[str], dtype: str) -> object:
    hook = object()
    policy.add(hook, parse_targets(targets), read_conversions(dtype=dtype))
    return hook


def holds(site: tuple[str, str, str, int] = SITE) -> str | None:
    return policy.conversion_of(site).dtype


def test_where_no_target_names_a_site_nothing_is_asked_for():
    ask("other", "float16")
    ask("m:C.g", "float16")
    ask("m:C.f=other", "bfloat16")
    assert policy.conversion_of(("m", "g", "attn", 1)) is PLAIN
    assert policy.conversion_of(("n", "C.f", "attn", 1)) is PLAIN
    assert policy.conversion_of(SITE) is PLAIN


#: From the one that names it least closely on.
CLOSER = ["m", "m:C.f", "m:C.f=attn"]


@pytest.mark.parametrize(("far", "near"), [(a, b) for i, a in enumerate(CLOSER) for b in CLOSER[i + 1 :]])
def test_the_target_that_names_a_site_more_closely_goes_before(far: str, near: str):
    for order in ((far, near), (near, far)):
        hooks = [ask(targets, "float16" if targets == near else "float32") for targets in order]
        assert holds() == "float16"
        for hook in hooks:
            policy.remove(hook)


@pytest.mark.parametrize(
    ("first", "second"),
    [("m", "m"), ("m:C.f", "m:*"), ("m:C.f=*", "m:C.f"), ("m:C.f", "m:C.f=*"), ("m:*=attn", "m:C.f=q,attn")],
)
def test_of_targets_as_close_the_newer_one_decides(first: str, second: str):
    ask(first, "float16")
    newer = ask(second, "float32")
    assert holds() == "float32"
    policy.remove(newer)
    assert holds() == "float16"


def test_every_local_is_less_close_than_the_label_and_closer_than_the_module():
    ask("m:C.f=attn", "float16")
    ask("m:C.f=*", "float32")
    ask("m", "float64")
    assert holds() == "float16"
    assert holds(("m", "C.f", "q", 3)) == "float32"
    assert holds(("m", "C.g", "q", 3)) == "float64"


def test_of_one_hooks_targets_the_closest_counts():
    ask("m:C.f", "float32")
    ask(["m", "m:C.f=attn"], "float16")
    assert holds() == "float16"
    assert holds(("m", "C.f", "q", 3)) == "float32"


def test_patterns_are_compiled_when_they_are_asked_for_and_not_when_a_value_comes():
    # `re` and `fnmatch` may be captured themselves, and would come back to where a value is taken.
    compiling = {re.compile.__code__.co_filename, fnmatch.translate.__code__.co_filename}
    called: list[str] = []

    def called_in(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename in compiling and frame.f_code.co_name != "match":
            called.append(frame.f_code.co_name)

    re.purge()
    hook = object()
    policy.add(hook, parse_targets("m.*:C[0-9].f*=attn"), read_conversions(dtype={"m.*:C[1-9].*=at*": "float16"}))
    sys.setprofile(called_in)
    try:
        found = policy.conversion_of(("m.a", "C1.forward", "attn", 3))
    finally:
        sys.setprofile(None)
    assert found.dtype == "float16"
    assert called == []


def test_a_hook_without_targets_decides_nothing():
    policy.add(object(), [], read_conversions(dtype="float16"))
    assert policy.conversion_of(SITE) is PLAIN


def test_what_is_known_of_a_site_is_asked_anew_when_a_hook_comes_or_goes():
    assert holds() is None
    hook = ask("m", "float16")
    assert holds() == "float16"
    policy.remove(hook)
    assert holds() is None
    policy.remove(hook)  # a second time does nothing


def test_it_is_plain_while_no_hook_asks_for_more_than_copies():
    assert policy.plain()
    hook = object()
    policy.add(hook, parse_targets("m"), read_conversions())
    assert policy.plain()
    other = ask("n", "float16")
    assert not policy.plain()
    policy.remove(other)
    assert policy.plain()


def test_patterns_that_mean_nothing_are_told_once_and_those_of_removed_hooks_too():
    conversions = read_conversions(dtype={"att*": "float16", "m:g": "float32", "*": "float64"}, reduce={"q": None})
    for _ in range(2):
        hook = object()
        policy.add(hook, parse_targets("m"), conversions)
    policy.remove(hook)
    told = policy.unmatched([("m", "f", "attn"), ("m", "f", "v")])
    rest = 'matched nothing that was captured: write a pattern as "MODULE:QUALNAME=LABEL", "MODULE:QUALNAME" or "LABEL"'
    assert told == [f"dtype={{'m:g': ...}} {rest}", f"reduce={{'q': ...}} {rest}"]
    assert policy.unmatched([("m", "f", "attn"), ("m", "g", "q")]) == []
    assert policy.unmatched([]) == []
