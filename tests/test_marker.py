"""The marker does nothing: not to what it marks, not to the bytecode of its module, not to the import system."""

from __future__ import annotations

import functools
import marshal
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from astcapture import capture
from astcapture.imports.notice import notice_unrewritten
from astcapture.targets.target import parse_targets


def function() -> int:
    return 1


async def coroutine() -> None:
    """A coroutine."""


@functools.wraps(function)
def wrapped() -> int:
    return function()


class Callable_:
    def __call__(self) -> None:
        """Callable."""


class Slotted:
    __slots__ = ()


MARKED = {
    "a function": function,
    "a coroutine": coroutine,
    "a lambda": lambda: 1,
    "a wrapped function": wrapped,
    "a staticmethod": staticmethod(function),
    "a classmethod": classmethod(function),
    "a property": property(function),
    "a partial": functools.partial(function),
    "a cached function": functools.lru_cache(function),
    "a cached property": functools.cached_property(function),
    "a built-in": len,
    "a callable object": Callable_(),
    "an object that nothing can be set on": Slotted(),
    "nothing": None,
}


@pytest.mark.parametrize("kind", MARKED)
def test_the_marker_returns_what_it_is_given_and_sets_nothing_on_it(kind):
    marked: Any = MARKED[kind]
    before = dict(vars(marked)) if hasattr(marked, "__dict__") else None
    assert capture("x")(marked) is marked
    assert capture("x", "y", at="assign", z="x + y")(marked) is marked
    if before is not None:
        assert dict(vars(marked)) == before


CAPTURES = 'capture() takes the names of locals as strings, not {}: write @capture("attn")'
CLASS = (
    "@capture marks functions, and Callable_ is a class: "
    "put it on the method that binds the local, forward for instance"
)
POINTS = 'write at="return", "assign", "sdpa", "call", "input", "enter" or "yield"'
WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: capture(function), CAPTURES.format(repr(function))),  # @capture without brackets
    (lambda: capture("a", 3), CAPTURES.format("3")),
    (lambda: capture(["a", "b"]), CAPTURES.format("['a', 'b']")),
    (lambda: capture(label=None), CAPTURES.format("None")),
    (lambda: capture(b"a"), CAPTURES.format("b'a'")),
    (lambda: capture(), 'capture() has nothing to capture: write @capture("attn")'),
    (lambda: capture(at="assign"), 'capture() has nothing to capture: write @capture("attn")'),
    (
        lambda: capture("a", at="exit"),
        """capture(at='exit'): write at="return", "assign", "sdpa", "call", "input", "enter" or "yield\"""",
    ),
    (
        lambda: capture("a", at=None),
        """capture(at=None): write at="return", "assign", "sdpa", "call", "input", "enter" or "yield\"""",
    ),
    (lambda: capture("a")(Callable_), CLASS),
]


@pytest.mark.parametrize(("use", "said"), WRONG)
def test_a_wrong_use_of_the_marker_is_a_type_error_that_says_what_to_write(use, said):
    with pytest.raises(TypeError) as error:
        use()
    assert str(error.value) == said


MODULE = """
    from astcapture import capture

    @capture('y')
    def f(x):
        y = x
        return y
"""


def test_without_a_hook_nothing_of_the_import_system_is_touched_and_nothing_is_loaded(make_package, run_python):
    make_package({"mod.py": MODULE})
    run_python("""
        import builtins, sys
        before = sys.meta_path[:], sys.path_hooks[:], sys.path[:], vars(builtins).copy()
        import mod
        assert mod.f(1) == 1
        assert (sys.meta_path, sys.path_hooks, sys.path, vars(builtins)) == before
        ours = {name for name in sys.modules if name.startswith("astcapture")}
        assert ours <= {"astcapture", "astcapture.targets", "astcapture.targets.marker", "astcapture.version"}, ours
        assert mod.f.__code__.co_names == ()
        assert vars(mod.f) == {}
        assert sorted(name for name in vars(mod) if not name.startswith("__")) == ["capture", "f"]
    """)


def test_the_bytecode_of_a_marked_module_is_that_of_a_plain_compile(make_package, run_python):
    folder = make_package({"mod.py": MODULE})
    source = folder / "mod.py"
    run_python("import mod")
    (written,) = (folder / "__pycache__").glob("mod.*.pyc")
    plain = compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
    assert marshal.loads(written.read_bytes()[16:]) == plain


class Endless:
    """Claims to wrap something else whatever it is asked for."""

    def __getattr__(self, name: str) -> Endless:
        return Endless()


def test_an_object_that_claims_to_wrap_without_end_is_marked_while_a_hook_is_installed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notice_unrewritten(Endless(), parse_targets(["mod"]))
        notice_unrewritten(None, parse_targets(["mod"]))
