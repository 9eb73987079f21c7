"""The plan for a module: the functions to rewrite, and the captures of each."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from astcapture.rewrite.attention import FUSED
from astcapture.rewrite.binds import bindings, own_expressions
from astcapture.rewrite.elsewhere import Moved
from astcapture.rewrite.find import Function, FunctionNode, mentioned, own_statements
from astcapture.rewrite.once import made_once
from astcapture.rewrite.scope import Scope
from astcapture.rewrite.written_calls import written_calls
from astcapture.targets.capture import Capture
from astcapture.targets.target import Target

#: The arguments of `record.recorder.declare`: plain tuples, which can be literals in the code.
Declaration = tuple[Any, ...]


@dataclass
class FunctionPlan:
    """One function of the tree, its scope, and its captures (``*`` resolved, without duplicates)."""

    function: Function
    scope: Scope
    captures: tuple[Capture, ...]
    #: The names that may refer to torch's attention in the module.
    attention_names: frozenset[str] = frozenset()
    #: The number of the notebook's cell that it is in.
    cell: int | None = None
    #: What is edited in it.
    edits: tuple[Capture, ...] = ()
    #: Of the captures at calls, at entry and at a yield: the label, the point, and the lines and source of the calls.
    taken_at: tuple[tuple[str, str, tuple[tuple[int, str], ...]], ...] = field(init=False)
    tells_that_it_starts: bool = field(init=False)

    def __post_init__(self) -> None:
        # Now, since rewriting changes the calls.
        self.taken_at = tuple(self._taken_at())
        self.tells_that_it_starts = self._tells_that_it_starts()

    def _taken_at(self) -> Iterator[tuple[str, str, tuple[tuple[int, str], ...]]]:
        calls = written_calls(self.function.node) if any(one.of_calls for one in self.captures) else []
        for capture in self.captures:
            if capture.of_calls or capture.at in ("enter", "yield"):
                own = [call for call in calls if capture.of_calls and call.is_named(capture.expression)]
                yield capture.label, capture.at, tuple((call.node.lineno, call.source) for call in own)

    def edit_site(self, module: str, capture: Capture, line: int) -> tuple[str | int, ...]:
        """What the registry of edits is told of a place in it; see `record.editing.EditSite`."""
        return (module, self.function.qualname, capture.expression, line, capture.at)

    def site(self, module: str, label: str, line: int | None) -> tuple[str | int | None, ...]:
        """What the recorder is told of a place in it; see `record.events.Site`."""
        site = (module, self.function.qualname, label, line)
        return site if self.cell is None else (*site, self.cell)

    def _tells_that_it_starts(self) -> bool:
        """Whether one execution can record any number of values for a label, so that its start must be recorded."""
        points = {capture.at for capture in self.captures}
        labels = {capture.label for capture in self.captures}
        if points <= {"return"}:
            return False
        return bool(
            points & {"assign", "sdpa", "yield"} or len(labels) < len(self.captures) or self._calls_may_repeat()
        )

    def _calls_may_repeat(self) -> bool:
        """Whether an execution can record several values, or none, of what is taken at calls."""
        captures = [capture for capture in self.captures if capture.of_calls]
        if not captures:
            return False
        calls, once = written_calls(self.function.node), made_once(self.function.node)
        for capture in captures:
            meant = [call.node for call in calls if call.is_named(capture.expression)]
            if len(meant) != 1 or meant[0] not in once:
                return True
        return False

    @cached_property
    def tells_that_it_begins(self) -> bool:
        """Whether it is a generator that is captured at its end, which it may never reach."""
        return any(capture.at == "return" for capture in self.captures) and any(
            isinstance(node, (ast.Yield, ast.YieldFrom)) for _, node in own_expressions(self.function.node, False)
        )

    @cached_property
    def mentioned(self) -> frozenset[str]:
        """The names and attributes in the function as written."""
        return frozenset(mentioned(self.function.node))

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The parameters that may be the module for which the function works, in the order in which they are tried.

        For a method, its first parameter. For a free function, or a method of a class that does not look like an
        ``nn.Module``, every parameter that the function uses like a module. Parameters that the function rebinds or
        deletes are excluded, so that they can always be read, and so are all parameters of ``__init__``, whose module
        is not part of a model yet.
        """
        node = self.function.node
        if node.name in ("__init__", "__new__"):
            return ()
        parameters = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        first = parameters[:1] if self.function.is_method else []
        if not self.function.of_module:
            used = _used_as_modules(node)
            parameters = [name for name in parameters if name in first or name in used or name in _ALWAYS]
        else:
            parameters = first
        changed = {*bindings(node), *self.scope.shared, *_deleted(node)} if parameters else set()
        return tuple(name for name in parameters if name not in changed)


#: Usual names of parameters that are modules.
_ALWAYS = frozenset({"self", "module"})


#: Attributes of tensors and arrays that modules do not have.
_OF_TENSORS = frozenset({"T", "mT", "H", "mH", "shape", "ndim", "dtype", "device"})


def _deleted(function: FunctionNode) -> set[str]:
    return {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)}


def _used_as_modules(function: FunctionNode) -> set[str]:
    """The names that a function reads an attribute of or calls, and never computes with."""
    used: set[ast.expr] = set()
    computed: set[ast.expr] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr not in _OF_TENSORS:
            used.add(node.value)
        elif isinstance(node, ast.Call):
            used.add(node.func)
        elif isinstance(node, ast.BinOp):
            computed.update((node.left, node.right))
        elif isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
            computed.add(node.operand)
        elif isinstance(node, ast.Subscript):
            computed.add(node.value)
    return _names(used) - _names(computed)


def _names(nodes: Iterable[ast.expr]) -> set[str]:
    return {node.id for node in nodes if isinstance(node, ast.Name)}


@dataclass
class Plan:
    """What is rewritten in one module, and what is not.

    Attributes:
        skipped: the functions that a wildcard matched but that do not bind the name, with the name.
        left: the functions that another compiler reads, with their line and the reason why they are not rewritten.
        moved: for each target that the module only imports, where it may be defined.
    """

    module: str
    filename: str
    functions: list[FunctionPlan] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, int, str]] = field(default_factory=list)
    moved: list[tuple[Target, tuple[Moved, ...]]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.functions)

    @property
    def declares(self) -> bool:
        """Whether the module must call `declare` when it runs."""
        return bool(self.functions or self.skipped or self.left or self.moved)

    def declaration(self) -> Declaration:
        """The arguments for `record.recorder.declare`."""
        functions = tuple(
            (one.function.qualname, one.function.node.lineno, _labels(one.captures))
            for one in self.functions
            if one.captures
        )
        fused = tuple(one.function.qualname for one in self.functions if _may_run_fused(one))
        entering = tuple(one.function.qualname for one in self.functions if one.tells_that_it_starts)
        generators = tuple(one.function.qualname for one in self.functions if one.tells_that_it_begins)
        unbound = tuple(unbound for one in self.functions for unbound in _unbound_again(one))
        followed = tuple((target.text, places) for target, places in self.moved)
        beside = (tuple(self.left), followed) if self.left or followed else ()
        taken = tuple((one.function.qualname, *taken) for one in self.functions for taken in one.taken_at)
        edited = tuple(
            (one.function.qualname, edit.expression, edit.at) for one in self.functions for edit in one.edits
        )
        parts: list[Any] = [
            self.module,
            functions,
            tuple(self.skipped),
            fused,
            entering,
            generators,
            unbound,
            beside,
            taken,
        ]
        parts.append(edited)
        while len(parts) > _ALWAYS_DECLARED and not parts[-1]:
            parts.pop()
        return tuple(parts)


#: The module, its functions and the skipped functions are in every declaration.
_ALWAYS_DECLARED = 3


def _unbound_again(planned: FunctionPlan) -> Iterator[tuple[str, str, int]]:
    """The labels of locals that a function deletes, or that a handler binds and unbinds, each with the line."""
    labels = {capture.expression: capture.label for capture in planned.captures if capture.at == "return"}
    for node in own_statements(planned.function.node):
        if isinstance(node, ast.Delete):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            names = [node.name]
        else:
            continue
        for name in names:
            if name in labels:
                line = node.lineno if isinstance(node, ast.Delete) else node.end_lineno or node.lineno
                yield planned.function.qualname, labels[name], line


def _may_run_fused(planned: FunctionPlan) -> bool:
    points = {capture.at for capture in planned.captures}
    return bool(points) and not FUSED.isdisjoint(planned.mentioned) and "sdpa" not in points


def _labels(captures: Iterable[Capture]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(capture.label for capture in captures))
