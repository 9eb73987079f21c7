"""A notebook's cells: which of them mark functions, why these are not captured, and which cell values are from."""

from __future__ import annotations

import ast
import linecache
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from astcapture.record import events
from astcapture.record.live import live_functions
from astcapture.values.record import Record, in_cell

LOAD = "%load_ext astcapture"
#: The cell that defined each captured function last, by key.
defined: dict[str, int] = {}
#: Why no function of a cell could be captured as the extension was loaded, by the number of the cell.
problems: dict[int, str] = {}
_TRANSFORMER = "astcapture.imports.notebook"


@dataclass(frozen=True)
class InCell:
    """A function that a cell defined and that is alive.

    Attributes:
        number: of the cell; None where IPython does not say.
        marked: whether the marker is on it.
    """

    key: str
    number: int | None
    marked: bool

    @property
    def qualname(self) -> str:
        return self.key.partition(":")[2]

    @property
    def cell(self) -> str:
        return "a cell" if self.number is None else in_cell(self.number)


def running_shell() -> Any:
    """The IPython that runs this program; None where none does."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get_shell() if get_shell is not None else None


def number_of_cell(shell: Any, path: str) -> int | None:
    """The number of the cell that IPython compiled under this name; None for a file that is no cell."""
    name = shell.compile.format_code_name(path)
    found = re.search(r"\d+", name[1]) if name else None
    return int(found[0]) if found else None


def why_not_captured(name: str | None, captured: Collection[str]) -> str | None:
    """In a notebook, why a function is not captured, and what to do; None where the cells have nothing to do with it.

    Args:
        name: the key or qualname that is asked for; None for any function.
        captured: the keys that are captured.
    """
    shell = running_shell()
    if shell is None:
        return None
    functions = {one.key: one for one in _functions(shell)}
    named = [one for one in functions.values() if name in (one.key, one.qualname)]
    missing = [one for one in functions.values() if one.marked and one.key not in captured]
    # Where nothing is captured at all, what is wrong with any function is what is wrong with this one.
    asked = [one for one in missing if one in named] or ([] if captured and name else missing)
    loaded = any(type(one).__module__ == _TRANSFORMER for one in shell.ast_transformers)
    if named and not any(one.marked for one in named):
        load = "" if loaded else f"run {LOAD}, "
        return f"{named[-1].cell} defines it without a marker: {load}put @capture(...) on it and run the cell again"
    if asked and not loaded:
        listed = _listed([f"{one.qualname} in {one.cell}" for one in asked])
        return f"@capture marks {listed}, but notebook cells are captured only after {LOAD}: run it, then call again"
    if asked:
        one = asked[-1]
        reason = problems.get(one.number or 0) or events.left_alone.get(one.key)
        return reason or _run_again(one, name)
    if loaded and not captured:
        return (
            "no function of a notebook cell is marked with @capture(...), and no module is captured: "
            'astcapture.install(["MODULE"]) captures one'
        )
    return None


def _run_again(one: InCell, name: str | None) -> str:
    it = "it" if name in (one.key, one.qualname) else one.qualname
    return f"{one.cell} defined {it} before the extension was loaded: run the cell again"


def _listed(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _functions(shell: Any) -> Iterator[InCell]:
    """The live functions that cells defined, in the order of the cells; of one that was defined again, the last."""
    found = []
    marked: dict[str, set[int]] = {}
    for function in live_functions():
        path = function.__code__.co_filename
        if function.__globals__ is shell.user_global_ns and shell.compile.format_code_name(path):
            if path not in marked:
                marked[path] = _marked_lines(shell, path)
            line = function.__code__.co_firstlineno
            key = f"{function.__module__}:{function.__qualname__}"
            found.append((number_of_cell(shell, path), line, key, line in marked[path]))
    for number, _, key, is_marked in sorted(found, key=lambda one: (one[0] or 0, one[1])):
        yield InCell(key, number, is_marked)


def _marked_lines(shell: Any, path: str) -> set[int]:
    """The first lines of the functions of a cell that our marker is on; a decorated function starts with those."""
    try:
        tree = ast.parse("".join(linecache.getlines(path)))
    except SyntaxError:
        return set()
    return {
        node.decorator_list[0].lineno
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and any(_is_marker(one, shell.user_ns) for one in node.decorator_list)
    }


def _is_marker(decorator: ast.expr, names: Any) -> bool:
    """Whether a decorator is a call of our marker, by whatever name the notebook knows it."""
    if not isinstance(decorator, ast.Call):
        return False
    function, path = decorator.func, []
    while isinstance(function, ast.Attribute):
        path.append(function.attr)
        function = function.value
    found = names.get(function.id) if isinstance(function, ast.Name) else None
    package = sys.modules["astcapture"]
    if path and getattr(found, "__name__", None) not in (package.__name__, "astcapture.targets.marker"):
        return False
    for name in reversed(path):
        found = getattr(found, name, None)
    return found is vars(package)["capture"]


class Mixed(NamedTuple):
    """Values that a function left before a cell defined it again.

    Attributes:
        newest: the cell that defined it last.
        has_new: whether there are values from after that too.
        text: what the user is to know of it.
    """

    key: str
    newest: int
    has_new: bool
    text: str


def mixed(records: Iterable[Record]) -> Mixed | None:
    """Of values of functions that cells defined: those from before a function was defined again; None without such."""
    counts: dict[str, Counter[int]] = {}
    for record in records:
        if record.cell is not None:
            counts.setdefault(record.key, Counter())[record.cell] += 1
    for key, cells in counts.items():
        newest = max(*cells, defined.get(key, 0))
        if list(cells) != [newest]:
            return Mixed(key, newest, newest in cells, _in_words(key.partition(":")[2], cells, newest))
    return None


def _in_words(name: str, cells: Counter[int], newest: int) -> str:
    total = sum(cells.values())
    values = "the one value here is" if total == 1 else f"all {total:,} values here are"
    again = f"{in_cell(newest)} defined {name} again"
    if newest not in cells:
        where = _listed([in_cell(number) for number in sorted(cells)])
        return f"{again}, but {values} from {where}: objects made before run the old code, so create them again"
    listed = _listed([f"{count:,} from {in_cell(number)}" for number, count in sorted(cells.items())])
    return (
        f"{again}, and older values are still here: {listed}. select(cell={newest}) gives the new ones; "
        "astcapture.cache.clear() removes all"
    )
