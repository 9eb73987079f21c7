"""The names that a function binds, by the rules of Python's symbol table, from the syntax tree only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from astcapture.rewrite.find import Function, FunctionNode, parameters_of

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
ScopeNode = FunctionNode | ast.ClassDef | ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


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
    #: Locals of enclosing functions that this one does not use: reading one would change its closure.
    out_of_reach: frozenset[str] = frozenset()

    @property
    def locals(self) -> tuple[str, ...]:
        return tuple(self.bound)

    @property
    def readable(self) -> tuple[str, ...]:
        """Every name that can be captured: locals, then locals of enclosing functions that the function uses."""
        return (*self.bound, *sorted(self.nonlocals | self.free))


@dataclass
class _Names:
    bound: dict[str, int] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    nonlocals: set[str] = field(default_factory=set)
    loaded: set[str] = field(default_factory=set)
    in_comprehensions: set[str] = field(default_factory=set)
    #: Names that nested scopes read or rebind without binding them.
    used: set[str] = field(default_factory=set)
    rebound: set[str] = field(default_factory=set)
    #: Names that a comprehension binds with a walrus, which belong to the enclosing scope.
    walrus: dict[str, int] | None = None
    #: Whether variable annotations are never evaluated there.
    forgets_annotations: bool = False

    def bind(self, name: str | None, line: int) -> None:
        if name is not None:
            self.bound.setdefault(name, line)

    @property
    def own(self) -> set[str]:
        return set(self.bound) - self.globals - self.nonlocals


def function_scope(function: Function) -> Scope:
    """The scope of a function, closure variables included."""
    names = _collect(function.node)
    visible: set[str] = set()
    for outer in function.enclosing:
        scope = _collect(outer)
        visible = (visible | scope.own) - scope.globals
    visible -= names.own | names.globals
    free = visible & (names.loaded | names.used)
    return Scope(
        tuple(parameters_of(function.node.args)),
        {name: line for name, line in names.bound.items() if name in names.own},
        frozenset(names.globals),
        frozenset(names.nonlocals),
        frozenset(free - names.nonlocals),
        frozenset(names.in_comprehensions - names.own),
        frozenset(names.rebound & names.own),
        frozenset(visible - free - names.nonlocals),
    )


def names_read(node: ast.AST) -> set[str]:
    """The names that an expression or statement reads in its scope, without those bound by its comprehensions."""
    names = _Names()
    _walk([node], names)
    return names.loaded | names.used


def names_of_module(tree: ast.Module) -> set[str]:
    """The names that a module binds in its scope, and those that it or its functions read from there."""
    names = _Names()
    _walk(tree.body, names)
    return set(names.bound) | names.loaded | names.used


def _collect(node: ScopeNode) -> _Names:
    """The names of one scope. Expressions that it evaluates outside itself belong to the enclosing scope."""
    names = _Names(
        walrus={} if isinstance(node, _COMPREHENSIONS) else None,
        forgets_annotations=_FORGETS_ANNOTATIONS and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)),
    )
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        for parameter in parameters_of(node.args):
            names.bind(parameter, node.lineno)
    if isinstance(node, _COMPREHENSIONS):
        first, *others = node.generators
        parts: list[ast.AST] = [node.key] if isinstance(node, ast.DictComp) else [node.elt]
        if isinstance(node, ast.DictComp) and node.value is not None:  # it is in ``{**one for one in many}``
            parts.append(node.value)
        _walk([first.target, *first.ifs, *others, *parts], names)
    else:
        _walk([node.body] if isinstance(node, ast.Lambda) else node.body, names)
    return names


def _walk(nodes: Iterable[ast.AST], names: _Names) -> None:
    """Visit the nodes of one scope in source order; what a nested scope evaluates outside (defaults,
    decorators, bases, the first iterable of a comprehension) belongs to this one."""
    stack: list[ast.AST] = list(reversed(list(nodes)))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                names.loaded.add(node.id)
            else:
                names.bind(node.id, node.lineno)
            continue
        if isinstance(node, ast.NamedExpr):
            _bind_walrus(node.target.id, node.lineno, names)
            stack.append(node.value)
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
        elif isinstance(node, (*_SCOPES, *_COMPREHENSIONS)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names.bind(node.name, node.lineno)
            _nest(node, names)
            stack.extend(reversed(_evaluated_outside(node)))
            continue
        elif isinstance(node, ast.AnnAssign) and names.forgets_annotations:
            stack.extend([node.value, node.target] if node.value is not None else [node.target])
            continue
        stack.extend(reversed(_parts(node)))


# In earlier versions, variable annotations of a function stayed in its closure.
_FORGETS_ANNOTATIONS = sys.version_info >= (3, 14)
# The compiler numbers locals in order of appearance, and ``locals()`` lists them in that order.
_ELSE_COMES_FIRST = sys.version_info >= (3, 11)


def _parts(node: ast.AST) -> list[ast.AST]:
    if _ELSE_COMES_FIRST and isinstance(getattr(node, "handlers", None), list):
        return [part for name in ("body", "orelse", "handlers", "finalbody") for part in getattr(node, name)]
    return list(ast.iter_child_nodes(node))


def _bind_walrus(name: str, line: int, names: _Names) -> None:
    if names.walrus is None:
        names.bind(name, line)
    else:
        names.walrus.setdefault(name, line)


def _nest(node: ScopeNode, names: _Names) -> None:
    """Merge the uses of names of this scope by a nested scope."""
    inner = _collect(node)
    if isinstance(node, _COMPREHENSIONS):
        names.in_comprehensions |= inner.own | inner.in_comprehensions
        for name, line in (inner.walrus or {}).items():
            _bind_walrus(name, line, names)
    if isinstance(node, ast.ClassDef):
        # Names of a class are not visible in its functions.
        names.used |= (inner.loaded - inner.own - inner.globals) | inner.used | inner.nonlocals
        names.rebound |= inner.nonlocals | inner.rebound
    else:
        names.used |= (inner.loaded | inner.used | inner.nonlocals) - inner.own - inner.globals
        names.rebound |= (inner.nonlocals | inner.rebound) - inner.own


def _evaluated_outside(node: ScopeNode) -> list[ast.AST]:
    if isinstance(node, _COMPREHENSIONS):
        return [node.generators[0].iter]
    # The bounds and defaults of type parameters are evaluated later, and read the names of the scope around them.
    bounds: list[ast.AST] = list(getattr(node, "type_params", ()))
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *bounds, *node.bases, *(keyword.value for keyword in node.keywords)]
    outside: list[ast.AST] = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
    if not isinstance(node, ast.Lambda):
        outside += [*node.decorator_list, *bounds]
        listed = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        outside += [arg.annotation for arg in listed if arg is not None and arg.annotation is not None]
        outside += [node.returns] if node.returns is not None else []
    return outside
