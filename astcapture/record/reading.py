"""Functions that rewritten code calls if reading a capture may fail: an unbound local, or an expression."""

from __future__ import annotations

import sys
from _thread import get_ident
from types import FrameType
from typing import Any

from astcapture.record.asked import holding_here
from astcapture.record.events import Failed, NotRecorded, Site, append
from astcapture.record.executions import missed
from astcapture.record.recording import is_left_out, record
from astcapture.record.state import state
from astcapture.record.torch import checkpoint, tracing, uncompiled
from astcapture.record.torch.expressions import function_of, is_about, with_bound
from astcapture.record.torch.resumed import NAME_IS_GONE, is_resumed
from astcapture.record.torch.tracing import NotRun

#: Why a local is not read at a ``yield``.
NOTICED = (
    "it may be unbound at this yield, and on this Python the function would notice that its locals are read, because "
    "it reads them itself: capture the local at the return, or use Python 3.13"
)


def allow(site: Site, owner: Any = None, *others: Any) -> None:
    """Called before the expression of a capture, in the same ``try``. A tracer would write the expression's operations
    into the traced program, which would change it.

    Raises:
        NotRun: it must not be evaluated; `failed` counts that.
    """
    why = tracing.why_no_expression()
    if why is not None:
        raise NotRun(why) if state.on and not is_left_out(site, (owner, *others)) else Skipped


class Skipped(Exception):
    """Raised if an expression is not evaluated because its value is not needed."""


def failed(site: Site, owner: Any = None, *others: Any) -> None:
    """Called in an ``except``: record the error of a captured expression, unless it must propagate."""
    error = sys.exc_info()[1]
    if not isinstance(error, Exception):
        raise  # KeyboardInterrupt and the like propagate
    if type(error) is Skipped:
        return
    if isinstance(error, UnboundLocalError) and error.__traceback__ is not None and not error.__traceback__.tb_next:
        missed(site, owner, *others)  # a local that the expression reads is not bound here
    elif state.on:
        _append_failed(site, error, sys._getframe(1))


def _append_failed(site: Site, error: Exception, frame: FrameType) -> None:
    if checkpoint.backward_pass() != -1 and checkpoint.is_second_run(frame):
        return  # told the first time
    holding = holding_here()
    if holding is None or not holding.paused:
        append((site, Failed(error), get_ident(), None, holding))


def look(result: Any, site: Site, name: str, names: dict[str, Any], owner: Any = None, *others: Any) -> Any:
    """Record a local that may be unbound, from the caller's ``locals()``, and return `result`."""
    try:
        if name in names:
            record(None, site, names[name], owner, others)
        else:
            _not_there(site, sys._getframe(1), owner, others)
    except RecursionError:
        state.recursion_failures[site] = None
    return result


def evaluate(result: Any, site: Site, source: str, read: Any, owner: Any = None, *others: Any) -> Any:
    """Record the value of an expression, and return `result`.

    Args:
        result: what the user's function returns.
        site: the site.
        source: a lambda whose parameters are the locals that the expression reads.
        read: a tuple of those locals; or, where some may be unbound, the dict of the function's locals.
        owner, *others: the ``self`` of the function and other parameters, as in `record`.
    """
    if not state.on:
        return result
    try:
        if (state.in_blocks or state.converting) and is_left_out(site, (owner, *others)):
            return result
        allow(site, owner, *others)
        frame = sys._getframe(1)
        if type(read) is tuple:
            record(None, site, function_of(site[0], source, frame.f_globals)(*read), owner, others)
            return result
        function, arguments, unbound = with_bound(site[0], source, frame.f_globals, read)
        try:
            value = function(*arguments)
        except NameError as error:
            if not is_about(error, unbound):
                raise
            _not_there(site, frame, owner, others)
        else:
            record(None, site, value, owner, others)
    except RecursionError:
        state.recursion_failures[site] = None
    except Exception as error:
        _append_failed(site, error, sys._getframe(1))
    return result


def unread(result: Any, site: Site, owner: Any = None, *others: Any) -> Any:
    """Count a value that cannot be read without the function noticing it, and return `result`."""
    if state.on and not is_left_out(site, (owner, *others)):
        _append_failed(site, NotRecorded(NOTICED), sys._getframe(1))
    return result


def _not_there(site: Site, frame: FrameType, owner: Any, others: tuple[Any, ...]) -> None:
    """Count a return at which a name is not among the locals."""
    if not is_resumed(frame.f_code):
        missed(site, owner, *others)
    elif state.on:
        _append_failed(site, NotRecorded(NAME_IS_GONE), frame)


uncompiled.leave_alone(allow, failed, look, evaluate, unread)
