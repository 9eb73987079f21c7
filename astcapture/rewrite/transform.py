"""Inserts code that records values into the functions of a tree.

The tree is changed in place and every node of the user keeps its position, so that tracebacks, coverage and debuggers
show the original lines. This docstring describes the code at the exits of a function; see `bindings` for captures at
bindings, `results` for captures at calls, `calls` for those at calls of attention, `yields` and `entry`. A function
with such captures starts with ``_@enter(site)``, since one execution records any number of values. A generator that is
captured at its end starts with ``_@begin(site)``, since it may never reach its end.

- ``return E`` becomes ``return _@record(E, site, name, self)`` if the name is definitely bound: `E` is evaluated first,
  then the name is read, and `record` returns the value of `E`.
- A name that may be unbound is looked up, ``return _@look(E, site, 'name', _@locals())``, so that nothing is raised if
  it is missing, and a debugger sees neither an exception nor a line.
- An expression may fail; with a comprehension it would add code objects to the function; and it may stop torch.compile.
  So it is passed to the recorder as text, ``_@evaluate(E, site, 'lambda q: …', (q,))``, or with ``_@locals()`` if a
  local that it reads may be unbound.
- If neither is possible, the read is a separate statement in a ``try``. It must come after `E`, so the value of `E` is
  kept on a stack of the recorder, not in a local: ``_@hold(E)``, the ``try``, ``return _@release()``. No name of ours
  is ever in ``locals()``. This form is used for names that may be unbound in a function that would notice a call of
  ``locals()``, and for expressions that depend on their function, such as ``super()``.
- If the program visits no line between `E` and the exit of a ``with`` around the ``return``, the inserted code has no
  line.
- For a bare ``return``, or a value that needs no evaluation, the statements come before it.
- At the end of the body are the same statements without a line. The compiler copies a last block without a line to each
  path that leads to it, and gives each copy the line where its path ends. It does so for a single block only, so here
  expressions are always passed as text. The places that `ends` finds get the same code.

Lines and events differ from a plain run in these cases. If an expression that depends on its function fails, a debugger
sees an exception there, and the line of the ``return`` is visited again. Up to Python 3.12 a frame has one dict of
locals, which a function that reads it (``locals()``, ``vars``, ``eval``,
``exec``, its frame) would see change; there a name that may be unbound is read in a ``try`` too. At
the end of such a function's body, where several paths meet, a trace function is told no line or that
of another path. On Python 3.12 alone, where a ``with`` that swallowed an exception is the last thing
before the end of the body, its line is visited twice and the return has
none. Up to Python 3.11, where a body ends with an ``if`` that ends with a loop left in several ways, and
its ``else`` raises, the end after the loop is on the last line of the ``else``. On Python 3.11 the end after
an ``except*`` that no exception came to is on the line of that path. A ``return`` in a ``finally`` inside a
``with``, of a value that ends on another line, visits its own line again. Results, exceptions and
tracebacks are the plain ones there as everywhere.

Names such as ``_@record`` are legal in a tree and impossible in source, so they cannot collide, and
they are not mangled in a class.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any, cast

from astcapture.rewrite import nodes
from astcapture.rewrite.bindings import record_bindings
from astcapture.rewrite.calls import record_calls
from astcapture.rewrite.edits import edit_returns
from astcapture.rewrite.ends import (
    blocks_that_end,
    outlived_returns,
    returns_that_leave_a_with,
    write_out_finally,
)
from astcapture.rewrite.entry import record_entry
from astcapture.rewrite.exits import LOCALS_ARE_A_COPY, Exit
from astcapture.rewrite.find import mentioned, own_blocks, own_statements
from astcapture.rewrite.flow import bound_at_exits
from astcapture.rewrite.lines import first_line_of, is_left_below
from astcapture.rewrite.planned import FunctionPlan, Plan
from astcapture.rewrite.results import record_results
from astcapture.rewrite.yields import record_yields

#: The module with the functions that rewritten code calls, and the prefix of their names there.
RECORDER = "astcapture.record.recorder"
PREFIX = nodes.PREFIX
CALLED = (
    "begin", "enter", "allow", "record", "look", "evaluate", "missed", "failed", "unread", "called", "given",
    "given_starred", "edited", "edit_begins", "given_edited", "attend", "attend_as", "attend_edited",
    "attend_unfused", "hold", "release", "forget", "locals",
)  # fmt: skip

# What gives a function its own dict of locals: built-ins (`vars` is given nothing then), and what leads to its frame.
_EXPOSING_BUILTINS = frozenset({"locals", "vars", "eval", "exec"})
_EXPOSING = _EXPOSING_BUILTINS | {"f_locals", "_getframe", "currentframe", "stack", "f_back"}
# Attributes that count only in these modules: `model.eval()` and `self.stack` are something else.
_OF_MODULES = {**dict.fromkeys(_EXPOSING_BUILTINS, "builtins"), "stack": "inspect"}


def rewrite(tree: ast.Module, plan: Plan) -> ast.Module:
    """Rewrite the planned functions of `tree` in place and return it.

    >>> from astcapture.rewrite.plan import plan_module
    >>> from astcapture.targets.target import parse_targets
    >>> tree = ast.parse("def f(x):\\n    y = x + 1\\n    return y * 2")
    >>> plan = plan_module(tree, "m", "m.py", parse_targets("m:f=y"))
    >>> print(ast.unparse(rewrite(tree, plan).body[-1]))
    def f(x):
        y = x + 1
        return _@record(y * 2, ('m', 'f', 'y', 3), y)
    """
    for planned in plan.functions:
        rewrite_function(planned, plan.module)
    if plan.declares:
        _insert_imports(tree, plan)
    return tree


def rewrite_function(planned: FunctionPlan, module: str) -> None:
    """Insert the captures of one function: at its bindings, calls and yields, at its start and its exits."""
    function = planned.function.node
    quiet = LOCALS_ARE_A_COPY or not _may_hold_its_locals(planned)
    exits = bound_at_exits(function, planned.scope)
    left_below = {node for node in own_statements(function) if isinstance(node, ast.Return) and is_left_below(node)}
    edit_returns(planned, module)
    record_yields(planned, module, exits.at_yield, quiet)
    record_results(planned, module)
    record_bindings(planned, module)
    record_calls(planned, module)
    record_entry(planned, module)
    at_return = tuple(capture for capture in planned.captures if capture.at == "return")
    if not at_return:
        return
    planned = replace(planned, captures=at_return)
    returns = [
        (block, index, node)
        for block in own_blocks(function)
        for index, node in enumerate(block)
        if isinstance(node, ast.Return)
    ]
    outlived, leaving_with = outlived_returns(function), returns_that_leave_a_with(function.body)
    # From the back, so that the indices in front stay true.
    for block, index, node in reversed(returns):
        bound = exits.at_return.get(node, frozenset())
        unseen = node in leaving_with and node in left_below
        block[index : index + 1] = Exit(planned, module, bound, node, quiet, node in outlived, unseen).statements()
    if exits.at_end is not None:
        write_out_finally(function.body)
        at_end = Exit(planned, module, exits.at_end, None, quiet)
        for block, unbound in blocks_that_end(function.body):
            block += at_end.leaving(unbound)
        function.body += at_end.recording()


def _may_hold_its_locals(planned: FunctionPlan) -> bool:
    """Whether a function may keep the dict of its locals, and so notice that we read it."""
    if _EXPOSING.isdisjoint(planned.mentioned):
        return False
    given = {
        id(node.func)
        for node in ast.walk(planned.function.node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "vars" and node.args
    }
    return any(
        node.id in _EXPOSING and node.id not in planned.scope.readable and id(node) not in given
        if isinstance(node, ast.Name)
        else node.attr in _EXPOSING
        and (
            (module := _OF_MODULES.get(node.attr)) is None
            or (isinstance(node.value, ast.Name) and node.value.id == module)
        )
        for node in ast.walk(planned.function.node)
        if isinstance(node, (ast.Name, ast.Attribute))
    )


def _first_line_of_module(tree: ast.Module) -> int:
    annotated = any(isinstance(node, ast.AnnAssign) for node in own_statements(tree))
    # Such a module prepares its annotations first, on the line where its first statement starts.
    return tree.body[0].lineno if annotated else first_line_of(tree.body[0])


def _insert_imports(tree: ast.Module, plan: Plan) -> None:
    """Import the recorder and declare the functions, after the docstring and the ``__future__`` imports."""
    used = {PREFIX + "declare"}.union(*(mentioned(planned.function.node) for planned in plan.functions))
    names = [ast.alias(name, PREFIX + name) for name in ("declare", *CALLED) if PREFIX + name in used]
    inserted: list[ast.stmt] = [
        ast.ImportFrom(RECORDER, names, 0),
        ast.Expr(
            ast.Call(
                ast.Name(PREFIX + "declare", ast.Load()),
                [ast.Constant(cast(Any, part)) for part in plan.declaration()],
                [],
            )
        ),
    ]
    index = 0
    if tree.body and ast.get_docstring(tree, clean=False) is not None:
        index = 1
    while index < len(tree.body) and _is_future(tree.body[index]):
        index += 1
    # Behind another statement they take its line; in front of the first, the line that is visited first.
    line = _first_line_of_module(tree) if index == 0 else -1
    for statement in inserted:
        for node in ast.walk(statement):
            if isinstance(node, (ast.expr, ast.stmt, ast.alias)):
                node.lineno = node.end_lineno = line
                node.col_offset = node.end_col_offset = -1 if line < 0 else 0
    tree.body[index:index] = inserted


def _is_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"
