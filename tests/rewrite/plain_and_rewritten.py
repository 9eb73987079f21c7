"""Run source as it was written and rewritten, each in a namespace of its own, and look at all that can be seen."""

from __future__ import annotations

import ast
import contextlib
import dis
import io
import itertools
import linecache
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from astcapture.record import switch
from astcapture.record.events import events as waiting
from astcapture.rewrite.plan import plan_module
from astcapture.rewrite.render import render
from astcapture.rewrite.transform import rewrite
from astcapture.targets.target import parse_targets
from astcapture.values.cache import Cache, recording

MODULE = "m"
_numbers = itertools.count()
_RETURNS = {"RETURN_VALUE", "RETURN_CONST", "RETURN_GENERATOR"}


@dataclass
class Run:
    """What one run of a program showed."""

    result: Any = None
    error: BaseException | None = None
    traceback: str = ""
    printed: str = ""
    warned: list[str] = field(default_factory=list)
    captured: list[tuple[str, Any]] = field(default_factory=list)
    missed: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str | None] = field(default_factory=dict)

    @property
    def seen(self) -> tuple[object, ...]:
        """All that must not change. Values are compared as text, so that objects of two namespaces are equal."""
        error = None if self.error is None else (type(self.error).__name__, repr(self.error.args))
        return (repr(self.result), error, self.traceback, self.printed, self.warned)


def write_down(source: str) -> tuple[str, str]:
    """The source without its indentation, and a file name under which tracebacks find its lines."""
    source = textwrap.dedent(source).strip("\n") + "\n"
    path = f"/source/m{next(_numbers)}.py"
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    return source, path


def plain_code(source: str, path: str) -> CodeType:
    return compile(source, path, "exec", dont_inherit=True)


def function_code(code: CodeType, name: str) -> CodeType:
    """The code of a function, wherever in a module it is; the outermost of that name."""
    level = [code]
    while level:
        level = [one for outer in level for one in outer.co_consts if isinstance(one, CodeType)]
        for one in level:
            if one.co_name == name:
                return one
    raise LookupError(name)


def rewritten_code(source: str, path: str, targets: Any, module: str = MODULE) -> CodeType:
    return compile(rewritten_tree(source, path, targets, module), path, "exec", dont_inherit=True)


def rewritten_tree(source: str, path: str, targets: Any, module: str = MODULE) -> ast.Module:
    tree = ast.parse(source, path)
    plan = plan_module(tree, module, path, parse_targets(targets))
    assert plan, "nothing was rewritten"
    return rewrite(tree, plan)


def shown(source: str, targets: Any = MODULE, module: str = MODULE) -> str:
    """The rewritten module as text, without the import and the declaration at its head."""
    source, path = write_down(source)
    tree = rewritten_tree(source, path, targets, module)
    head = ("from astcapture.record.recorder import", "_@declare(")
    tree.body = [node for node in tree.body if not ast.unparse(node).startswith(head)]
    return render(tree).lstrip("\n")


def namespace(code: CodeType) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": MODULE}
    exec(code, names)
    return names


@contextlib.contextmanager
def recorded() -> Iterator[Cache]:
    """Recording is on inside, and what is recorded is in the cache given."""
    waiting.clear()
    switch.installed(+1)
    try:
        with recording() as cache:
            yield cache
    finally:
        switch.installed(-1)


def run(code: CodeType, call: str | Callable[[dict[str, Any]], Any]) -> Run:
    """Execute a module and then `call`, an expression over its names or a function of them."""
    seen = Run()
    out = io.StringIO()
    with recorded() as cache, contextlib.redirect_stdout(out), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            names = namespace(code)
            seen.result = eval(call, names) if isinstance(call, str) else call(names)
        except BaseException as error:
            seen.error = error
            below = error.__traceback__.tb_next if error.__traceback__ else None
            seen.traceback = "".join(traceback.format_exception(type(error), error, below))
    seen.printed = out.getvalue()
    seen.warned = [f"{one.filename}:{one.lineno}: {one.category.__name__}: {one.message}" for one in warned]
    seen.captured = [(record.label, record.value) for record in cache.select().records]
    for (_, label), count in cache.counts.items():
        if count.missed:
            seen.missed[label] = seen.missed.get(label, 0) + count.missed
        if count.failed:
            seen.failed[label] = count.error
    return seen


def both(source: str, call: str | Callable[[dict[str, Any]], Any], targets: Any) -> Run:
    """Run plainly and rewritten, check that all that can be seen is equal, and return the rewritten run."""
    source, path = write_down(source)
    plain = run(plain_code(source, path), call)
    rewritten = run(rewritten_code(source, path, targets), call)
    assert rewritten.seen == plain.seen
    return rewritten


def captured(source: str, call: str | Callable[[dict[str, Any]], Any], targets: Any) -> list[Any]:
    """The values captured, all else being equal to a plain run."""
    return [value for _, value in both(source, call, targets).captured]


@dataclass
class Trace:
    """What a trace function was told of one file: the events, and the locals as each return ran."""

    events: list[tuple[str, str, int | None]] = field(default_factory=list)
    at_return: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


def traced(code: CodeType, call: str | Callable[[dict[str, Any]], Any]) -> Trace:
    """Execute a module, then trace `call`. Code of other files is not looked at."""
    names = namespace(code)
    return watched(code, (lambda: eval(call, names)) if isinstance(call, str) else (lambda: call(names)))


def traced_import(code: CodeType) -> Trace:
    """Trace a module while it is executed."""
    return watched(code, lambda: exec(code, {"__name__": MODULE}))


def watched(code: CodeType, work: Callable[[], object]) -> Trace:
    trace = Trace()
    path = code.co_filename

    def local(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_name
        trace.events.append((name, event, frame.f_lineno))
        if event == "return" and is_at_return(frame):
            trace.at_return.append((name, dict(frame.f_locals)))
        return local

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        return local(frame, event, argument) if frame.f_code.co_filename == path else None

    before = sys.gettrace()
    with recorded(), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
        sys.settrace(enter)
        try:
            work()
        finally:
            sys.settrace(before)
    return trace


def is_at_return(frame: FrameType) -> bool:
    """Whether the frame is left by a ``return``: an exception and a ``yield`` are reported as returns too."""
    opcode = frame.f_code.co_code[frame.f_lasti]
    return dis.opname[opcode] in _RETURNS
