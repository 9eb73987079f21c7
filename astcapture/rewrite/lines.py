"""The lines of the first and last instruction of a statement or an expression, as a trace function sees them."""

from __future__ import annotations

import ast
import itertools
import re
import sys


def first_line_of(statement: ast.stmt) -> int:
    """The line of the first instruction of a statement."""
    first: ast.expr | None = None
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        first = next(iter([*statement.decorator_list, *_evaluated_defaults(statement)]), None)
    elif isinstance(statement, ast.ClassDef):
        first = next(iter(statement.decorator_list), None)
    elif isinstance(statement, (ast.With, ast.AsyncWith)):
        first = statement.items[0].context_expr
    elif isinstance(statement, ast.AugAssign):
        first = statement.target
    elif isinstance(statement, ast.Delete):
        first = statement.targets[0]
    elif type(statement).__name__ != "TypeAlias":  # whose value is evaluated when it is asked for
        for part in ("test", "iter", "subject", "exc", "value"):
            first = first or getattr(statement, part, None)
        if isinstance(statement, ast.For) and _is_looped_over_as_one(statement.iter):
            return statement.iter.lineno
    line = NO_LINE if first is None else first_line(first)
    return statement.lineno if line == NO_LINE else line


#: The line of an instruction that visits no line.
NO_LINE = -1


def first_line(node: ast.expr) -> int:
    """The line of the first instruction that evaluates `node`, which may not be the line where it starts.

    `NO_LINE` if that instruction has none: a text without values, ``"…" % ()``, from Python 3.14 on.
    """
    while True:
        if isinstance(node, ast.BinOp) and _is_formatted_at_once(node) and not _values(node):
            return NO_LINE
        inner = _evaluated_first(node)
        if inner is None:
            return node.lineno
        if isinstance(node, ast.Call) and _pushes_null_first(node):
            return inner.lineno
        node = inner


def last_line(node: ast.Call | ast.Await) -> int:
    """The line of the last instruction that evaluates a call, or an ``await``."""
    if isinstance(node, ast.Call) and _is_called_as_a_method(node) and node.func.lineno != node.func.end_lineno:
        return node.func.end_lineno or node.lineno
    return node.lineno


def is_left_below(node: ast.Return) -> bool:
    """Whether the value of a ``return`` starts on its line and is computed, on some path, by one further down.

    Where nothing else stands between that and what the ``return`` leaves, its line is not visited again.
    """
    value = node.value
    if value is None or value.lineno != node.lineno:
        return False
    if isinstance(value, (ast.IfExp, ast.BoolOp)):
        return value.end_lineno != node.lineno
    if isinstance(value, ast.Call) and _is_called_as_a_method(value):
        value = value.func
    return isinstance(value, ast.Attribute) and value.end_lineno != node.lineno


_FOLDS_LATE = sys.version_info >= (3, 14)


def _evaluated_defaults(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    """The defaults of a ``def`` that are evaluated before any instruction on the line of the ``def``."""
    arguments = function.args
    defaults: list[ast.expr] = list(arguments.defaults)
    if sys.version_info < (3, 13) and getattr(function, "type_params", None):
        return []  # a call begins there, of what makes the type parameters
    if _FOLDS_LATE and (not defaults or all(_is_constant(one) for one in defaults)):
        # Constants are one tuple, and a keyword's name is loaded before its value, both on the line of the def.
        return []
    return defaults + [default for default in arguments.kw_defaults if default]


# Longer displays, calls and f-strings are built up from an empty one, for the sake of the stack.
_LONG = 30


def _evaluated_first(node: ast.expr) -> ast.expr | None:
    """The part of an expression that is evaluated first; None if its own instruction comes first."""
    if _is_constant(node):
        return None
    if isinstance(node, ast.IfExp):
        return node.test
    if isinstance(node, (ast.BoolOp, ast.JoinedStr)):
        long = isinstance(node, ast.JoinedStr) and len(node.values) > _LONG
        return node.values[0] if node.values and not long else None
    if isinstance(node, ast.BinOp):
        return _values(node)[0] if _is_formatted_at_once(node) else node.left
    if isinstance(node, ast.Compare):
        return node.left
    if isinstance(node, ast.UnaryOp):
        return node.operand
    if isinstance(node, ast.Call):
        return node.func
    if isinstance(
        node, (ast.Attribute, ast.Subscript, ast.Await, ast.NamedExpr, ast.FormattedValue, ast.YieldFrom, ast.Yield)
    ):
        return node.value
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        constant = len(node.elts) > 2 and all(_is_constant(one) for one in node.elts)
        if not node.elts or len(node.elts) > _LONG or constant or isinstance(node.elts[0], ast.Starred):
            return None
        return node.elts[0]
    if isinstance(node, ast.Dict):
        return _first_of_dict(node)
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp)) and sys.version_info >= (3, 12):
        return node.generators[0].iter
    return None


def _first_of_dict(node: ast.Dict) -> ast.expr | None:
    keys = list(itertools.takewhile(lambda key: key is not None, node.keys))
    if not keys or 2 * len(keys) > _LONG:
        return None
    # Keys that are all constants are loaded as one tuple, after the values.
    if len(keys) > 1 and all(isinstance(key, ast.Constant) for key in keys) and sys.version_info < (3, 14):
        return node.values[0]
    return keys[0]


def _is_looped_over_as_one(node: ast.expr) -> bool:
    """Whether the compiler folds a display in a loop or comprehension into one constant."""
    return isinstance(node, (ast.List, ast.Set)) and all(_is_constant(one) for one in node.elts)


_FORMATS_AT_ONCE = sys.version_info >= (3, 11)
# What the compiler turns into an f-string then, whose parts of the text have no line.
_SIMPLE_FORMAT = re.compile(r"(?:[^%]|%%|%[-+ #0]*\d{0,2}(?:\.\d{0,2})?[sra])*", re.DOTALL)


def _is_formatted_at_once(node: ast.BinOp) -> bool:
    """Whether the compiler turns ``"… %s" % (value, …)`` into an f-string, which begins with the first value."""
    text, values = node.left, node.right
    if not (isinstance(node.op, ast.Mod) and isinstance(text, ast.Constant) and isinstance(values, ast.Tuple)):
        return False
    if not _FORMATS_AT_ONCE or not isinstance(text.value, str):
        return False
    if any(isinstance(one, ast.Starred) for one in values.elts) or not _SIMPLE_FORMAT.fullmatch(text.value):
        return False
    # Up to Python 3.13 a tuple of constants is made one first, and there is nothing left to format.
    if not _FOLDS_LATE and _is_constant(values):
        return False
    texts = re.split(r"%[^%sra]*[sra]", text.value.replace("%%", "_"))
    formats = len(texts) - 1
    return formats == len(values.elts) and formats + sum(map(bool, texts)) <= _LONG


def _values(node: ast.BinOp) -> list[ast.expr]:
    return node.right.elts if isinstance(node.right, ast.Tuple) else []


def _is_constant(node: ast.expr) -> bool:
    """Whether the compiler folds an expression into one constant, which is on the line where it starts."""
    if isinstance(node, ast.Tuple):
        return all(_is_constant(element) for element in node.elts)
    if isinstance(node, ast.BinOp):
        return not _is_formatted_at_once(node) and _is_constant(node.left) and _is_constant(node.right)
    if isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.Not):
            # Folded late, the line of what is negated is still visited.
            return not _FOLDS_LATE and _is_constant(node.operand)
        return _is_number(node.operand)
    return isinstance(node, ast.Constant)


def _is_number(node: ast.expr) -> bool:
    """Whether the sign of a constant can be folded: that of anything but a number is an error when it runs."""
    if isinstance(node, ast.BinOp):
        return _is_number(node.left) and _is_number(node.right)
    if isinstance(node, ast.UnaryOp):
        return _is_constant(node)
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float, complex))


def _pushes_null_first(node: ast.Call) -> bool:
    """Whether a call begins with an instruction on the line of its function; method calls do not."""
    return (3, 11) <= sys.version_info < (3, 13) and not _is_called_as_a_method(node)


def _is_called_as_a_method(node: ast.Call) -> bool:
    """Whether the compiler calls an attribute without creating a bound method, on the line of its name."""
    unpacks = any(isinstance(one, ast.Starred) for one in node.args) or any(not one.arg for one in node.keywords)
    # Names of keywords are one more thing on the stack.
    long = len(node.args) + len(node.keywords) + bool(node.keywords) >= _LONG
    return isinstance(node.func, ast.Attribute) and not unpacks and not long
