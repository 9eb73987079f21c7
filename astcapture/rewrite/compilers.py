"""Finds the functions of a module that another compiler reads, from their bytecode or their source.

Numba cannot compile a rewritten function, and a compiler that reads source would not see the inserted code. Tools that
trace a program by running its Python code (`jax.jit`, `torch.compile`, `torch.fx`) are not concerned.

Names are resolved through imports, assignments and the wrappers that a module defines itself, without regard to the
order of statements: with ``try: from numba import njit / except ImportError: def njit…`` both are possible.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from astcapture.rewrite.find import FunctionNode, imports_in, parameters_of

_Definition = FunctionNode | ast.ClassDef
#: Why a function with an imported decorator, given by its dotted path, is not rewritten; None if it is.
Outside = Callable[[str], str | None]
_CALLER = "capture the function that calls it"
_LAUNCHER = "capture the function that launches it"


@dataclass(frozen=True)
class Compiler:
    """A compiler, the names of its decorators and functions, and what to do instead of capturing.

    `switch` is the environment variable, with its value, that turns the compiler off; it has no effect on the names in
    `unswitched`.
    """

    name: str
    names: frozenset[str]
    reads: str = "source"
    mend: str = _CALLER
    switch: tuple[str, str] | None = None
    unswitched: frozenset[str] = frozenset()

    def is_off(self, name: str, environ: Mapping[str, str]) -> bool:
        """Whether functions passed to `name` run as Python in this environment."""
        return self.switch is not None and name not in self.unswitched and environ.get(self.switch[0]) == self.switch[1]

    def why(self, name: str) -> str:
        """Why a function is not rewritten, and what to do instead."""
        switched = self.switch is not None and name not in self.unswitched
        first = f"set {'='.join(self.switch)} to run and capture it as Python, or " if switched and self.switch else ""
        return f"{self.name} compiles it from its {self.reads}, so it cannot be rewritten: {first}{self.mend}"


def _compiler(name: str, names: str, reads: str = "source", mend: str = _CALLER) -> Compiler:
    return Compiler(name, frozenset(names.split()), reads, mend)


_ALWAYS_COMPILED = frozenset({"vectorize", "guvectorize", "stencil", "cfunc", "export", "reduce", "Reduce"})
_NUMBA = Compiler(
    "numba",
    _ALWAYS_COMPILED
    | {"jit", "njit", "generated_jit", "jitclass", "jit_module", "register_jitable"}
    | {"overload", "overload_method", "overload_classmethod", "overload_attribute"},
    "bytecode",
    switch=("NUMBA_DISABLE_JIT", "1"),
    unswitched=_ALWAYS_COMPILED,
)
_SCRIPT = Compiler("torch.jit.script", frozenset({"script", "script_method", "export"}), switch=("PYTORCH_JIT", "0"))
#: By the start of their import paths.
COMPILERS: dict[str, Compiler] = {
    "numba": _NUMBA,
    "numba_cuda": _NUMBA,
    "torch.jit": _SCRIPT,
    "triton": _compiler("triton", "jit autotune heuristics", mend=_LAUNCHER),
    "cython": _compiler("Cython", "compile cfunc ccall inline"),
    "Cython": _compiler("Cython", "compile cfunc ccall inline"),
    "taichi": _compiler("taichi", "kernel func real_func pyfunc"),
    "tensorflow": _compiler("TensorFlow's AutoGraph", "function to_graph convert"),
    "cupyx.jit": _compiler("cupyx.jit", "rawkernel", mend=_LAUNCHER),
    "warp": _compiler("warp", "kernel func", mend=_LAUNCHER),
    "helion": _compiler("helion", "kernel", mend=_LAUNCHER),
    "cutlass": _compiler("CUTLASS's DSL", "jit kernel", mend=_LAUNCHER),
    "tilelang": _compiler("tilelang", "jit prim_func", mend=_LAUNCHER),
    "tvm": _compiler("TVMScript", "prim_func ir_module function"),
    "cudaq": _compiler("CUDA-Q", "kernel", mend=_LAUNCHER),
    "onnxscript": _compiler("onnxscript", "script"),
    "dace": _compiler("DaCe", "program"),
    "codon": _compiler("codon", "jit"),
    "transonic": _compiler("transonic", "boost jit"),
    "pyccel": _compiler("pyccel", "epyccel accelerate"),
    "paddle.jit": _compiler("paddle.jit", "to_static"),
    "mindspore": _compiler("mindspore", "jit ms_function"),
}
#: Their packages.
HEADS = frozenset(prefix.partition(".")[0] for prefix in COMPILERS)
# Nodes without calls and definitions.
_LEAVES = frozenset({ast.Name, ast.Constant, ast.Load, ast.Store, ast.Pass, ast.Global, ast.Nonlocal})
# Names that no other library uses; modules of a project often re-export them.
_TELLING = {"njit": "numba.njit", "guvectorize": "numba.guvectorize"}
# Their argument is the function that they give a second, compiled meaning.
_OVERLOADS = "overload"
_JIT_MODULE = "jit_module"


@dataclass
class _Scope:
    """What the names of one scope may refer to."""

    node: ast.AST
    parent: _Scope | None
    #: The paths of imported names, and the expressions that were assigned to others.
    paths: dict[str, set[str]] = field(default_factory=dict)
    values: dict[str, list[ast.expr]] = field(default_factory=dict)
    definitions: dict[str, list[_Definition]] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()

    def of(self, name: str) -> _Scope | None:
        """The scope in which a name is bound, as Python looks it up from here."""
        scope: _Scope | None = self
        while scope is not None:
            bound = name in scope.paths or name in scope.values or name in scope.definitions or name in scope.parameters
            if bound and (scope is self or not isinstance(scope.node, ast.ClassDef)):
                return scope
            scope = scope.parent
        return None

    def around(self) -> Iterator[_Scope]:
        scope: _Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent


def compiled_elsewhere(
    tree: ast.Module, nodes: Sequence[FunctionNode], environ: Mapping[str, str], outside: Outside | None = None
) -> dict[int, str]:
    """Why functions that another compiler reads are not rewritten, by the id of the node.

    Args:
        tree: the module; it is read and not changed.
        nodes: the functions to check.
        environ: the variables that turn compilers off.
        outside: the reason for a decorator of another module, by its path, as `handed_on` returns it.
    """
    decorated = outside is not None and any(node.decorator_list for node in nodes)
    if not nodes or not (decorated or _imports_any(tree)):
        return {}
    reader = _Reader(tree, environ, outside)
    return {id(node): reason for node in nodes if (reason := reader.why(node)) is not None}


def handed_on(tree: ast.Module, name: str, environ: Mapping[str, str]) -> str | None:
    """Why a function decorated with `name` of a module is not rewritten; None if it can be captured."""
    reader = _Reader(tree, environ, None)
    found = reader.compiler(ast.Name(name, ast.Load()), reader.module)
    return found[1] if found is not None else None


def _imports_any(tree: ast.Module) -> bool:
    for node in imports_in(tree):
        if isinstance(node, ast.Import):
            if any(alias.name.partition(".")[0] in HEADS for alias in node.names):
                return True
        elif node.level == 0 and (node.module or "").partition(".")[0] in HEADS:
            return True
        elif any(alias.name in _TELLING for alias in node.names):
            return True
    return False


class _Reader:
    """Finds the compilers to which the functions of one module are passed."""

    def __init__(self, tree: ast.Module, environ: Mapping[str, str], outside: Outside | None) -> None:
        self.environ = environ
        self.outside = outside
        self.module = _Scope(tree, None)
        #: The scope of each function and class.
        self.scopes: dict[int, _Scope] = {id(tree): self.module}
        self.calls: list[tuple[ast.Call, _Scope]] = []
        #: The definitions that are passed to a compiler in a call, and the functions that pass on an argument to one.
        self.handed: dict[int, str] = {}
        self.wrappers: dict[int, str] = {}
        self._read(tree)
        self._follow_calls()

    def _read(self, tree: ast.Module) -> None:
        stack: list[tuple[ast.AST, _Scope]] = [(node, self.module) for node in reversed(tree.body)]
        while stack:
            node, scope = stack.pop()
            kind = type(node)
            if kind in _LEAVES:
                continue
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = self._define(node, scope)
                stack += [(one, inner) for one in reversed(node.body)]
                stack += [(one, scope) for one in node.decorator_list]
                continue
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                _bind_import(node, scope)
                continue
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        scope.values.setdefault(target.id, []).append(node.value)
            elif isinstance(node, ast.Call):
                self.calls.append((node, scope))
            # As `ast.iter_child_nodes`, which takes twice as long.
            for name in kind._fields:
                value = getattr(node, name, None)
                if type(value) is list:
                    stack += [(one, scope) for one in reversed(value) if isinstance(one, ast.AST)]
                elif isinstance(value, ast.AST):
                    stack.append((value, scope))

    def _define(self, node: _Definition, scope: _Scope) -> _Scope:
        scope.definitions.setdefault(node.name, []).append(node)
        parameters = frozenset() if isinstance(node, ast.ClassDef) else frozenset(parameters_of(node.args))
        inner = self.scopes[id(node)] = _Scope(node, scope, parameters=parameters)
        return inner

    def _follow_calls(self) -> None:
        known = -1
        # A wrapper may be called by another one: until nothing new is found.
        while known != len(self.handed) + len(self.wrappers):
            known = len(self.handed) + len(self.wrappers)
            for call, scope in self.calls:
                found = self.compiler(call.func, scope)
                if found is not None:
                    self._hand_over(call, scope, *found)

    def _hand_over(self, call: ast.Call, scope: _Scope, name: str, reason: str) -> None:
        if name == _JIT_MODULE:
            listed = [node for nodes in self.module.definitions.values() for node in nodes]
            self.handed.update((id(node), reason) for node in listed)
        elif not name.startswith(_OVERLOADS):
            for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
                for node in self._definitions(argument, scope):
                    self.handed.setdefault(id(node), reason)
                if isinstance(argument, ast.Name):
                    self._find_wrapper(argument.id, scope, reason)

    def _find_wrapper(self, name: str, scope: _Scope, reason: str) -> None:
        """If a function passes its own parameter to a compiler, treat it and its enclosing functions as one."""
        bound = scope.of(name)
        if bound is not None and name in bound.parameters:
            for outer in bound.around():
                if isinstance(outer.node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    self.wrappers.setdefault(id(outer.node), reason)

    def why(self, node: ast.AST) -> str | None:
        """Why a function or a class is not rewritten: because of its decorators, calls, or the class around it."""
        scope = self.scopes[id(node)].parent
        if scope is None or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            return None
        if id(node) in self.handed:
            return self.handed[id(node)]
        for decorator in node.decorator_list:
            reason = self._why_decorated(decorator, scope)
            if reason is not None:
                return reason
        return self.why(scope.node)

    def _why_decorated(self, decorator: ast.expr, scope: _Scope) -> str | None:
        found = self.compiler(decorator, scope)
        if found is not None or self.outside is None:
            return found[1] if found is not None else None
        paths = self._paths(decorator, scope, ())
        return next((reason for path in paths if (reason := self.outside(path)) is not None), None)

    def compiler(self, node: ast.expr, scope: _Scope) -> tuple[str, str] | None:
        """The name with which an expression refers to a compiler, and why functions passed to it are not rewritten."""
        for path in self._paths(node, scope, ()):
            name = path.rpartition(".")[2]
            for prefix, compiler in COMPILERS.items():
                if path.startswith(prefix + ".") and name in compiler.names:
                    return None if compiler.is_off(name, self.environ) else (name, compiler.why(name))
        called = _called(node)
        for wrapper in self._definitions(called, scope):
            if id(wrapper) in self.wrappers:
                return wrapper.name, self.wrappers[id(wrapper)]
        return None

    def _paths(self, node: ast.expr, scope: _Scope, seen: tuple[str, ...]) -> set[str]:
        """The dotted paths to which an expression may refer; a call counts as its callee."""
        if isinstance(node, ast.Call):
            paths = self._paths(node.func, scope, seen)
            is_partial = any(path.rpartition(".")[2] == "partial" for path in paths)
            return self._paths(node.args[0], scope, seen) if is_partial and node.args else paths
        if isinstance(node, ast.Attribute):
            return {f"{path}.{node.attr}" for path in self._paths(node.value, scope, seen)}
        if isinstance(node, ast.IfExp):
            return self._paths(node.body, scope, seen) | self._paths(node.orelse, scope, seen)
        if not isinstance(node, ast.Name) or node.id in seen:
            return set()
        bound = scope.of(node.id)
        if bound is None:
            return set()
        paths = set(bound.paths.get(node.id, ()))
        for value in bound.values.get(node.id, ()):
            paths |= self._paths(value, bound, (*seen, node.id))
        return paths

    def _definitions(self, node: ast.expr, scope: _Scope) -> list[_Definition]:
        """The functions and classes of the module that an expression names: ``f``, ``Model.forward``, ``self.f``."""
        if isinstance(node, ast.Name):
            bound = scope.of(node.id)
            return bound.definitions.get(node.id, []) if bound is not None else []
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return []
        owners: list[_Definition] = self._definitions(node.value, scope)
        bound = scope.of(node.value.id)
        if bound is not None and node.value.id in bound.parameters and isinstance(bound.parent, _Scope):
            owner = bound.parent.node
            owners = [owner] if isinstance(owner, ast.ClassDef) else []
        classes = [owner for owner in owners if isinstance(owner, ast.ClassDef)]
        return [one for owner in classes for one in self.scopes[id(owner)].definitions.get(node.attr, [])]


def _called(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Call):
        node = node.func
    return node


def _bind_import(node: ast.Import | ast.ImportFrom, scope: _Scope) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            head = alias.name.partition(".")[0]
            scope.paths.setdefault(alias.asname or head, set()).add(alias.name if alias.asname else head)
        return
    source = "." * node.level + (node.module or "")
    for alias in node.names:
        path = f"{source}.{alias.name}" if node.module else f"{source}{alias.name}"
        if source.partition(".")[0] not in HEADS:
            path = _TELLING.get(alias.name, path)
        scope.paths.setdefault(alias.asname or alias.name, set()).add(path)
