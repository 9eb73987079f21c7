"""Finds the definition of a function that a module only imports, or that a class only inherits, from the tree."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator

from astcapture.rewrite.find import own_statements

#: A module and a qualname in it.
Moved = tuple[str, str]


def moved(tree: ast.Module, module: str, filename: str, qualname: str) -> tuple[Moved, ...]:
    """The places from which a module imports a qualname that it does not define.

    There are several if several imports may bind the name, the last one first; none if no import does.

    Args:
        tree: the module.
        module: its name; relative imports start from it.
        filename: its file, which shows whether it is a package.
        qualname: as a target names it, ``Attention.forward``.

    >>> moved(ast.parse("from .attention import Attention as A"), "timm.layers", "layers/__init__.py", "A.forward")
    (('timm.layers.attention', 'Attention.forward'),)
    """
    head, dot, rest = qualname.partition(".")
    package = _package(module, filename)
    named: list[Moved] = []
    starred: list[Moved] = []
    for node in own_statements(tree):
        if isinstance(node, ast.ImportFrom):
            source = _absolute(node, package)
            for alias in node.names if source is not None else ():
                if alias.name == "*":
                    starred.append((source or "", qualname))
                elif (alias.asname or alias.name) == head:
                    named.append((source or "", alias.name + dot + rest))
        elif isinstance(node, ast.Import) and rest:
            named += [(alias.name, rest) for alias in node.names if alias.asname == head]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name == head:
            return ()
    return tuple(reversed(named or starred))


def another_name(tree: ast.Module, module: str, qualname: str, captures: str = "") -> str:
    """What to write if a qualname is an alias of a function or a class.

    The end of an error message, ``": forward is an alias there: write m:_forward=attn"``, or an empty string;
    `captures` is the text after ``=``.
    """
    owner, _, name = qualname.rpartition(".")
    scope: ast.Module | ast.ClassDef | None = _class(tree, owner) if owner else tree
    head, _, rest = qualname.partition(".")
    alias = _alias(scope, name) if scope is not None else _alias(tree, head)
    if alias is None:
        return ""
    if scope is None:
        written, called = f"{alias}.{rest}", head
    else:
        written, called = (f"{owner}.{alias}" if owner and _defines(scope, alias) else alias), qualname
    return f": {called} is an alias there: write {module}:{written}{_equals(captures)}"


def if_inherited(tree: ast.Module, module: str, filename: str, qualname: str, captures: str = "") -> str:
    """What to write if a method is not defined in its class, which has base classes; see `another_name`."""
    owner, _, name = qualname.rpartition(".")
    scope = _class(tree, owner) if owner else None
    written = dict.fromkeys(_inherited(tree, scope, module, filename, name, set())) if scope is not None else ()
    if not written:
        return ""
    listed = " or ".join(f"{one}{_equals(captures)}" for one in written)
    return f": {owner} does not define {name}; if it inherits {name}, write {listed}"


def _equals(captures: str) -> str:
    return f"={captures}" if captures else ""


def absolute(path: str, module: str, filename: str) -> str:
    """The full form of a dotted path in an import statement, ``..layers.f``; empty if it is above the top package.

    >>> absolute("..layers.f", "timm.models.vit", "vit.py"), absolute("numpy.sum", "m", "m.py")
    ('timm.layers.f', 'numpy.sum')
    """
    name = path.lstrip(".")
    node = ast.ImportFrom(name or None, [], len(path) - len(name))
    return _absolute(node, _package(module, filename)) or ""


def _package(module: str, filename: str) -> str:
    is_package = os.path.basename(filename).partition(".")[0] == "__init__"
    return module if is_package else module.rpartition(".")[0]


def _absolute(node: ast.ImportFrom, package: str) -> str | None:
    """The full name of the module in a ``from`` import; None if it is above the top package."""
    if node.level == 0:
        return node.module
    parts = package.split(".") if package else []
    if node.level > len(parts):
        return None
    base = parts[: len(parts) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _class(tree: ast.Module | ast.ClassDef, qualname: str) -> ast.ClassDef | None:
    """The class with this qualname; None for a class inside a function."""
    scope: ast.Module | ast.ClassDef = tree
    for name in qualname.split("."):
        found = [node for node in own_statements(scope) if isinstance(node, ast.ClassDef) and node.name == name]
        if not found:
            return None
        scope = found[-1]
    return scope if isinstance(scope, ast.ClassDef) else None


def _defines(scope: ast.Module | ast.ClassDef, name: str) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, kinds) and node.name == name for node in own_statements(scope))


def _alias(scope: ast.Module | ast.ClassDef, name: str) -> str | None:
    """The original of an alias, from an assignment such as ``forward = _forward``."""
    for node in own_statements(scope):
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            path = dotted(node.value)
            if path is not None:
                return path
    return None


def _inherited(
    tree: ast.Module, node: ast.ClassDef, module: str, filename: str, name: str, seen: set[str]
) -> Iterator[str]:
    """The targets that may name an inherited method."""
    for base in node.bases:
        path = dotted(base.value if isinstance(base, ast.Subscript) else base)
        if path is None or path in seen:
            continue
        seen.add(path)
        local = _class(tree, path)
        if local is not None and _defines(local, name):
            yield f"{module}:{path}.{name}"
        elif local is not None:
            yield from _inherited(tree, local, module, filename, name, seen)
        else:
            places = moved(tree, module, filename, f"{path}.{name}") or _through_module(tree, path, name)
            yield from (f"{source}:{qualname}" for source, qualname in places if source)


def _through_module(tree: ast.Module, path: str, name: str) -> tuple[Moved, ...]:
    """``nn.modules.Linear`` after ``import nn.modules``: a module's own path, then the class."""
    source, _, attribute = path.rpartition(".")
    imported = [alias.name for node in own_statements(tree) if isinstance(node, ast.Import) for alias in node.names]
    return ((source, f"{attribute}.{name}"),) if source in imported else ()


def dotted(node: ast.expr) -> str | None:
    """The path that an expression of names and attributes spells."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
