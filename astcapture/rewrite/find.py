"""The functions of a syntax tree, by qualname, and which of them carry the marker.

One walk over the statements in source order. Expressions are not entered: no ``def`` stands in one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

#: The dotted paths under which the marker can be imported.
MARKER_PATHS = frozenset({"astcapture.capture", "astcapture.targets.marker.capture"})

_BLOCKS = ("body", "handlers", "cases", "orelse", "finalbody")


@dataclass
class Function:
    """A ``def`` of the tree: its node, its qualname as Python spells it, and the marker calls on it."""

    qualname: str
    node: FunctionNode
    enclosing: tuple[FunctionNode, ...]
    markers: list[ast.Call] = field(default_factory=list)

    @property
    def is_overload(self) -> bool:
        """A stub for the type checker, whose body never runs."""
        return any(_last_name(decorator) == "overload" for decorator in self.node.decorator_list)


@dataclass
class _Scope:
    """Where a statement stands: the prefix of its qualnames, and what imports have bound there."""

    prefix: str
    node: ast.AST
    parent: _Scope | None
    imports: dict[str, str] = field(default_factory=dict)

    def functions(self) -> tuple[FunctionNode, ...]:
        outer = self.parent.functions() if self.parent else ()
        return (*outer, self.node) if isinstance(self.node, FunctionNode) else outer

    def lookup(self, name: str) -> str | None:
        """The dotted path that `name` was imported from, as Python resolves names: class scopes are not closed over."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.imports and (scope is self or not isinstance(scope.node, ast.ClassDef)):
                return scope.imports[name]
            scope = scope.parent
        return None


def find_functions(tree: ast.Module) -> list[Function]:
    """Every ``def`` of the module in source order, nested ones and all of a repeated name included."""
    found: list[Function] = []
    module = _Scope("", tree, None)
    stack: list[tuple[ast.AST, _Scope]] = [(node, module) for node in reversed(tree.body)]
    while stack:
        node, scope = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            markers = [call for call in node.decorator_list if isinstance(call, ast.Call) and _is_marker(call, scope)]
            found.append(Function(scope.prefix + node.name, node, scope.functions(), markers))
            _bind(node, scope)
            inner = _Scope(f"{scope.prefix}{node.name}.<locals>.", node, scope)
            stack.extend((child, inner) for child in reversed(node.body))
        elif isinstance(node, ast.ClassDef):
            _bind(node, scope)
            inner = _Scope(f"{scope.prefix}{node.name}.", node, scope)
            stack.extend((child, inner) for child in reversed(node.body))
        else:
            _bind(node, scope)
            for name in reversed(_BLOCKS):
                stack.extend((child, scope) for child in reversed(getattr(node, name, ())))
    return found


def own_statements(function: FunctionNode) -> Iterator[ast.AST]:
    """The statements of a function in source order, without those of the functions and classes nested in it."""
    stack: list[ast.AST] = list(reversed(function.body))
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for name in reversed(_BLOCKS):
                stack.extend(reversed(getattr(node, name, ())))


def own_blocks(function: FunctionNode) -> Iterator[list[ast.stmt]]:
    """Every list of statements that belongs to the function itself, the outermost first."""
    yield function.body
    for node in own_statements(function):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for name in ("body", "orelse", "finalbody"):
                block = getattr(node, name, None)
                if isinstance(block, list) and block:
                    yield block


def _is_marker(call: ast.Call, scope: _Scope) -> bool:
    path = _dotted(call.func)
    if path is None:
        return False
    head, dot, tail = path.partition(".")
    origin = scope.lookup(head)
    return origin is not None and origin + dot + tail in MARKER_PATHS


def _bind(node: ast.AST, scope: _Scope) -> None:
    """Follow what a statement does to the names that stand for astcapture.

    A later statement at the top of the scope rebinds for good; one inside an ``if`` or a ``try``
    may not run, so there an import of ours adds and nothing takes away: ``try: from astcapture
    import capture / except ImportError: def capture…`` is a marker.
    """
    imports = scope.imports
    top = node in getattr(scope.node, "body", ()) if imports else True
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            path = alias.name if alias.asname else name
            if path.partition(".")[0] == "astcapture":
                imports[name] = path
            elif top:
                imports.pop(name, None)
    elif isinstance(node, ast.ImportFrom):
        ours = node.level == 0 and (node.module or "").partition(".")[0] == "astcapture"
        for alias in node.names:
            if ours:
                name = "capture" if alias.name == "*" else alias.asname or alias.name
                imports[name] = f"{node.module}.{'capture' if alias.name == '*' else alias.name}"
            elif top:
                imports.pop(alias.asname or alias.name, None)
    elif imports and top:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            imports.pop(node.name, None)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name_node in ast.walk(target):
                    if isinstance(name_node, ast.Name):
                        imports.pop(name_node.id, None)


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _last_name(node: ast.expr) -> str | None:
    path = _dotted(node)
    return path.rpartition(".")[2] if path else None
