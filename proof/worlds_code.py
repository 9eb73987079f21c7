"""Other people's code, rewritten with every local captured: it compiles, and to the code objects of a plain compile.

    python proof/worlds_code.py run RESULTS.jsonl FOLDER...          # goes on where it stopped
    python proof/worlds_code.py run --at assign RESULTS.jsonl FOLDER...
    python proof/worlds_code.py report RESULTS.jsonl...

Nothing is imported and nothing is run: files are read, compiled plainly, rewritten and compiled. What is compared:

- every code object: its name and qualified name, its parameters of each kind, flags, locals, free and cell
  variables, docstring, first line, the set of lines that it has instructions on (on Python 3.11 their order
  too), and the code objects inside it;
- those of which nothing is captured (class bodies, lambdas, comprehensions, functions without locals): every
  instruction with its argument and its line; hence the defaults, annotations, decorators and bases that
  stand in them. Module bodies too, apart from the import and the declaration at their head;
- in captured functions, where they hold functions and classes: the instructions that make those, in order.
"""

from __future__ import annotations

import argparse
import ast
import dis
import hashlib
import inspect
import json
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

from astcapture.imports.compile import compile_tree, with_room
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.planned import Plan
from astcapture.rewrite.transform import PREFIX, rewrite
from astcapture.targets.target import parse_targets

CAPTURES = {
    "return": "*",
    "assign": "*@assign",
    "both": "*,*@assign",
    "call": "*@call",
    "input": "*@input",
    "points": "*@call,*@input,*@enter,*@yield,*",
}
#: Instructions that hold no more than the length of the tables does.
FILLERS = frozenset({"EXTENDED_ARG", "CACHE", "NOP"})
JUMPS = frozenset(dis.hasjrel) | frozenset(dis.hasjabs)
Difference = str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run_ = commands.add_parser("run", help="compare the files of some folders")
    run_.add_argument("results", type=Path)
    run_.add_argument("folders", type=Path, nargs="+")
    run_.add_argument("--at", choices=list(CAPTURES), default="return")
    report_ = commands.add_parser("report", help="print what was measured")
    report_.add_argument("results", type=Path, nargs="+")
    options = parser.parse_args()
    if options.command == "run":
        run(options.results, options.folders, options.at)
    for path in [options.results] if options.command == "run" else options.results:
        report(path)


def run(results: Path, folders: list[Path], at: str) -> None:
    """Compare every file below the folders, unless it or its text is in the results, and add it there."""
    known = list(read(results))
    done, texts = {one["path"] for one in known}, {one.get("text") for one in known}
    began = time.monotonic()
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a", encoding="utf-8") as file:
        for folder in folders:
            for path in sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]:
                if str(path) in done or not path.is_file():
                    continue
                source = path.read_bytes()
                text = hashlib.sha256(source).hexdigest()[:16]
                if text in texts:
                    continue
                texts.add(text)
                outcome = compare_source(source, str(path), at)
                group = path.relative_to(folder).parts[0] if folder.is_dir() else path.name
                where = {"path": str(path), "text": text, "root": str(folder), "group": group}
                file.write(json.dumps({**where, **outcome}) + "\n")
                file.flush()
                for one in outcome["differences"][:3]:
                    print(f"{path}: {one}", flush=True)
    print(f"{time.monotonic() - began:.0f} s")


def read(results: Path) -> Iterator[dict[str, Any]]:
    if results.exists():
        with results.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def report(results: Path) -> None:
    """A table: files, functions and what differs, for each root and in all."""
    rows: dict[str, list[int]] = {}
    kinds: dict[str, int] = {}
    for one in read(results):
        for name in (one["root"], "in all"):
            row = rows.setdefault(name, [0, 0, 0, 0, 0])
            row[0] += one["status"] == "compared"
            row[1] += one["functions"]
            row[2] += one["captured"]
            row[3] += one["status"] == "not compiled plainly"
            row[4] += bool(one["differences"])
        for difference in one["differences"]:
            kind = difference.partition(": ")[2].partition(":")[0]
            kinds[kind] = kinds.get(kind, 0) + 1
    width = max(map(len, rows), default=0)
    print(f"{results.name}, Python {sys.version.split()[0]}")
    print(f"{'':{width}}  {'files':>8} {'functions':>10} {'rewritten':>10} {'skipped':>8} {'differ':>8}")
    for name, row in sorted(rows.items(), key=lambda item: item[0] == "in all"):
        print(f"{name:{width}}  {row[0]:>8} {row[1]:>10} {row[2]:>10} {row[3]:>8} {row[4]:>8}")
    for kind, count in sorted(kinds.items(), key=lambda item: -item[1]):
        print(f"  {count} × {kind}")


def compare_source(source: bytes, path: str, at: str) -> dict[str, Any]:
    """Compile a source plainly and rewritten, and list how the two differ.

    Returns:
        status: ``compared``, or ``not compiled plainly``.
        functions: how many it defines; captured: how many of them were rewritten.
        differences: one line each, ``where: what: plain, rewritten``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            plain = compile(source, path, "exec", dont_inherit=True)
        except Exception as error:
            return _outcome("not compiled plainly", [], reason=f"{type(error).__name__}: {error}"[:200])
        defined = sum(1 for code in _all_codes(plain) if _is_function(code))
        if not defined:
            return _outcome("compared", [])
        try:
            rewritten, plan = with_room(lambda: _rewritten(source, path, at))
        except Exception as error:
            return _outcome("compared", [f"<module>: does not compile: {type(error).__name__}: {error}"], defined)
        differences = [
            f"{where}: {what}" for where, what in with_room(lambda: list(compare_codes(plain, rewritten, plan)))
        ]
        return _outcome("compared", differences, defined, len(plan.functions))


def _outcome(status: str, differences: list[str], functions: int = 0, captured: int = 0, **more: str) -> dict[str, Any]:
    return {"status": status, "functions": functions, "captured": captured, "differences": differences, **more}


def _rewritten(source: bytes, path: str, at: str) -> tuple[CodeType, Plan]:
    tree = ast.parse(source, path)
    # A module whose functions all lack locals has nothing to capture, which a target that names it may not.
    plan = plan_module(tree, "m", path, parse_targets(f"[m]:*={CAPTURES[at]}"))
    return compile_tree(rewrite(tree, plan), path), plan


def compare_codes(plain: CodeType, rewritten: CodeType, plan: Plan) -> Iterator[tuple[str, str]]:
    """The differences between two code objects and all those inside them: where, and what."""
    at_assign = any(capture.at == "assign" for one in plan.functions for capture in one.captures)
    at_calls = any(capture.of_calls for one in plan.functions for capture in one.captures)
    # By name and line, as code objects have no more; the line of a decorated function is its first decorator's.
    captured = {
        (one.function.node.name, min([one.function.node.lineno, *(d.lineno for d in one.function.node.decorator_list)]))
        for one in plan.functions
    }
    stack = [(plain, rewritten, "<module>")]
    while stack:
        one, other, where = stack.pop()
        for name in _ATTRIBUTES:
            if getattr(one, name) != getattr(other, name):
                yield where, f"{name}: {getattr(one, name)}, {getattr(other, name)}"
        if one.co_varnames != other.co_varnames:
            yield where, f"co_varnames: {one.co_varnames}, {other.co_varnames}"
        if _docstring(one) != _docstring(other):
            yield where, f"docstring: {_docstring(one)!r}, {_docstring(other)!r}"
        if _lines(one) != _lines(other):
            gone, new = sorted(_lines(one) - _lines(other)), sorted(_lines(other) - _lines(one))
            yield where, f"lines: missing {gone}, added {new}"
        elif _KEEPS_THE_ORDER and _order(one) != _order(other):
            yield where, f"order of lines: {_first_difference(_order(one), _order(other))}"
        is_captured = (one.co_name, one.co_firstlineno) in captured and _is_function(one)
        if is_captured:
            made, made_rewritten = _definitions(one), _definitions(other)
            if at_calls:
                # From 3.14 on, any(… for …) and its like are compiled twice, as a loop and as a call; captured, once.
                made, made_rewritten = list(dict.fromkeys(made)), list(dict.fromkeys(made_rewritten))
            if made != made_rewritten:
                yield where, f"definitions: {_first_difference(made, made_rewritten)}"
        else:
            if at_assign and _binds_outside(one):
                continue  # a walrus in a comprehension binds in the function, and is recorded where it does
            if at_calls and one.co_name in _COMPREHENSIONS:
                continue  # its calls are the function's
            # Only a module is given something to do, at its start.
            mine, theirs = _instructions(one), _instructions(other)
            if where == "<module>" and plan:
                theirs = _without_head(theirs)
            if mine != theirs:
                yield where, f"instructions: {_first_difference(mine, theirs)}"
        inside, inside_rewritten = _nested(one), _nested(other)
        pairs = list(_side_by_side(inside, inside_rewritten))
        # Python drops the code of a ``def`` that is never reached where no constant comes after it.
        if len(inside) != len(pairs):
            yield where, f"code objects inside: {len(inside)}, {len(inside_rewritten)}"
        stack += [(a, b, f"{where}.{a.co_name}:{a.co_firstlineno}") for a, b in pairs]


_ATTRIBUTES = [
    "co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_freevars", "co_cellvars",
    "co_firstlineno", "co_filename", *(["co_qualname"] if sys.version_info >= (3, 11) else []),
]  # fmt: skip


def _all_codes(code: CodeType) -> Iterator[CodeType]:
    stack = [code]
    while stack:
        one = stack.pop()
        yield one
        stack += _nested(one)


def _nested(code: CodeType) -> list[CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, CodeType)]


def _side_by_side(plain: list[CodeType], rewritten: list[CodeType]) -> Iterator[tuple[CodeType, CodeType]]:
    rest = list(rewritten)
    for one in plain:
        while rest and (rest[0].co_name, rest[0].co_firstlineno) != (one.co_name, one.co_firstlineno):
            rest.pop(0)
        if rest:
            yield one, rest.pop(0)


def _is_function(code: CodeType) -> bool:
    """Whether a code object is that of a ``def``: lambdas and comprehensions have names in brackets."""
    return bool(code.co_flags & inspect.CO_NEWLOCALS and code.co_flags & inspect.CO_OPTIMIZED) and not (
        code.co_name.startswith("<")
    )


def _docstring(code: CodeType) -> Any:
    if not _is_function(code) or not code.co_consts:
        return None
    has = getattr(inspect, "CO_HAS_DOCSTRING", 0)
    first = code.co_consts[0]
    return first if isinstance(first, str) and (not has or code.co_flags & has) else None


_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


def _binds_outside(code: CodeType) -> bool:
    """Whether a comprehension binds a name of the function around it."""
    return code.co_name in _COMPREHENSIONS and any(
        one.opname in ("STORE_DEREF", "STORE_GLOBAL") for one in dis.get_instructions(code)
    )


def _lines(code: CodeType) -> set[int]:
    return {line for _, _, line in code.co_lines() if line is not None}


# Other versions move and copy blocks as they see fit, so that the order of instructions tells nothing of a run.
_KEEPS_THE_ORDER = sys.version_info[:2] == (3, 11)


def _order(code: CodeType) -> list[int]:
    """The lines in the order in which the instructions come to them for the first time."""
    return list(dict.fromkeys(line for _, _, line in code.co_lines() if line is not None))


Instruction = tuple[str, Any, Any]


def _instructions(code: CodeType) -> list[Instruction]:
    """Name, argument and line of each instruction; a jump's argument is the number of its target."""
    listed = [one for one in dis.get_instructions(code) if one.opname not in FILLERS]
    numbers: dict[int, int] = {}
    number = 0
    for one in dis.get_instructions(code):
        numbers[one.offset] = number
        number += one.opname not in FILLERS
    line = None
    found: list[Instruction] = []
    lines = _lines_of_offsets(code)
    for position, one in enumerate(listed):
        line = lines.get(one.offset, line)
        argument: Any = one.argval
        if one.opcode in JUMPS:
            argument = numbers.get(one.argval, "end") - position if one.argval in numbers else "end"
        elif isinstance(argument, CodeType):
            argument = f"<code {argument.co_name}:{argument.co_firstlineno}>"
        else:
            # 0 is 0.0 and False for ==, and frozensets have no order.
            argument = sorted(map(repr, argument)) if isinstance(argument, frozenset) else repr(argument)
        found.append((one.opname, argument, line))
    return found


def _lines_of_offsets(code: CodeType) -> dict[int, int | None]:
    return {offset: line for start, end, line in code.co_lines() for offset in range(start, end, 2)}


def _without_head(listed: list[Instruction]) -> list[Instruction]:
    """The instructions of a module without the import of the recorder's functions and the declaration."""
    start = end = None
    for index, (name, argument, _) in enumerate(listed):
        if name == "IMPORT_NAME" and argument == repr("astcapture.record.recorder"):
            start = index - 2  # its level and its names
        if start is not None and name == "POP_TOP" and _calls_declare(listed[start:index]):
            end = index + 1
            break
    if start is None or end is None:
        return listed
    return listed[:start] + listed[end:]


def _calls_declare(listed: list[Instruction]) -> bool:
    names = [argument for name, argument, _ in listed if name in ("LOAD_NAME", "LOAD_GLOBAL")]
    calls = [name for name, _, _ in listed if name.startswith("CALL")]
    return repr(PREFIX + "declare") in names and bool(calls)


#: What stands between the parts of a ``def`` or ``class``: from its code object on, which comes last.
_MAKING = frozenset({"MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE", "LOAD_BUILD_CLASS"})


def _definitions(code: CodeType) -> list[Instruction]:
    """The instructions of a captured function that make functions and classes."""
    found: list[Instruction] = []
    listed = _instructions(code)
    for index, (name, argument, line) in enumerate(listed):
        if name in _MAKING:
            found.append((name, argument, line))
            if name == "MAKE_FUNCTION" and index:
                found.append((*listed[index - 1][:2], line))
    return found


def _first_difference(one: Sequence[object], other: Sequence[object]) -> str:
    for index, (a, b) in enumerate(zip(one, other)):  # noqa: B905
        if a != b:
            return f"at {index} of {len(one)} and {len(other)}: {a}, {b}"
    return f"{len(one)} and {len(other)}"


if __name__ == "__main__":
    main()
