"""A pytest plugin that keeps the outcome of each test, and each exception as Python prints its traceback.

    PROOF_OUTCOMES=outcomes.json PROOF_HANDLED=FOLDER:FOLDER python -m pytest -p tracebacks ...

Kept is what a test raises, what it expects (``pytest.raises``, ``assertRaises``), what its set-up and its end
raise, and from Python 3.12 on, where `sys.monitoring` tells it, every exception that comes to a handler in
the files of ``PROOF_HANDLED``, each time that it comes to one. Before 3.12 it takes a trace function to see
those; with ``PROOF_TRACED`` there is one, and coverage.py has none then. It keeps each exception in each frame
that it passes. The text is that of
`traceback.TracebackException`: the chain, the notes, the groups, the lines and the anchors under them. Only
addresses and the names of temporary files are blotted out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import unittest.case
from collections.abc import Callable, Iterator
from pathlib import Path
from traceback import TracebackException
from types import CodeType, FrameType, TracebackType
from typing import Any

import pytest

#: What a run cannot repeat: addresses, and the names that `tempfile` makes up.
CHANCE = re.compile(r"\b0x[0-9a-fA-F]+|\btmp[a-z0-9_]{8}\b")
#: Handled exceptions that are kept of one test. A test that handles a million of them takes no hours for it.
MOST = 500

_of_test: dict[str, dict[str, Any]] = {}
_texts: dict[str, str] = {}
_test = "outside of tests"


def keep(kind: str, error: BaseException, traceback: TracebackType | None = None) -> None:
    """Keep an exception as it is printed; with another traceback than its own, if one is given."""
    kept = _of_test.setdefault(_test, {}).setdefault(kind, [])
    if kind in ("handled", "unbound name") and len(kept) >= MOST:
        return
    text = CHANCE.sub("0x", "".join(TracebackException(type(error), error, traceback or error.__traceback__).format()))
    name = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=12).hexdigest()
    _texts.setdefault(name, text)
    kept.append(name)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _test
    _test = item.nodeid
    _of_test.setdefault(_test, {})
    try:
        return (yield)
    finally:
        _test = "outside of tests"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[Any]:
    if call.excinfo is not None:
        keep("raised", call.excinfo.value)
    report = yield
    outcome = "expected failure" if hasattr(report, "wasxfail") and report.skipped else report.outcome
    _of_test[item.nodeid].setdefault("outcomes", []).append(f"{call.when} {outcome}")
    return report


def pytest_configure() -> None:
    from _pytest.raises import RaisesExc, RaisesGroup
    from _pytest.recwarn import WarningsChecker

    for context in (RaisesExc, RaisesGroup, WarningsChecker, unittest.case._AssertRaisesContext):
        context.__exit__ = _keeping(context.__exit__)
    if files := os.environ.get("PROOF_HANDLED"):
        (_keep_traced if os.environ.get("PROOF_TRACED") else _keep_handled)(tuple(files.split(os.pathsep)))


def _keeping(leave: Callable[..., Any]) -> Callable[..., Any]:
    """The ``__exit__`` of a context that expects an exception; it keeps what comes there."""

    def __exit__(self: Any, kind: Any, error: BaseException | None, traceback: Any) -> Any:
        __tracebackhide__ = True
        if error is not None:
            keep("expected", error)
        return leave(self, kind, error, traceback)

    return __exit__


def _keep_handled(folders: tuple[str, ...]) -> None:
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is None:
        return
    tool, event = 4, monitoring.events.EXCEPTION_HANDLED

    def handled(code: CodeType, offset: int, error: BaseException) -> None:
        if code.co_filename.startswith(folders):
            keep("handled", error)

    monitoring.use_tool_id(tool, "proof")
    monitoring.register_callback(tool, event, handled)
    monitoring.set_events(tool, event)


def _keep_traced(folders: tuple[str, ...]) -> None:
    def in_frame(frame: FrameType, event: str, told: Any) -> Any:
        if event == "exception":
            # Up to Python 3.12 a record of a name that may be unbound reads it in a ``try``, in a function
            # that may show its locals: of a kind of their own, so that all others can be compared.
            unbound = isinstance(told[1], NameError) and told[2].tb_next is None
            keep("unbound name" if unbound else "handled", told[1], told[2])
        return in_frame

    def calls(frame: FrameType, event: str, told: Any) -> Any:
        if not frame.f_code.co_filename.startswith(folders):
            return None
        frame.f_trace_lines = False
        return in_frame

    sys.settrace(calls)


def pytest_unconfigure() -> None:
    declared = sys.modules.get("astcapture.values.declared")
    captured = sorted(":".join(one) for one in declared.declared_functions()) if declared else []
    written = {"tests": _of_test, "texts": _texts, "functions": captured}
    Path(os.environ["PROOF_OUTCOMES"]).write_text(json.dumps(written))
