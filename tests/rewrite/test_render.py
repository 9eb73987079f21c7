"""A tree as text: by astor, and by `ast.unparse` where astor does not know what the tree holds."""

from __future__ import annotations

import ast
import sys

import pytest

from astcapture.rewrite.render import render

needs_311 = pytest.mark.skipif(sys.version_info < (3, 11), reason="syntax of Python 3.11")
needs_314 = pytest.mark.skipif(sys.version_info < (3, 14), reason="syntax of Python 3.14")
needs_315 = pytest.mark.skipif(sys.version_info < (3, 15), reason="syntax of Python 3.15")
needs_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="syntax of Python 3.12")


@pytest.mark.parametrize(
    "source",
    [
        "match x:\n    case 1:\n        pass\n",
        pytest.param("try:\n    x\nexcept* OSError:\n    pass\n", marks=needs_311),
        pytest.param("type X = int\n", marks=needs_312),
        pytest.param("def f[T]():\n    pass\n", marks=needs_312),
        pytest.param("x = t'{y!r:>{z}}'\n", marks=needs_314),
        pytest.param("lazy import a\n", marks=needs_315),
        pytest.param("lazy from a import b as c\n", marks=needs_315),
        pytest.param("x = {**y for y in z}\n", marks=needs_315),
        pytest.param("class C[*T, **P]:\n    pass\n", marks=needs_312),
    ],
)
def test_what_astor_does_not_know_is_written_by_python(source: str):
    assert render(ast.parse(source)) == source


@pytest.mark.parametrize(
    ("name", "fields"), [("TypeVar", {"name": "T"}), ("TypeVarTuple", {"name": "T"}), ("ParamSpec", {"name": "T"})]
)
@needs_312
def test_a_type_parameter_alone_is_written_by_python(name: str, fields: dict[str, str]):
    node = getattr(ast, name)(**fields)
    assert render(node) == ast.unparse(node) + "\n"


def test_everything_else_is_written_by_astor():
    # astor breaks lines where `ast.unparse` does not.
    assert render(ast.parse("x=" + "+".join(["name"] * 40))).count("\n") > 1
