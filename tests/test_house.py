"""The package is built in one direction: no module imports, at any time, from one that imports from it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import astcapture

ROOT = Path(astcapture.__file__).parent


def modules() -> dict[str, Path]:
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = ("astcapture", *path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_by(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Modules of the package that a file imports, inside of functions too; what is there for type checkers excepted."""
    stack: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        stack.extend(ast.iter_child_nodes(node))


def graph(known: dict[str, Path]) -> dict[str, set[str]]:
    # The package itself hands out names when they are asked for.
    return {
        name: {one for one in imported_by(path, known) if one in known and one not in (name, "astcapture")}
        for name, path in known.items()
    }


def test_no_module_imports_from_one_that_imports_from_it() -> None:
    known = modules()
    assert len(known) > 150
    order = [*TopologicalSorter(graph(known)).static_order()]
    assert order.index("astcapture.record.recorder") > order.index("astcapture.record.torch.traced")


def test_a_circle_would_be_noticed(tmp_path: Path) -> None:
    for name, other in (("one", "other"), ("other", "one")):
        (tmp_path / f"{name}.py").write_text(f"def f():\n    from pack.{other} import g\n")
    known = {f"pack.{name}": tmp_path / f"{name}.py" for name in ("one", "other")}
    with pytest.raises(CycleError, match="nodes are in a cycle"):
        TopologicalSorter(graph(known)).prepare()


@pytest.mark.parametrize("folder", ["rewrite", "targets"])
def test_the_rewriter_and_the_targets_know_nothing_of_what_runs(folder: str) -> None:
    known = modules()
    for name, others in graph(known).items():
        if name.startswith(f"astcapture.{folder}"):
            below = ("astcapture.targets", "astcapture.errors", "astcapture.warn", f"astcapture.{folder}")
            assert all(other.startswith(below) for other in others), name


def private_names_of_others(path: Path, known: dict[str, Path]) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    others: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("astcapture"):
            for alias in node.names:
                if f"{node.module}.{alias.name}" in known:
                    others[alias.asname or alias.name] = alias.name
                elif alias.name.startswith("_") and not alias.name.startswith("__"):
                    yield f"{path.name}:{node.lineno}: {alias.name}"
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in others
            and node.attr.startswith("_")
            and not node.attr.startswith("__")
        ):
            yield f"{path.name}:{node.lineno}: {node.value.id}.{node.attr}"


def test_no_module_reaches_for_a_private_name_of_another() -> None:
    known = modules()
    assert [one for path in known.values() for one in private_names_of_others(path, known)] == []


def test_a_file_that_is_long_says_why() -> None:
    for path in modules().values():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > 350:
            assert "one file" in (ast.get_docstring(ast.parse(text)) or ""), path
