"""The IPython extension, ``%load_ext astcapture``: the marked functions of notebook cells are rewritten.

A cell is no import, so no finder sees it. IPython hands each cell's tree to the shell's
``ast_transformers`` before it splits the tree into statements. No statement is added there: what
rewritten code calls is put into the shell's namespace, and the functions are declared, from here. So
what a cell displays, awaits and raises is what was written.
"""

from __future__ import annotations

import ast
import atexit
import copy
import linecache
import sys
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import CodeType, FunctionType, ModuleType
from typing import Any

from IPython.core.error import InputRejected

from astcapture.errors import CaptureError
from astcapture.imports import report
from astcapture.imports.compile import matching, with_room
from astcapture.imports.finder import importing_line
from astcapture.imports.hook import finder, install
from astcapture.imports.pairs import paired
from astcapture.imports.patch import Exchange, of_cells, swap
from astcapture.record import recorder
from astcapture.record.live import live_functions
from astcapture.rewrite.find import find_functions
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.planned import Plan
from astcapture.rewrite.transform import CALLED, PREFIX, rewrite_function
from astcapture.targets import marker
from astcapture.targets.target import Target
from astcapture.values import cells
from astcapture.values.record import in_cell
from astcapture.warn import warn


def load_ipython_extension(shell: Any) -> None:
    """Called by ``%load_ext astcapture``: capture the marked functions of cells, and start recording.

    Functions that were defined in cells before have their code exchanged. Loading it again does nothing.
    """
    if _loaded(shell) is None:
        shell.ast_transformers.append(CellTransformer(shell))


def unload_ipython_extension(shell: Any) -> None:
    """Called by ``%unload_ext astcapture``: stop recording, and give the functions of cells their own code back.

    What was captured stays in ``astcapture.cache``.
    """
    transformer = _loaded(shell)
    if transformer is not None:
        shell.ast_transformers.remove(transformer)
        transformer.unload()


def _loaded(shell: Any) -> CellTransformer | None:
    return next((one for one in shell.ast_transformers if isinstance(one, CellTransformer)), None)


class CellError(InputRejected, CaptureError):  # type: ignore[misc]
    """A `CaptureError` that keeps IPython from running the cell; shown in one line, for no frame is to blame."""

    def _render_traceback_(self) -> list[str]:
        return [f"CaptureError: {self}"]


# What a front end is told is the name that users know.
CellError.__name__ = CellError.__qualname__ = "CaptureError"


class CellTransformer:
    """An entry of a shell's ``ast_transformers``, with the hook that it holds installed."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell
        self.module: str = shell.user_module.__name__
        of_cells.add(self.module)
        self.hook = install([self.module])
        # A notebook that marks nothing has nothing to be told of as it ends. Every hook that is
        # installed meanwhile has all targets watched anew, so they are forgotten then.
        atexit.register(report.forget, self.hook.targets)
        self._exchange(captured=True)

    def unload(self) -> None:
        self._exchange(captured=False)
        self.hook.uninstall()
        of_cells.discard(self.module)
        report.forget(self.hook.targets)
        atexit.unregister(report.forget)

    def visit(self, tree: ast.AST) -> ast.AST:
        """The tree of a cell with its captured functions rewritten: the tree itself where there are none.

        Raises:
            CellError: what a marker asks for is wrong, so the cell is not run.
        """
        if not isinstance(tree, ast.Module):
            return tree
        # Not the shell's execution count, which some versions advance before the cell is run and others after.
        number: int = self.shell.displayhook.prompt_count
        cell = in_cell(number)
        try:
            return with_room(lambda: self._rewritten(tree, cell, number))
        except CaptureError as error:
            raise CellError(str(error)) from None
        except Exception as error:
            reason = f"rewriting failed ({type(error).__name__}: {error}); this is a bug in astcapture"
            if finder.strict:
                raise CellError(f"{cell}: {reason}, please report it") from error
            message = f"{cell} runs without capturing: {reason}, please report it"
            warn(message, cell, 1)
            return tree

    def _rewritten(self, tree: ast.Module, cell: str, number: int) -> ast.Module:
        # Most cells define nothing that is captured, and are not copied.
        if not self._plan(tree, cell).functions:
            return tree
        # Rewriting is done in place, and the cell must be there as it was written if it fails.
        tree = copy.deepcopy(tree)
        plan = self._plan(tree, cell)
        _rewrite(plan, number)
        self._declare(plan, number)
        return tree

    def _plan(self, tree: ast.Module, cell: str) -> Plan:
        namespace = ChainMap(self.shell.user_ns, self.shell.user_global_ns)
        known = ast.Module([*_imports_of(namespace), *tree.body], [])
        targets = _applying(matching(finder.targets, self.module), known)
        return plan_module(known, self.module, cell, targets, whole=False)

    def _declare(self, plan: Plan, number: int | None) -> None:
        recorder.declare(*plan.declaration())
        for planned in plan.functions if number is not None else ():
            key = f"{plan.module}:{planned.function.qualname}"
            cells.defined[key] = max(number or 0, cells.defined.get(key, 0))
        for called in CALLED:
            # Builtins have them too; here, a function that is pickled by value finds them and takes them along.
            self.shell.user_global_ns.setdefault(PREFIX + called, getattr(recorder, called))

    def _exchange(self, *, captured: bool) -> None:
        """Have the live functions of the cells that were run run as captured, or as they were written."""
        alive = self._functions_of_cells()
        exchanges = [done for path in alive if (done := self._prepared(path, alive[path], captured)) is not None]
        swap(exchanges)
        for done in exchanges if captured else ():
            number, names = (
                cells.number_of_cell(self.shell, done._path),
                {one.__qualname__ for one in alive[done._path]},
            )
            # A cell that is being run counts as alive itself, before it has defined anything.
            if done.plan is not None and done.swapped:
                self._declare(done.plan, number)
            captures = {planned.function.qualname for planned in done.plan.functions} if done.plan else set()
            for qualname in sorted(captures.intersection(names).difference(done.swapped)):
                cell = self._cell(done._path)
                done.problems.append(f"{qualname} is not as {cell} would define it now: run {cell} again")
            for problem in done.problems:
                warn(f"not captured: {problem}", *importing_line())
                cells.problems.setdefault(number or 0, problem)

    def _functions_of_cells(self) -> dict[str, list[FunctionType]]:
        """The live functions that were defined in cells, by the cell's file name."""
        found: dict[str, list[FunctionType]] = {}
        for function in live_functions():
            if function.__globals__ is self.shell.user_global_ns:
                path = function.__code__.co_filename
                if self._cell(path):
                    found.setdefault(path, []).append(function)
        return found

    def _cell(self, path: str) -> str:
        """What IPython calls a cell in tracebacks, ``In[3]``; nothing for a file that is no cell."""
        name = self.shell.compile.format_code_name(path)
        return name[1] if name else ""

    def _prepared(self, path: str, functions: Sequence[FunctionType], captured: bool) -> Exchange | None:
        """Compile a cell as it was written and as it is captured; None where nothing in it is captured."""
        done = Exchange(self.module, _path=path)
        source = "".join(linecache.getlines(path))
        # A marker may have any name, but it is a decorator.
        if "@" not in source and not any(target.qualname for target in finder.targets):
            return None
        # A front end may use one name for two runs of a cell; the captured code contains the number of its own run.
        numbers: set[int | None] = {number for one in functions for number in _numbers_in(one.__code__)}
        if captured or not numbers:
            numbers = {cells.number_of_cell(self.shell, path)}

        def work() -> None:
            for number in numbers:
                tree = self._parsed(source, path)
                done.plan = self._plan(tree, self._cell(path))
                plain = self._compiled(tree, path)
                _rewrite(done.plan, number)
                rewritten = self._compiled(tree, path)
                pairs = paired(plain, rewritten) if captured else paired(rewritten, plain)
                done._pairs.update({one: other for one, other in pairs if one != other})

        try:
            with warnings.catch_warnings():
                # What the compiler warns of was told when the cell was run.
                warnings.simplefilter("ignore")
                with_room(work)
        except CaptureError as error:
            done.problems.append(str(error))
        except Exception as error:
            reason = f"rewriting failed ({type(error).__name__}: {error}); this is a bug in astcapture"
            done.problems.append(f"{self._cell(path)}: {reason}, please report it")
        return done

    def _parsed(self, source: str, path: str) -> ast.Module:
        tree = self.shell.compile.ast_parse(source, filename=path)
        assert isinstance(tree, ast.Module)
        return tree

    def _compiled(self, tree: ast.Module, path: str) -> CodeType:
        flags = self.shell.compile.flags | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code: CodeType = compile(tree, path, "exec", flags, dont_inherit=True)
        return code


def _rewrite(plan: Plan, number: int | None) -> None:
    for planned in plan.functions:
        planned.cell = number
        rewrite_function(planned, plan.module)


def _numbers_in(code: CodeType) -> Iterator[int]:
    """The cell numbers in rewritten code, from the sites among its constants."""
    waiting: list[Any] = [code]
    while waiting:
        one = waiting.pop()
        if isinstance(one, CodeType):
            waiting += one.co_consts
        elif isinstance(one, tuple):
            if tuple(map(type, one)) == (str, str, str, int, int):
                yield one[4]
            waiting += one


def _imports_of(namespace: Mapping[str, Any]) -> Iterator[ast.stmt]:
    """The imports that would bind the names which stand for our package and its marker after earlier cells."""
    packages = {"astcapture": sys.modules["astcapture"], marker.__name__: marker}
    for name, value in list(namespace.items()):
        if value is marker.capture:
            yield ast.ImportFrom("astcapture", [ast.alias("capture", name)], 0)
        elif isinstance(value, ModuleType):
            for path, package in packages.items():
                if value is package:
                    yield ast.Import([ast.alias(path, name)])


def _applying(targets: Sequence[Target], tree: ast.Module) -> list[Target]:
    """The targets as they apply to one cell: what they name may stand in another one, which is no mistake."""
    qualnames = [function.qualname for function in find_functions(tree)]
    applying = []
    for target in targets:
        if target.qualname is None:
            applying.append(target)
        elif any(map(target.matches_function, qualnames)):
            # With a wildcard for the module, a target need not find what it names.
            applying.append(target if target.exact else replace(target, module=f"{target.module}*"))
    return applying
