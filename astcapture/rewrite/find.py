"""Finds the functions of a syntax tree, by qualname, and their ``@capture`` markers.

One walk over the statements in source order. Expressions are skipped: they cannot contain a ``def``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
#: Expressions with their own scope.
EXPRESSION_SCOPES = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

#: The dotted paths under which the marker can be imported.
MARKER_PATHS = frozenset({"astcapture.capture", "astcapture.targets.marker.capture"})

_BLOCKS = ("body", "handlers", "cases", "orelse", "finalbody")
# Simple statements that cannot bind a name to the marker: most of them.
_INERT = frozenset(
    {
        ast.Expr, ast.Return, ast.Raise, ast.Pass, ast.AugAssign, ast.Delete, ast.Assert, ast.Break, ast.Continue,
        ast.Global, ast.Nonlocal,
    }
)  # fmt: skip


@dataclass
class Function:
    """A ``def`` of the tree: its node, its qualname as Python spells it, and the marker calls on it."""

    qualname: str
    node: FunctionNode
    enclosing: tuple[FunctionNode, ...]
    markers: list[ast.Call] = field(default_factory=list)
    #: The class whose name mangles ``__private`` names here.
    private: str | None = None
    #: The class that contains it, if any.
    owner: ast.ClassDef | None = None

    @property
    def is_method(self) -> bool:
        """Whether its first parameter is the instance, ``self``."""
        return self.owner is not None and all(
            _last_name(decorator) != "staticmethod" for decorator in self.node.decorator_list
        )

    @property
    def of_module(self) -> bool:
        """Whether it is a method of an ``nn.Module``, judged by the names of the base classes."""
        return self.is_method and any((_last_name(base) or "").endswith("Module") for base in self.owner.bases)  # type: ignore[union-attr]

    @property
    def is_overload(self) -> bool:
        """Whether it is an overload stub, whose body never runs."""
        return any(_last_name(decorator) == "overload" for decorator in self.node.decorator_list)


@dataclass
class _Scope:
    """The scope of a statement: the prefix of qualnames in it, and the names that imports have bound."""

    prefix: str
    node: ast.AST
    parent: _Scope | None
    #: What names refer to here: the path from which they were imported; None for anything not from astcapture.
    imports: dict[str, str | None] = field(default_factory=dict)

    @cached_property
    def globals(self) -> frozenset[str]:
        """The names declared global here; computed only if something is defined inside."""
        if isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return _declared_global(self.node)
        return frozenset()

    def prefix_of(self, name: str) -> str:
        """The prefix of `name` in the qualname of a def here; empty if it is declared global."""
        return "" if name in self.globals else self.prefix

    @property
    def private(self) -> str | None:
        if isinstance(self.node, ast.ClassDef):
            return self.node.name
        return self.parent.private if self.parent else None

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
    """Every ``def`` of the module in source order, including nested ones and repeated names."""
    found: list[Function] = []
    module = _Scope("", tree, None)
    stack: list[tuple[ast.AST, _Scope]] = [(node, module) for node in reversed(tree.body)]
    # Before the first import of astcapture, no rebinding matters.
    ours = False
    while stack:
        node, scope = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            markers = [call for call in node.decorator_list if isinstance(call, ast.Call) and _is_marker(call, scope)]
            qualname = scope.prefix_of(node.name) + node.name
            owner = scope.node if isinstance(scope.node, ast.ClassDef) else None
            found.append(Function(qualname, node, scope.functions(), markers, scope.private, owner))
            if ours:
                _bind(node, scope)
            shadows: dict[str, str | None] = dict.fromkeys(parameters_of(node.args))
            inner = _Scope(f"{qualname}.<locals>.", node, scope, shadows)
            stack.extend((child, inner) for child in reversed(node.body) if type(child) not in _INERT)
        elif isinstance(node, ast.ClassDef):
            if ours:
                _bind(node, scope)
            qualname = scope.prefix_of(node.name) + node.name
            inner = _Scope(f"{qualname}.", node, scope)
            stack.extend((child, inner) for child in reversed(node.body) if type(child) not in _INERT)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            ours = ours or _mentions_us(node)
            if ours:
                _bind(node, scope)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            if ours:
                _bind(node, scope)
        else:
            for name in reversed(_BLOCKS):
                block = getattr(node, name, ())
                stack.extend((child, scope) for child in reversed(block) if type(child) not in _INERT)
    return found


def imports_in(tree: ast.Module) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements of a module, including those in functions and classes."""
    # Expressions, which are most of a tree, contain none.
    stack: list[ast.AST] = [*tree.body]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif type(node) not in _INERT and type(node) is not ast.Assign:
            for name in _BLOCKS:
                stack += getattr(node, name, ())


def mentioned(node: ast.AST) -> set[str]:
    """Every name and attribute below a node, including those of nested functions."""
    found: set[str] = set()
    # Not `ast.walk`, which is three times slower; large functions are searched twice.
    stack = [node]
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind is ast.Name:
            found.add(node.id)  # type: ignore[attr-defined]
        elif kind is not ast.Constant:
            if kind is ast.Attribute:
                found.add(node.attr)  # type: ignore[attr-defined]
            # By its fields: tools hang more on a node, a way back to its parent for one.
            for name in kind._fields:
                value = getattr(node, name, None)
                if type(value) is list:
                    stack += [one for one in value if isinstance(one, ast.AST)]
                elif isinstance(value, ast.AST):
                    stack.append(value)
    return found


def _mentions_us(node: ast.Import | ast.ImportFrom) -> bool:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return any(name.partition(".")[0] == "astcapture" for name in names)


def own_statements(scope: FunctionNode | ast.ClassDef | ast.Module) -> Iterator[ast.AST]:
    """The statements of one scope in source order, without those of the functions and classes nested in it."""
    stack: list[ast.AST] = list(reversed(scope.body))
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
    return _origin(call.func, scope) in MARKER_PATHS


def _bind(node: ast.AST, scope: _Scope) -> None:
    """Update the names that may refer to astcapture after a statement.

    A statement at the top level of the scope rebinds a name. One inside an ``if`` or a ``try`` may not run, so there
    an import of astcapture adds a name, but nothing removes one: ``try: from astcapture
    import capture / except ImportError: def capture…`` is a marker.
    """
    imports = scope.imports
    bound: dict[str, str | None] = {}
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            imported = alias.name if alias.asname else name
            bound[name] = imported if imported.partition(".")[0] == "astcapture" else None
    elif isinstance(node, ast.ImportFrom):
        ours = node.level == 0 and (node.module or "").partition(".")[0] == "astcapture"
        for alias in node.names:
            if alias.name != "*":
                bound[alias.asname or alias.name] = f"{node.module}.{alias.name}" if ours else None
            elif ours:
                bound["capture"] = f"{node.module}.capture"
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        bound[node.name] = None
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        if isinstance(node, ast.Assign):
            # A second name for the marker, or for the package: `mark = astcapture.capture`.
            path_of_value = _origin(node.value, scope)
            targets = node.targets
        else:
            path_of_value = _origin(node.value, scope) if node.value is not None else None
            targets = [node.target] if node.value is not None else []
        for target in targets:
            for child in ast.walk(target):
                if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                    bound[child.id] = path_of_value if child is target else None
    for name, path in bound.items():
        if path is not None:
            imports[name] = path
        elif scope.lookup(name) is not None and node in getattr(scope.node, "body", ()):
            imports[name] = None


def _origin(node: ast.expr, scope: _Scope) -> str | None:
    """The dotted path of an expression such as ``ac.capture``, if its first name is imported from astcapture."""
    path = _dotted(node)
    if path is None:
        return None
    head, dot, tail = path.partition(".")
    origin = scope.lookup(head)
    return None if origin is None else origin + dot + tail


def _declared_global(scope: FunctionNode | ast.ClassDef) -> frozenset[str]:
    return frozenset(name for node in own_statements(scope) if isinstance(node, ast.Global) for name in node.names)


def parameters_of(args: ast.arguments) -> list[str]:
    """The names of a function's parameters."""
    listed = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return [arg.arg for arg in listed if arg is not None]


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
