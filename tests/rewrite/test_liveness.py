"""Which bindings of a local nothing reads: an edit there would change nothing, so it is refused."""

from __future__ import annotations

import ast
import random
import sys
from collections.abc import Iterator
from textwrap import indent
from typing import Any

import pytest
from random_programs import NAMES, Program
from test_random_programs import show
from wider_programs import WiderProgram

from astcapture.rewrite.binds import bound_by
from astcapture.rewrite.find import find_functions
from astcapture.rewrite.liveness import unread_bindings
from astcapture.rewrite.scope import function_scope

needs_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="syntax of Python 3.11")
needs_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")

#: A body, the lines of it where ``x`` is bound and nothing reads it, and the lines that read it. Line 0 is the ``def``.
BODIES: dict[str, tuple[str, list[int], list[int]]] = {
    "never read": ("x = 1", [1], []),
    "read": ("x = 1\nreturn x", [], [2]),
    "bound again before it is read": ("x = 1\nx = 2\nreturn x", [1], [3]),
    "the new value reads the old one": ("x = 1\nx = go(x)\nreturn x", [], [2, 3]),
    "an augmented assignment reads": ("x = 1\nx += 1", [2], [2]),
    "del reads": ("x = 1\ndel x", [], [2]),
    "bound on one branch": ("x = 1\nif go(): x = 2\nreturn x", [], [3]),
    "bound on both branches": ("x = 1\nif go(): x = 2\nelse: x = 3\nreturn x", [1], [4]),
    "read on one branch": ("x = 1\nif go(): return x", [], [2]),
    "read in the test": ("x = 1\nif x: pass\nx = 2", [3], [2]),
    "behind a return": ("x = 1\nreturn go()\nprint(x)", [1], [3]),
    "behind a raise": ("x = 1\nraise OSError\nprint(x)", [1], [3]),
    "raised": ("x = 1\nraise x", [], [2]),
    "a tuple": ("x, y = go()\nreturn y", [1], []),
    "a list with a star": ("[y, *x] = go()\nreturn x", [], [2]),
    "bound twice in one statement": ("x, x = go()\nreturn x", [], [2]),
    "two bindings on one line, one is read": ("x = 1; x = 2\nreturn x", [], [2]),
    "a later target reads": ("x, y[x] = go()", [], [1]),
    "a later target may raise": ("try: x, y.z = go()\nexcept OSError: return x", [], [2]),
    "an item of it is stored to": ("x = go()\nx[0] = 1", [], [2]),
    "an annotation": ("x: int\nx: int = 1", [2], []),
    "an import": ("import x.y\nfrom z import go as x", [1, 2], []),
    "a def": ("def x(): pass\nclass x: pass\nx()", [1], [3]),
    "for": ("for x in go(): pass", [1], []),
    "for, read in the body": ("for x in go(): print(x)", [], [1]),
    "for, read behind it": ("for x in go(): pass\nreturn x", [], [2]),
    "for, bound again in the body": ("for x in go():\n    x = 1\nreturn x", [1], [3]),
    "read as the loop goes round": ("x = 0\nfor y in go():\n    print(x)\n    x = y", [], [3]),
    "bound anew as the loop goes round": ("for y in go():\n    x = y\n    print(x)\n    x = 0", [4], [3]),
    "bound anew, or continued": (
        "x = 0\nwhile go():\n    if go(): continue\n    x = 1\n    print(x)\n    x = 2\nreturn x",
        [],
        [5, 7],
    ),
    "continued before it is bound anew": (
        "x = 0\nfor y in go():\n    print(x)\n    x = y\n    if go(): continue\n    x = 3",
        [],
        [3],
    ),
    "break leaves the loop": ("while go():\n    x = 1\n    break\n    print(x)", [2], [4]),
    "break goes past the else": ("for y in go():\n    x = 1\n    break\nelse: x = 2\nreturn x", [], [5]),
    "else binds": ("for y in go():\n    x = 1\nelse: x = 2\nreturn x", [2], [4]),
    "the test of a loop reads": ("x = 1\nwhile x: x = go()", [], [2]),
    "while True is left by break alone": (
        "while True:\n    x = 1\n    if go(): break\n    x = 2\nelse: print(x)",
        [2, 4],
        [5],
    ),
    "the iterable is evaluated once": ("x = 1\nfor y in x: x = 2", [2], [2]),
    "with": ("with go() as x: pass", [1], []),
    "a later manager reads": ("with go() as x, x as y: pass", [], [1]),
    "bound in a with": ("x = 1\nwith go(): x = 2\nreturn x", [], [3]),
    "bound in a with, read by none": ("with go():\n    x = 1\n    x = 2\nreturn go()", [2, 3], []),
    "bound in a with, read behind a break": (
        "while True:\n    if go(): break\n    with go(): x = 1\nprint(x)",
        [],
        [4],
    ),
    "try": ("x = 1\ntry: x = 2\nexcept OSError: pass\nreturn x", [], [4]),
    "a handler reads": ("try:\n    x = 1\n    x = 2\nexcept OSError: print(x)", [], [4]),
    "the type of a handler reads": ("x = OSError\ntry: go()\nexcept x: pass", [], [3]),
    "a handler's name": ("try: go()\nexcept OSError as x: pass\nexcept ValueError as x: raise x", [2], [3]),
    "else of a try": ("try: x = 1\nexcept OSError: x = 2\nelse: print(x)", [2], [3]),
    "finally reads behind a return": ("try:\n    x = 1\n    return\nfinally: print(x)", [], [4]),
    "finally reads behind a break": (
        "while go():\n    try:\n        x = 1\n        break\n    finally: print(x)",
        [],
        [5],
    ),
    "break through a finally": (
        "while True:\n    try:\n        x = 1\n        break\n    finally: go()\n    x = 2\nprint(x)",
        [],
        [7],
    ),
    "finally binds": ("try: x = 1\nfinally: x = 2\nreturn x", [1], [3]),
    "finally returns": ("x = 1\ntry: x = 2\nfinally: return go()\nprint(x)", [1, 2], [4]),
    "finally, then a handler around it": (
        "try:\n    try: x = 1\n    finally: go()\nexcept OSError: print(x)",
        [],
        [4],
    ),
    "match": ("match go():\n    case [x]: pass\n    case {'a': x, **y}: return x", [2], [3]),
    "a guard reads": ("match go():\n    case x if x: pass", [], [2]),
    "a guard fails, and it stays bound": ("match go():\n    case x if go(): pass\n    case _: print(x)", [], [3]),
    "a pattern reads": ("x = go()\nmatch go():\n    case x.y: pass", [], [3]),
    "the rest of a sequence": ("match go():\n    case [*x]: pass", [2], []),
    "a comprehension reads": ("x = 1\nreturn [x for _ in go()]", [], [2]),
    "a comprehension with an x of its own": ("x = 1\nreturn [x for x in go()]", [1], []),
    "the first iterable of a comprehension": ("x = 1\nreturn {x: 1 for x in x}", [], [2]),
    "a generator expression reads later": ("y = (x for _ in go())\nx = 1\nx = 2\nreturn y", [], [1]),
    "a lambda reads": ("x = 1\nx = 2\nreturn lambda: x", [], [3]),
    "a lambda with an x of its own": ("x = 1\nreturn lambda x: x", [1], []),
    "a default of a lambda": ("x = 1\nreturn lambda y=x: y", [], [2]),
    "a nested function reads": ("def g(): return x\nx = 1\nx = 2\ng()", [], [1]),
    "a nested function binds": ("x = 1\ndef g():\n    nonlocal x\n    x = 2\nreturn g", [], []),
    "a nested function with an x of its own": ("x = 1\ndef g(x): return x\nreturn g", [1], []),
    "a class reads": ("x = 1\nclass C: y = x", [], [2]),
    "a walrus hands its value on": ("return go(x := 1)", [], []),
    "a walrus as a statement": ("(x := 1)\n(x := 2)\nreturn x", [1], [3]),
    "a walrus that may not be reached": ("x = 1\ngo() and (x := 2)\nreturn x", [], [3]),
    "a walrus in a default": ("def g(y=(x := 1)): pass", [], []),
    "a walrus on the line of another binding": ("x = go(x := 1)", [], []),
    "a walrus in a default of a def of that name": ("def x(y=(x := 1)): pass", [], []),
    "a global": ("global x\nx = 1", [], []),
    "locals()": ("x = 1\nreturn locals()", [], []),
    "vars()": ("x = 1\nreturn vars()", [], []),
    "dir()": ("x = 1\nreturn dir()", [], []),
    "eval": ("x = 1\nreturn eval('x')", [], []),
    "exec": ("x = 1\nexec('print(x)')", [], []),
    "the frame": ("x = 1\nreturn sys._getframe().f_locals", [], []),
    "a query of pandas": ("x = 1\nreturn y.query('z > @x')", [], []),
    "an evaluator of another library": ("x = 1\nreturn ne.evaluate('x + 1')", [], []),
    "a module is put into evaluation": ("x = 1\nmodel.eval()", [1], []),
    "an attribute of that name": ("x = 1\nreturn self.x", [1], []),
    "a keyword of that name": ("x = 1\nreturn go(x=2)", [1], []),
    "an f-string": ("x = 1\nreturn f'{x}'", [], [2]),
    "yield": ("x = 1\nx = yield\nyield x", [1], [3]),
    "another name": ("y = 1", [], []),
}  # fmt: skip


def unread(source: str, name: str = "x", which: int = 0) -> tuple[list[int], list[int]]:
    function = find_functions(ast.parse(source))[which]
    return unread_bindings(function.node, function_scope(function), name)


@pytest.mark.parametrize(("body", "expected", "reads"), BODIES.values(), ids=BODIES)
def test_the_lines_of_bindings_that_nothing_reads(body: str, expected: list[int], reads: list[int]) -> None:
    bound, read = unread("def f(go, y, z, model):\n" + indent(body, "    "))
    assert ([line - 1 for line in bound], [line - 1 for line in read]) == (expected, reads)


@needs_311
def test_a_handler_of_groups_reads() -> None:
    assert unread("def f():\n  x = 1\n  try: x = 2\n  except* OSError: print(x)\n  x = 3") == ([5], [4])


@needs_312
def test_a_type_alias_reads_later() -> None:
    assert unread("def f():\n  x = 1\n  x = 2\n  type y = x") == ([], [4])


def test_parameters_are_bound_on_the_line_of_the_def() -> None:
    assert unread("@go\ndef f(x, y):\n    return y") == ([2], [])
    assert unread("def f(x, *y):\n    return x", "y") == ([1], [])
    assert unread("def f(x):\n    x = 1\n    return x") == ([1], [3])
    assert unread("def f(x):\n    return x") == ([], [2])
    assert unread("def f(x=1):\n    x = x\n    return x") == ([], [2, 3])


def test_super_reads_the_first_parameter() -> None:
    source = "class C:\n  def f(x, y):\n    x = y = 1\n    super().f()"
    assert unread(source) == ([], [])
    assert unread(source, "y") == ([2, 3], [])


def test_a_name_of_an_enclosing_function_is_read_by_others() -> None:
    assert unread("def f():\n  x = 1\n  def g():\n    nonlocal x\n    x = 2\n", which=1) == ([], [])


class Sentinel:
    """What a binding that nothing reads is replaced by."""


class _Replacing(ast.NodeTransformer):
    """Binds a name to the sentinel behind each of its bindings on some lines."""

    def __init__(self, name: str, lines: list[int]) -> None:
        self.name, self.lines = name, lines
        self.replaced = 0

    def sentinel(self, node: ast.AST) -> list[ast.stmt]:
        if not any(one.name == self.name and one.line in self.lines for one in bound_by(node)):
            return []
        self.replaced += 1
        return [self.statement(node)]

    def statement(self, node: ast.AST) -> ast.stmt:
        made = ast.parse(f"{self.name} = _sentinel").body[0]
        place = node.pattern if isinstance(node, ast.match_case) else node
        for one in ast.walk(made):
            ast.copy_location(one, place)
        return made

    def visit(self, node: ast.AST) -> Any:
        function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if (function and node.name != "f") or isinstance(node, (ast.ClassDef, ast.Lambda)):
            return [node, *self.sentinel(node)] if isinstance(node, ast.stmt) else node
        self.generic_visit(node)
        if function:
            if node.lineno in self.lines:
                self.replaced += 1
                node.body.insert(0, self.statement(node))
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.With, ast.AsyncWith, ast.ExceptHandler, ast.match_case)):
            node.body[:0] = self.sentinel(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.NamedExpr):
            if node.value.target.id == self.name and node.lineno in self.lines:
                return [node, self.statement(node)]
        elif isinstance(node, ast.stmt):
            return [node, *self.sentinel(node)]
        return node


def outcome(code: Any, steps: list[int], number: int) -> Any:
    names: dict[str, Any] = {"__name__": "m", "_sentinel": Sentinel()}
    exec(code, names)
    flaky = names["Flaky"](list(steps))
    try:
        result = names["f"](flaky, number)
        if hasattr(result, "asend"):
            result = all_of(result)
        if hasattr(result, "send"):
            result = [*run(result)]
    except Exception as error:
        # Without lines, which up to Python 3.11 may be those of the statement before.
        return type(error).__name__, str(error), len(flaky.steps)
    return show(result), len(flaky.steps)


def run(started: Any) -> Iterator[Any]:
    result = yield from (started.__await__() if hasattr(started, "__await__") else started)
    yield result


async def all_of(generator: Any) -> list[Any]:
    return [one async for one in generator]


def check(program: Program, seed: int) -> tuple[int, int]:
    """Replace each binding that is reported unread; nothing may differ. How many were replaced, and were there."""
    source = program.source
    plain = compile(source, "plain", "exec")
    function = next(one for one in find_functions(ast.parse(source)) if one.qualname == "f")
    scope = function_scope(function)
    replaced = bound = 0
    for name in NAMES:
        lines, _ = unread_bindings(function.node, scope, name)
        everywhere = _Replacing(name, [*range(len(source.splitlines()) + 1)])
        everywhere.visit(ast.parse(source))
        bound += everywhere.replaced
        if not lines:
            continue
        replacing = _Replacing(name, lines)
        tree = replacing.visit(ast.parse(source))
        assert replacing.replaced, (name, lines, source)
        replaced += replacing.replaced
        edited = compile(tree, "plain", "exec")
        for number in range(6):
            steps = random.Random(seed * 10 + number).choices([0, 1, 1, 1, 2, 3, 7, 8], k=30)
            expected = outcome(plain, steps, number)
            assert outcome(edited, steps, number) == expected, f"{name} at {lines}, program {seed}\n{source}"
    return replaced, bound


def run_many(seeds: range) -> tuple[int, int]:
    counts = [check(kind(seed), seed) for seed in seeds for kind in (Program, WiderProgram)]
    return sum(one for one, _ in counts), sum(one for _, one in counts)


@pytest.mark.filterwarnings("ignore")
def test_random_programs_do_not_notice_what_a_binding_that_is_unread_holds() -> None:
    replaced, bound = run_many(range(50))
    assert replaced > 50 and replaced > bound / 5


if __name__ == "__main__":
    print(*run_many(range(int(sys.argv[1]), int(sys.argv[2]))))
