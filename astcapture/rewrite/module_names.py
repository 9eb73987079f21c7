"""The names that a function can find outside itself: those of its module, as far as the source shows, and builtins."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator
from functools import cached_property

from astcapture.rewrite.scope import names_of_module, names_read

#: Functions with which a module can bind names that its source does not show.
_BINDERS = frozenset({"globals", "vars", "exec"})


class ModuleNames:
    """The names of one module.

    Args:
        tree: its syntax tree.
        whole: whether the tree is the whole module; a notebook cell is not.
    """

    def __init__(self, tree: ast.Module, *, whole: bool = True) -> None:
        self._tree = tree
        self._whole = whole

    def nowhere(self, expression: str, own: Iterable[str]) -> list[str]:
        """The names that an expression reads and that do not exist, sorted; empty if that is unknown.

        Args:
            expression: an expression to be evaluated in a function.
            own: the names of the function itself.
        """
        wanted = names_read(ast.parse(expression, mode="eval").body).difference(own, dir(builtins))
        # The interpreter sets names such as __file__.
        wanted = {name for name in wanted if not name.startswith("__")}
        if not wanted or self._hidden:
            return []
        return sorted(wanted - self.known)

    @cached_property
    def known(self) -> frozenset[str]:
        """The names that the module binds, and those that it reads and that other code must have set."""
        declared = {name for node in ast.walk(self._tree) if isinstance(node, ast.Global) for name in node.names}
        parameters = {one.name for node in ast.walk(self._tree) for one in getattr(node, "type_params", ())}
        return frozenset(names_of_module(self._tree) | declared | parameters)

    @cached_property
    def _hidden(self) -> bool:
        """Whether the module may have names that the source does not show."""
        return not self._whole or any(self._hints())

    def _hints(self) -> Iterator[bool]:
        yield any(isinstance(one, ast.FunctionDef) and one.name == "__getattr__" for one in self._tree.body)
        for node in ast.walk(self._tree):
            if isinstance(node, ast.ImportFrom):
                yield any(alias.name == "*" for alias in node.names)
            elif isinstance(node, ast.Name):
                yield node.id in _BINDERS
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                # The module as an object, or the names that all modules share.
                yield (node.value.id, node.attr) == ("sys", "modules")
                yield node.value.id == "builtins" and isinstance(node.ctx, ast.Store)
        yield "locals" in names_read_at_top(self._tree)


def names_read_at_top(tree: ast.Module) -> set[str]:
    """The names read by a module's statements outside functions, including those in classes."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += ast.iter_child_nodes(node)
    return found
