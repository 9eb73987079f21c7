"""Which names a function binds, by the rules of Python's symbol table, from its syntax tree alone."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from astcapture.rewrite.find import Function, FunctionNode

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass
class Scope:
    """The names of one function. `bound` maps each local to the line of its first binding, parameters first."""

    parameters: tuple[str, ...]
    bound: dict[str, int]
    globals: frozenset[str]
    nonlocals: frozenset[str]
    free: frozenset[str] = frozenset()
    in_comprehensions: frozenset[str] = frozenset()
    #: Locals that a nested function declares ``nonlocal``: they can be bound and unbound by a call.
    shared: frozenset[str] = frozenset()

    @property
    def locals(self) -> tuple[str, ...]:
        return tuple(self.bound)

    @property
    def readable(self) -> tuple[str, ...]:
        """Every name that a capture can take: locals, then those of enclosing functions that the function uses."""
        return (*self.bound, *sorted(self.nonlocals | self.free))


@dataclass
class _Names:
    bound: dict[str, int] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    loaded: set[str] = field(default_factory=set)
    in_comprehensions: set[str] = field(default_factory=set)
    nested: list[FunctionNode | ast.ClassDef | ast.Lambda] = field(default_factory=list)

    def bind(self, name: str | None, line: int) -> None:
        if name is not None:
            self.bound.setdefault(name, line)


def function_scope(function: Function) -> Scope:
    """The scope of a function, closure variables included."""
    names = _collect(function.node)
    parameters = tuple(_parameters(function.node.args))
    own = set(names.bound) - names.globals - names.nonlocals
    used, declared = _nested_uses(names)
    free: set[str] = set()
    for outer in function.enclosing:
        scope = _collect(outer)
        visible = set(scope.bound) - scope.globals
        free |= (names.loaded | used) & visible - own - names.globals
    return Scope(
        parameters,
        {name: line for name, line in names.bound.items() if name in own},
        frozenset(names.globals),
        frozenset(names.nonlocals),
        frozenset(free - names.nonlocals),
        frozenset(names.in_comprehensions - own),
        frozenset(declared & own),
    )


def _collect(function: FunctionNode) -> _Names:
    names = _Names()
    for parameter in _parameters(function.args):
        names.bind(parameter, function.lineno)
    _walk(function.body, names)
    return names


def _walk(nodes: Iterable[ast.AST], names: _Names) -> None:
    """Visit the nodes of one scope in source order; what a nested scope evaluates outside (defaults,
    decorators, bases, the first iterable of a comprehension) belongs to this one."""
    stack: list[tuple[ast.AST, bool]] = [(node, False) for node in reversed(list(nodes))]
    while stack:
        node, comprehension = stack.pop()
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                names.loaded.add(node.id)
            elif comprehension:
                names.in_comprehensions.add(node.id)
            else:
                names.bind(node.id, node.lineno)
            continue
        if isinstance(node, ast.NamedExpr):
            # A walrus binds in the function even inside a comprehension.
            names.bind(node.target.id, node.lineno)
            stack.append((node.value, comprehension))
            continue
        if isinstance(node, ast.Global):
            names.globals.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            names.nonlocals.update(node.names)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                names.bind(alias.asname or alias.name.partition(".")[0], node.lineno)
        elif isinstance(node, ast.ExceptHandler):
            names.bind(node.name, node.lineno)
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)):
            names.bind(node.name, node.lineno)
        elif isinstance(node, ast.MatchMapping):
            names.bind(node.rest, node.lineno)
        elif isinstance(node, _SCOPES):
            names.nested.append(node)
            if not isinstance(node, ast.Lambda):
                names.bind(node.name, node.lineno)
            stack.extend((child, comprehension) for child in reversed(_evaluated_outside(node)))
            continue
        elif isinstance(node, _COMPREHENSIONS):
            comprehension = True
        stack.extend((child, comprehension) for child in reversed(list(ast.iter_child_nodes(node))))


def _evaluated_outside(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda) -> list[ast.AST]:
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]
    outside: list[ast.AST] = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
    if not isinstance(node, ast.Lambda):
        outside += node.decorator_list
    return outside


def _nested_uses(names: _Names) -> tuple[set[str], set[str]]:
    """The names that nested scopes read, and those that they declare ``nonlocal``; an over-approximation."""
    used: set[str] = set()
    declared: set[str] = set()
    for nested in names.nested:
        for node in ast.walk(nested):
            if isinstance(node, ast.Name):
                used.add(node.id)
            elif isinstance(node, ast.Nonlocal):
                declared.update(node.names)
                used.update(node.names)
    return used, declared


def _parameters(args: ast.arguments) -> list[str]:
    listed = [*args.posonlyargs, *args.args, *args.kwonlyargs]
    names = [arg.arg for arg in listed]
    names += [arg.arg for arg in (args.vararg, args.kwarg) if arg is not None]
    return names
