"""What happens at a graph break to locals that only a capture reads, and that must not be created again.

At a break, torch.compile keeps each local that the rest of the function reads, and a capture at the return reads its
names. Most values are simply kept. A context manager, an iterator or a generator is created anew, which changes the
program: ``torch.no_grad()`` becomes a call that switches gradients off, an iterator may make the rest of the function
run uncompiled. So such a value is replaced by a `LeftBehind`, which is counted with its reason, unless the program
reads it itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from astcapture.record.containers import DEPTH
from astcapture.record.events import declared
from astcapture.record.torch.carried import is_lazy, named, type_of
from astcapture.record.torch.resumed import LeftBehind

#: The module of the compiler that follows a function.
HOME = "torch._dynamo.symbolic_convert"
#: How rewritten code names the functions of the recorder. Also in `rewrite.nodes`, which this folder does not import.
_PREFIX = "_@"
#: Classes by which the compiler knows what it would create anew.
_CREATED_ANEW = frozenset(
    {
        "ContextWrappingVariable",
        "GenericContextWrappingVariable",
        "IteratorVariable",
        "LocalGeneratorObjectVariable",
    }
)


def watch() -> None:
    """Have the compiler ask at each graph break, if it is imported, and known to us: torch 2.6 and later."""
    home = getattr(sys.modules.get(HOME), "InstructionTranslatorBase", None)
    prune = getattr(home, "prune_dead_locals", None)
    if home is None or prune is None or hasattr(prune, "astcapture_original"):
        return
    base = sys.modules.get("torch._dynamo.variables.base")
    if not hasattr(getattr(base, "VariableTracker", None), "build"):
        return

    def prune_dead_locals(tracer: Any) -> None:
        prune(tracer)
        if any(name.startswith(_PREFIX) for name in tracer.f_code.co_names):
            _leave_behind(tracer)

    prune_dead_locals.astcapture_original = prune  # type: ignore[attr-defined]
    home.prune_dead_locals = prune_dead_locals


def _leave_behind(tracer: Any) -> None:
    """Replace what only a capture reads, among the locals that are kept. Run by the compiler."""
    for name, variable in tracer.symbolic_locals.items():
        what = _created_anew(variable)
        if what is not None and not _is_read(name, tracer.instructions, tracer.current_instruction):
            tracer.symbolic_locals[name] = _stand_in(tracer, what)


def _created_anew(variable: Any, depth: int = DEPTH) -> str | None:
    """What a value is, if it is or contains something that would be created anew."""
    if is_lazy(variable) or variable.source is not None:
        return None  # an argument of the compiled function, which is only passed on
    if any(base.__name__ in _CREATED_ANEW for base in type(variable).__mro__):
        return named(type_of(variable))
    for one in _inside(variable) if depth > 0 else ():
        inner = _created_anew(one, depth - 1)
        if inner is not None:
            return f"{named(type_of(variable))} with {inner} in it"
    return None


def _inside(variable: Any) -> list[Any]:
    """The values in a list, tuple or dict, also in one of a class of its own."""
    if not type(variable).__name__.endswith(("TupleVariable", "ListVariable", "DictVariable")):
        return []
    items = getattr(getattr(variable, "_base_vt", None) or variable, "items", None)
    return [*items.values()] if isinstance(items, dict) else [*items] if isinstance(items, (list, tuple)) else []


def _stand_in(tracer: Any, what: str) -> Any:
    from torch._dynamo.source import GlobalSource
    from torch._dynamo.variables.base import VariableTracker

    one = LeftBehind.of(what)
    # Named by what it is: another compilation finds the same one.
    name = tracer.output.install_global_by_id("astcapture_left_behind", one)
    return VariableTracker.build(tracer, one, GlobalSource(name))


def _is_read(name: str, instructions: list[Any], first: Any) -> bool:
    """Whether the program itself may read a local from an instruction on, before it binds it anew."""
    position = {id(one): index for index, one in enumerate(instructions)}
    ours = set(_reads_of_captures(instructions))
    seen: set[int] = set()
    waiting = [position[id(first)]]
    while waiting:
        index = waiting.pop()
        while index < len(instructions) and index not in seen:
            seen.add(index)
            one = instructions[index]
            if one.exn_tab_entry:
                waiting.append(position[id(one.exn_tab_entry.target)])
            if name in _locals_of(one) and index not in ours:
                if "STORE" not in one.opname:
                    return True
                break
            if one.target is not None:
                waiting.append(position[id(one.target)])
            if one.opname.startswith(_LEAVES):
                break
            index += 1
    return False


#: Beginnings of the names of instructions after which the next one does not run.
_LEAVES = ("RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD", "JUMP_ABSOLUTE")
_OF_LOCALS = ("LOAD_FAST", "STORE_FAST", "DELETE_FAST", "LOAD_DEREF", "STORE_DEREF", "DELETE_DEREF", "LOAD_CLOSURE")


def _locals_of(instruction: Any) -> tuple[str, ...]:
    if not instruction.opname.startswith(_OF_LOCALS):
        return ()
    names = instruction.argval
    return names if isinstance(names, tuple) else (names,)


def _reads_of_captures(instructions: list[Any]) -> Iterator[int]:
    """The instructions that read a local for the recorder alone: those between a site and the call that takes it."""
    after_site = False
    for index, one in enumerate(instructions):
        if one.opname == "LOAD_CONST" and _is_site(one.argval):
            after_site = True
        elif one.opname.startswith("CALL") and after_site:
            after_site = False
        elif after_site:
            yield index


def _is_site(value: Any) -> bool:
    """Whether a constant says what is recorded: its module, its function, its label and its line, or lines."""
    if type(value) is not tuple or [*map(type, value[:4])] != [str, str, str, int]:
        return False
    return any(one.module == value[0] for one in declared)
