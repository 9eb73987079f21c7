"""Builds the code that records captures at one exit of a function; `transform` shows examples."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from astcapture.rewrite import nodes
from astcapture.rewrite.find import EXPRESSION_SCOPES
from astcapture.rewrite.lines import first_line
from astcapture.rewrite.nodes import PREFIX
from astcapture.rewrite.planned import FunctionPlan
from astcapture.rewrite.scope import names_read
from astcapture.targets.capture import Capture

# Their last arguments are the parameters that may be the module of the function.
TOLD_THE_OWNERS = frozenset({"record", "allow", "look", "evaluate", "missed", "failed", "unread"})
# Names whose meaning depends on the frame: expressions with them cannot be evaluated in a lambda.
_OF_THE_FRAME = frozenset({"super", "__class__", "locals", "vars", "dir", "eval", "exec"})
# Up to Python 3.12 ``locals()`` returns the only dict of the frame, updated with each call.
LOCALS_ARE_A_COPY = sys.version_info >= (3, 13)


class Exit:
    """Builds the code that records captures at one exit of a function.

    Args:
        planned: the function and its captures.
        module: its module, for the sites.
        bound: the names that are definitely bound at this exit.
        node: the ``return`` or ``yield``; None at the end of the body.
        quiet: whether ``locals()`` can be called without the function noticing it.
        outlived: whether code of the function runs after the value is computed: a ``finally``, a ``with``.
        unseen: whether the program visits no line after the value, so that inserted code gets no line number.
    """

    def __init__(
        self,
        planned: FunctionPlan,
        module: str,
        bound: frozenset[str],
        node: ast.Return | ast.Yield | None,
        quiet: bool,
        outlived: bool = False,
        unseen: bool = False,
    ) -> None:
        self.planned = planned
        self.owners = planned.owners
        self.quiet = quiet
        self.outlived = outlived
        self.asks_for_locals = False
        self.module = module
        self.bound = bound
        self.node = node
        self.line = node.lineno if node is not None else planned.function.node.end_lineno
        # Recording code has no line if the program visits no line after the value.
        self.at = nodes.Place.nowhere() if node is None or unseen else nodes.Place(node.lineno, node.col_offset)
        if node is not None and unseen:
            self.place(node)

    def statements(self) -> list[ast.stmt]:
        node = self.node
        assert isinstance(node, ast.Return)
        value = node.value
        if value is None or (self.is_inert(value) and value.lineno == node.lineno == value.end_lineno):
            recorded, forgotten = self.recording(), self.forgotten(self.constant(None))
            if not isinstance(forgotten, ast.Constant):
                recorded.append(self.statement(ast.Expr(forgotten)))
            return [*recorded, node]
        taken: ast.expr | None = value
        for capture in self.planned.captures:
            taken = None if taken is None else self.taken(capture, taken, before=value)
        if taken is not None:
            node.value = self.forgotten(taken, before=value)
            return [node]
        held = self.statement(ast.Expr(self.call("hold", [value], before=value)))
        recording = self.recording()
        node.value = self.forgotten(self.call("release", []))
        return [held, *recording, node]

    def leaving(self, unbound: str | None) -> list[ast.stmt]:
        """Statements that record and return. In ``except … as e``, `e` is deleted first, as at the handler's end."""
        statements = [*self.recording(), self.statement(ast.Return(None))]
        if unbound is None:
            return statements
        store, delete = (self.expression(ast.Name(unbound, context)) for context in (ast.Store(), ast.Del()))
        assigned = self.statement(ast.Assign([store], self.constant(None)))
        return [assigned, self.statement(ast.Delete([delete])), *statements]

    def forgotten(self, result: ast.expr, before: ast.expr | None = None) -> ast.expr:
        """`result`, then clear the frame's dict of locals if we read it and the frame stays alive."""
        if LOCALS_ARE_A_COPY or not (self.outlived and self.asks_for_locals):
            return result
        return self.call("forget", [result, self.call("locals", [])], before)

    def locals(self) -> ast.expr:
        self.asks_for_locals = True
        return self.call("locals", [])

    def recording(self) -> list[ast.stmt]:
        """Statements that record every capture at this point."""
        return [self.record(capture) for capture in self.planned.captures]

    def record(self, capture: Capture) -> ast.stmt:
        taken = self.taken(capture, self.constant(None))
        if taken is not None:
            return self.statement(ast.Expr(taken))
        value = self.call("record", [self.constant(None), self.site(capture), self.read(capture)])
        recorded = self.statement(ast.Expr(value))
        if not capture.is_name:
            # No condition: a jump would be a line more to whoever traces lines.
            allowed = self.statement(ast.Expr(self.call("allow", [self.site(capture)])))
            return self.try_([allowed, recorded], "failed", capture)
        # Only the read is in the try, so that no other error is mistaken for an unbound name.
        return self.try_([self.statement(ast.Expr(self.read(capture)))], "missed", capture, [recorded])

    def taken(self, capture: Capture, result: ast.expr, before: ast.expr | None = None) -> ast.expr | None:
        """A call that evaluates `result`, records the capture and returns the result; None if a ``try`` is needed."""
        start = [result, self.site(capture)]
        if self.is_sure(capture):
            return self.call("record", [*start, self.read(capture)], before)
        if capture.is_name:
            if not self.quiet:
                return None
            name = mangled(capture.expression, self.planned.function.private)
            return self.call("look", [*start, self.constant(name), self.locals()], before)
        expression = ast.parse(capture.expression, mode="eval").body
        names = names_read(expression)
        wanted = [name for name in self.planned.scope.readable if name in names]
        has_scopes = any(isinstance(node, EXPRESSION_SCOPES) for node in ast.walk(expression))
        if self.node is not None and not has_scopes and not _OF_THE_FRAME.isdisjoint(names):
            return None
        read = self.values_of(wanted)
        if read is None:
            return None
        source = self.constant(_function_text(wanted, expression, self.planned.function.private))
        return self.call("evaluate", [*start, source, read], before)

    def unread(self, capture: Capture, result: ast.expr, before: ast.expr | None = None) -> ast.expr:
        """A call that evaluates `result`, counts the capture as not recorded, and returns the result."""
        return self.call("unread", [result, self.site(capture)], before)

    def values_of(self, wanted: Sequence[str]) -> ast.expr | None:
        """The values of locals, or of those that are bound; None if a ``try`` is needed."""
        if self.bound.issuperset(wanted):
            values = [self.expression(ast.Name(name, ast.Load())) for name in wanted]
            return self.expression(ast.Tuple(values, ast.Load()))
        return self.locals() if self.quiet else None

    def try_(self, body: list[ast.stmt], instead: str, capture: Capture, orelse: Iterable[ast.stmt] = ()) -> ast.stmt:
        handler = ast.ExceptHandler(
            type=None, name=None, body=[self.statement(ast.Expr(self.call(instead, [self.site(capture)])))]
        )
        self.place(handler)
        return self.statement(ast.Try(body=body, handlers=[handler], orelse=list(orelse), finalbody=[]))

    def is_sure(self, capture: Capture) -> bool:
        return capture.is_name and capture.expression in self.bound

    def is_inert(self, value: ast.expr) -> bool:
        """Whether evaluating `value` can neither run code nor fail, so that recording may come before it."""
        if isinstance(value, ast.Constant):
            return True
        if isinstance(value, ast.Name):
            return value.id in self.bound
        return isinstance(value, ast.Tuple) and all(self.is_inert(element) for element in value.elts)

    def site(self, capture: Capture) -> ast.expr:
        parts = self.planned.site(self.module, capture.label, self.line)
        return self.expression(ast.Tuple([self.constant(part) for part in parts], ast.Load()))

    def read(self, capture: Capture) -> ast.expr:
        if capture.is_name:
            return nodes.read(capture.expression, self.at)
        expression = ast.parse(capture.expression, mode="eval").body
        for node in ast.walk(expression):
            self.place(node)
        return expression

    def call(self, name: str, arguments: list[ast.expr], before: ast.expr | None = None) -> ast.expr:
        """A call of the recorder. Its name is loaded first, on the line where `before` starts to be evaluated,
        so that no line is visited that the program does not visit."""
        function = self.expression(ast.Name(PREFIX + name, ast.Load()))
        if name in TOLD_THE_OWNERS:
            arguments = [*arguments, *nodes.read_owners(name, self.owners, self.at)]
        if before is not None:
            function.lineno = function.end_lineno = first_line(before)
            function.col_offset = function.end_col_offset = before.col_offset
        return self.expression(ast.Call(function, arguments, []))

    def constant(self, value: Any) -> ast.expr:
        return self.expression(ast.Constant(value))

    def expression(self, node: ast.expr) -> ast.expr:
        self.place(node)
        return node

    def statement(self, node: ast.stmt) -> ast.stmt:
        self.place(node)
        return node

    def place(self, node: ast.AST) -> None:
        if isinstance(node, (ast.expr, ast.stmt, ast.ExceptHandler)):
            # One point on one line: the compiler goes by the end of some nodes.
            node.lineno = node.end_lineno = self.at.line
            node.col_offset = node.end_col_offset = self.at.column


def mangled(name: str, private: str | None) -> str:
    """A name as Python keeps it in a class: ``__x`` is ``_Class__x`` there.

    >>> mangled("__x", "_Class"), mangled("__x__", "Class"), mangled("__x", None)
    ('_Class__x', '__x__', '__x')
    """
    if private is None or not name.startswith("__") or name.endswith("__") or not private.strip("_"):
        return name
    return f"_{private.lstrip('_')}{name}"


def _function_text(parameters: Sequence[str], expression: ast.expr, private: str | None) -> str:
    """The text of a lambda that computes an expression from the locals that it reads."""
    for node in ast.walk(expression):
        if isinstance(node, ast.keyword):
            continue  # which Python does not mangle
        for attribute in ("id", "attr", "arg"):
            name = getattr(node, attribute, None)
            if isinstance(name, str):
                setattr(node, attribute, mangled(name, private))
    listed = ", ".join(mangled(name, private) for name in parameters)
    return f"lambda {listed}: {ast.unparse(expression)}" if listed else f"lambda: {ast.unparse(expression)}"
