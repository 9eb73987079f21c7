"""Give captured code to single functions that no loader created, from `exec` or a hot reload.

The file is compiled twice, as written and rewritten. A function that runs the code as written gets the rewritten code.
"""

from __future__ import annotations

import ast
import os
import textwrap
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from types import CodeType, FunctionType, ModuleType
from typing import Any

from astcapture.imports.outdated import ran_in
from astcapture.imports.pairs import paired
from astcapture.imports.patch import compiled_for, give, late
from astcapture.imports.quiet import parsed_quietly, quietly
from astcapture.imports.unwrap import functions_in, is_rewritten
from astcapture.record import recorder
from astcapture.rewrite.find import FunctionNode, find_functions
from astcapture.rewrite.planned import FunctionPlan, Plan
from astcapture.targets.target import Target

_State = tuple[int, int]


@dataclass
class _File:
    """A source file in one state.

    `plan` says what is rewritten, `pairs` maps the code as written to the rewritten code, and `written` has the
    functions as written, by qualname and line.
    """

    state: _State
    plan: Plan
    pairs: dict[CodeType, CodeType]
    written: dict[tuple[str, int], FunctionNode]


_files: dict[tuple[str, str, tuple[Target, ...]], _File] = {}


def state_of(path: str) -> _State | None:
    """A value that changes when the file is edited; None if there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def catch_up(
    functions: Sequence[FunctionType],
    path: str,
    name: str,
    names: Sequence[str],
    targets: tuple[Target, ...],
    module: ModuleType | None,
) -> bool:
    """Give functions of a file the code that `targets` ask for; False if none of them is captured.

    Args:
        functions: functions that may run code of the file.
        path: the file.
        name: its module name in keys.
        names: all names by which targets may name it.
        targets: what is captured in it.
        module: the module that the file was run as, if any.

    Raises:
        CaptureError: a target or a marker names something that cannot be captured.
    """
    file = _read(path, name, targets)
    done = False
    for function in functions if file is not None else ():
        planned = _planned(function, file) if file is not None else None
        if file is None or planned is None:
            continue
        give(function, planned[1])
        _declare(file.plan, planned[0])
        done = True
    if done:
        ran_in(path, name, names, targets, module)
    return done


def catch_up_module(module: ModuleType, path: str, name: str, targets: tuple[Target, ...]) -> None:
    """Give captured code to the functions of a module that have none, after its file has changed."""
    file = _read(path, name, targets)
    for planned in file.plan.functions if file is not None else ():
        plain = [one for one in functions_in(named_in(module, planned.function.qualname)) if not is_rewritten(one)]
        catch_up(plain, path, name, (name,), targets, module)


def named_in(module: ModuleType, qualname: str) -> object:
    """The object that a qualname names in a module, read without running descriptors."""
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return found


def _read(path: str, name: str, targets: tuple[Target, ...]) -> _File | None:
    state = state_of(path)
    known = _files.get((path, name, targets))
    if state is None or (known is not None and known.state == state):
        return known if state is not None else None
    with open(path, "rb") as source:
        text = source.read()
    try:
        old, _ = compiled_for(text, path, name, ())
        new, plan = compiled_for(text, path, name, targets)
    except SyntaxError:
        return None
    assert plan is not None
    for planned in plan.functions:
        where = f"{path}:{planned.function.node.lineno}"
        late.setdefault(f"{name}:{planned.function.qualname}", (where, "its file was run, not imported"))
    tree = parsed_quietly(text, path)
    assert tree is not None
    written = {(one.qualname, one.node.lineno): one.node for one in find_functions(tree)}
    file = _files[path, name, targets] = _File(state, plan, dict(paired(old, new)), written)
    return file


def _planned(function: FunctionType, file: _File) -> tuple[FunctionPlan, CodeType] | None:
    """The plan of a function and its new code; None if it is not from the file, or not captured."""
    code = function.__code__
    for planned in file.plan.functions:
        if planned.function.node.name != code.co_name:
            continue
        for old, new in file.pairs.items():
            if not _stands_at(old, planned):
                continue
            if old == code or any(_same(one, code) for one in _variants(old, planned, file)):
                return planned, new
    return None


def _stands_at(code: CodeType, planned: FunctionPlan) -> bool:
    node = planned.function.node
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return (code.co_name, code.co_firstlineno) == (node.name, first)


def _variants(old: CodeType, planned: FunctionPlan, file: _File) -> Iterator[CodeType]:
    """The code of a function when it is compiled alone: as in the file, and printed again on other lines."""
    yield old
    qualname = planned.function.qualname
    node = copy(file.written[qualname, planned.function.node.lineno])
    node.decorator_list = []
    text = textwrap.dedent(ast.unparse(node))
    if "." in qualname.rpartition("<locals>.")[2]:
        text = "class __autoreload_class__:\n" + textwrap.indent(text, "    ")
    code: CodeType = quietly(lambda: compile(text, old.co_filename, "exec", dont_inherit=True))
    yield from _of_name(code, old.co_name)


def _of_name(code: CodeType, name: str) -> Iterator[CodeType]:
    stack = [code]
    while stack:
        one = stack.pop()
        if one.co_name == name:
            yield one
        stack += [constant for constant in one.co_consts if isinstance(constant, CodeType)]


def _same(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects do the same, apart from line numbers."""
    names = ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount", "co_kwonlyargcount")
    if any(getattr(one, name) != getattr(other, name) for name in names):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _same(mine, theirs)
        if isinstance(mine, CodeType) and isinstance(theirs, CodeType)
        else type(mine) is type(theirs) and mine == theirs
        for mine, theirs in zip(one.co_consts, other.co_consts, strict=True)
    )


def _declare(plan: Plan, planned: FunctionPlan) -> None:
    late.pop(f"{plan.module}:{planned.function.qualname}", None)
    recorder.declare(*replace(plan, functions=[planned], left=[], moved=[]).declaration())
