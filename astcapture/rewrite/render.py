"""Print a syntax tree for people to read."""

from __future__ import annotations

import ast

#: What astor 0.8 does not know, by name because older Pythons lack them too.
_UNKNOWN_TO_ASTOR = frozenset(
    {"Match", "TryStar", "TypeAlias", "TypeVar", "ParamSpec", "TypeVarTuple", "TemplateStr", "Interpolation"}
)


def render(node: ast.AST) -> str:
    """The source of a tree, by astor; by `ast.unparse` where it holds what astor does not know.

    >>> print(render(ast.parse("x=1")), end="")
    x = 1
    """
    if any(type(child).__name__ in _UNKNOWN_TO_ASTOR for child in ast.walk(node)):
        return ast.unparse(node) + "\n"
    import astor  # imported when used: `import astcapture` stays light

    return str(astor.to_source(node))
