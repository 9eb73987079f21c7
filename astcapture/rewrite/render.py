"""Renders a syntax tree as readable source."""

from __future__ import annotations

import ast

#: Node types that astor 0.8 does not know, by name because older Python versions lack them.
_UNKNOWN_TO_ASTOR = frozenset(
    {"Match", "TryStar", "TypeAlias", "TypeVar", "ParamSpec", "TypeVarTuple", "TemplateStr", "Interpolation"}
)


def render(node: ast.AST) -> str:
    """The source of a tree, rendered by astor, or by `ast.unparse` if it has nodes that astor does not know.

    >>> print(render(ast.parse("x=1")), end="")
    x = 1
    """
    if any(_is_unknown_to_astor(child) for child in ast.walk(node)):
        return ast.unparse(node) + "\n"
    import astor  # imported when used: `import astcapture` stays light

    return str(astor.to_source(node))


def _is_unknown_to_astor(node: ast.AST) -> bool:
    # Of Python 3.15 it would leave out the ``lazy`` of an import, and the stars of ``{**one for one in many}``.
    return (
        type(node).__name__ in _UNKNOWN_TO_ASTOR
        or bool(getattr(node, "is_lazy", False))
        or (isinstance(node, ast.DictComp) and node.value is None)
    )
