"""Record values. `record` and `called` are the only functions of ours on the hot path; the rare goes the slow path.

Each stays one function object, since rewritten code, pickles and torch's compiler refer to it. When the state
changes, its ``__code__`` is replaced, so that a call checks no flags. Nothing here raises into the program or imports
anything, and no lock is taken but where the memory limit may be reached, and while torch is being imported.

It is one file: what changes the state chooses the code of both. Several threads count down
`state.remaining_bytes` without a lock. A lost update shifts the next measurement a little.
"""

from __future__ import annotations

import gc
import os
from _thread import RLock, get_ident
from types import CodeType
from typing import Any

from astcapture.record import budget, scope
from astcapture.record.asked import bound, conversion_at, holding_here
from astcapture.record.containers import everything_in
from astcapture.record.events import Failed, Site, append, events
from astcapture.record.policy import any_block, pass_over, plain
from astcapture.record.small import SMALL
from astcapture.record.snapshot import BY_REFERENCE
from astcapture.record.state import state
from astcapture.record.taking import expected_size, parts, taken
from astcapture.record.torch import at_breaks, modules, places, uncompiled, unseen
from astcapture.record.torch.checkpoint import Recomputed, join
from astcapture.record.torch.stand_in import NoRoom
from astcapture.record.torch.tensors import PLAIN_TENSORS
from astcapture.record.torch.tracing import NotRun, check_run
from astcapture.record.torch.unseen import Unseen, is_watched
from astcapture.record.weight import EVENT, rough_size

# These tell whether a dispatch mode, a function mode or ``torch.jit.trace`` is active. Then a value goes the slow path.
_dispatch_modes = unseen.dispatch_modes
_function_modes = unseen.function_modes
_is_jit_traced = unseen.is_jit_traced


def record(result: Any, site: Site, value: Any, owner: Any = None, others: tuple[Any, ...] = ()) -> Any:
    """Record `value` and hand `result` back, which is what the user's function returns.

    `owner` is the ``self`` of a method. `others` are further parameters that may be the ``nn.Module``, if `owner` is
    none; a tuple, since Python is slower to call a function with ``*others``. This is the code for "recording is off";
    the others follow.
    """
    return result


def called(result: Any, site: Site, owner: Any = None, others: tuple[Any, ...] = ()) -> Any:
    """Record what a call has returned, and hand it back. This is the code for "recording is off"; the others follow."""
    return result


# --- the codes of `record` and `called`


def _record_outside_modules(
    result: Any, site: Site, value: Any, owner: Any = None, others: tuple[Any, ...] = ()
) -> Any:
    """The fast path while no ``nn.Module`` exists and no block of `scope` is open."""
    kind = type(value)
    try:
        if kind in BY_REFERENCE:
            append((site, value, get_ident(), None, None))
        elif (
            kind in PLAIN_TENSORS
            and not (_dispatch_modes() or _is_jit_traced() or (_function_modes() and is_watched()))
            and (room := state.remaining_bytes - value.nbytes) >= 0
        ):
            state.remaining_bytes = room
            kept = value.data.clone() if value.requires_grad else value.clone()
            append((site, kept, get_ident(), None, None))
        elif kind in SMALL and (kept := SMALL[kind](value)) is not None:
            append((site, kept, get_ident(), None, None))
        else:
            record_slowly(site, value, owner, others)
        return result
    except RecursionError:
        state.recursion_failures[site] = None
        return result
    except Exception:
        pass  # inside ``torch.func`` transforms ``.data`` is refused; sparse tensors have no ``.nbytes``
    record_slowly(site, value, owner, others)
    return result


def _record_anywhere(result: Any, site: Site, value: Any, owner: Any = None, others: tuple[Any, ...] = ()) -> Any:
    """The fast path that also stores the layer, and the innermost open block."""
    kind = type(value)
    try:
        if (
            kind in PLAIN_TENSORS
            and not (_dispatch_modes() or _is_jit_traced() or (_function_modes() and is_watched()))
            and (room := state.remaining_bytes - value.nbytes) >= 0
        ):
            state.remaining_bytes = room
            holding = scope.holding() if state.in_blocks else None
            if holding is None or not holding.paused:
                where = None if state.where is None else state.where(owner, others)
                # `copy_tensor` written out, detaching by the cheaper `.data`: the call alone would cost a
                # tenth of what copying a small tensor does.
                kept = value.data.clone() if value.requires_grad else value.clone()
                append((site, kept, get_ident(), where, holding))
        elif kind in BY_REFERENCE:
            holding = scope.holding() if state.in_blocks else None
            if holding is None or not holding.paused:
                where = None if state.where is None else state.where(owner, others)
                append((site, value, get_ident(), where, holding))
        elif kind in SMALL and (kept := SMALL[kind](value)) is not None:
            holding = scope.holding() if state.in_blocks else None
            if holding is None or not holding.paused:
                where = None if state.where is None else state.where(owner, others)
                append((site, kept, get_ident(), where, holding))
        else:
            record_slowly(site, value, owner, others)
        return result
    except Recomputed:
        return result
    except RecursionError:
        state.recursion_failures[site] = None
        return result
    except Exception:
        pass  # as above
    record_slowly(site, value, owner, others)
    return result


def _record_by_slow_path(result: Any, site: Site, value: Any, owner: Any = None, others: tuple[Any, ...] = ()) -> Any:
    """The slow path for every value."""
    record_slowly(site, value, owner, others)
    return result


def _called_outside_modules(result: Any, site: Site, owner: Any = None, others: tuple[Any, ...] = ()) -> Any:
    """`_record_outside_modules` for `called`. Written out, as below."""
    kind = type(result)
    try:
        if kind in BY_REFERENCE:
            append((site, result, get_ident(), None, None))
        elif (
            kind in PLAIN_TENSORS
            and not (_dispatch_modes() or _is_jit_traced() or (_function_modes() and is_watched()))
            and (room := state.remaining_bytes - result.nbytes) >= 0
        ):
            state.remaining_bytes = room
            kept = result.data.clone() if result.requires_grad else result.clone()
            append((site, kept, get_ident(), None, None))
        elif kind in SMALL and (kept := SMALL[kind](result)) is not None:
            append((site, kept, get_ident(), None, None))
        else:
            record_slowly(site, result, owner, others)
        return result
    except RecursionError:
        state.recursion_failures[site] = None
        return result
    except Exception:
        pass  # as above
    record_slowly(site, result, owner, others)
    return result


def _called_anywhere(result: Any, site: Site, owner: Any = None, others: tuple[Any, ...] = ()) -> Any:
    """`_record_anywhere` for `called`. Written out: calling that would add a fifth to the cost of a small value."""
    kind = type(result)
    try:
        if (
            kind in PLAIN_TENSORS
            and not (_dispatch_modes() or _is_jit_traced() or (_function_modes() and is_watched()))
            and (room := state.remaining_bytes - result.nbytes) >= 0
        ):
            state.remaining_bytes = room
            holding = scope.holding() if state.in_blocks else None
            if holding is None or not holding.paused:
                where = None if state.where is None else state.where(owner, others)
                kept = result.data.clone() if result.requires_grad else result.clone()
                append((site, kept, get_ident(), where, holding))
        elif kind in BY_REFERENCE:
            holding = scope.holding() if state.in_blocks else None
            if holding is None or not holding.paused:
                where = None if state.where is None else state.where(owner, others)
                append((site, result, get_ident(), where, holding))
        elif kind in SMALL and (kept := SMALL[kind](result)) is not None:
            holding = scope.holding() if state.in_blocks else None
            if holding is None or not holding.paused:
                where = None if state.where is None else state.where(owner, others)
                append((site, kept, get_ident(), where, holding))
        else:
            record_slowly(site, result, owner, others)
        return result
    except Recomputed:
        return result
    except RecursionError:
        state.recursion_failures[site] = None
        return result
    except Exception:
        pass  # as above
    record_slowly(site, result, owner, others)
    return result


def _called_by_slow_path(result: Any, site: Site, owner: Any = None, others: tuple[Any, ...] = ()) -> Any:
    record_slowly(site, result, owner, others)
    return result


_OFF, _OUTSIDE_MODULES, _ANYWHERE, _SLOW_PATH = CODES = tuple(
    function.__code__ for function in (record, _record_outside_modules, _record_anywhere, _record_by_slow_path)
)
#: The code of `called`, by the code of `record` in the same state.
_CODES_OF_CALLED = {
    _OFF: called.__code__,
    _OUTSIDE_MODULES: _called_outside_modules.__code__,
    _ANYWHERE: _called_anywhere.__code__,
    _SLOW_PATH: _called_by_slow_path.__code__,
}


def _fitting_code() -> CodeType:
    if not state.on:
        return _OFF
    if not state.takes_fast_path:
        return _SLOW_PATH
    return _OUTSIDE_MODULES if state.where is None and not state.in_blocks else _ANYWHERE


def select_code() -> None:
    """Give `record` and `called` the code that fits the state."""
    global _dispatch_modes, _function_modes, _is_jit_traced
    unseen.find()
    _dispatch_modes, _function_modes = unseen.dispatch_modes, unseen.function_modes
    _is_jit_traced = unseen.is_jit_traced
    # Another thread may have changed the state meanwhile.
    while record.__code__ is not (code := _fitting_code()):
        record.__code__ = code
        called.__code__ = _CODES_OF_CALLED[code]


# --- the long way


def record_slowly(site: Site, value: Any, owner: Any, others: tuple[Any, ...] = ()) -> None:
    """The slow path: whatever takes more than a copy, or may not fit into the memory that is left."""
    try:
        if state.torch_pending:
            look_for_torch()
        if is_watched():
            # Not even the size of a fake tensor is read: while a program is traced, that adds a guard to it.
            not_run = _not_run(value)
            with Unseen():
                _record_value(site, value, owner, others, not_run)
        else:
            _record_value(site, value, owner, others)
    except RecursionError:
        state.recursion_failures[site] = None
    except Exception as error:
        append((site, Failed(error), get_ident(), None, None))


def _not_run(value: Any) -> NotRun | None:
    """The error to record if a value, or something in it, is fake or symbolic: the function is traced and not run."""
    try:
        for part in parts(value):
            for one in everything_in(part):
                check_run(one)
    except NotRun as error:
        return error
    return None


def _record_value(site: Site, value: Any, owner: Any, others: tuple[Any, ...], not_run: NotRun | None = None) -> None:
    holding = holding_here()
    if holding is not None and holding.paused:
        return
    try:
        where = None if state.where is None else state.where(owner, others)
    except Recomputed:
        if conversion_at(site, None, holding).grad:
            join(site, value)
        return
    how = conversion_at(site, where, holding)
    if not how.takes(where):
        pass_over(site, where, how)
        return
    if not_run is not None:
        append((site, Failed(not_run), get_ident(), where, holding))
        return
    if state.limit_reached:
        budget.leave_out(site, holding)
        return
    try:
        # The size of what `reduce` gives is known after the call. That of a copy is known before: no copy is made that
        # does not fit.
        room = how.reduce is not None or has_room(expected_size(value, how) + EVENT)
        kept = taken(value, bound(how, site, where, holding), site, has_room) if room else None
        if room and (how.reduce is None or has_room(rough_size(kept) + EVENT)):
            append((site, kept, get_ident(), where, holding))
        else:
            budget.leave_out(site, holding)
    except NoRoom:
        budget.leave_out(site, holding)
    except RecursionError:
        state.recursion_failures[site] = None
    except Exception as error:
        append((site, Failed(error), get_ident(), where, holding))


def is_left_out(site: Site, owners: tuple[Any, ...]) -> bool:
    """Whether a value would be made in vain: recording is paused here, or the layer is none of those asked for."""
    holding = holding_here()
    if holding is not None and holding.paused:
        return True
    if not any_block() and conversion_at(site, None, holding).takes_all:
        return False
    if state.torch_pending:
        look_for_torch()
    try:
        where = None if state.where is None else state.where(None, owners)
    except Recomputed:
        return False
    how = conversion_at(site, where, holding)
    if how.takes(where):
        return False
    pass_over(site, where, how)
    return True


# --- the state changes


def switch(on: bool) -> None:
    """Turn recording on or off for the process."""
    state.on = on
    if _watch_events in gc.callbacks:
        gc.callbacks.remove(_watch_events)
    if on:
        gc.callbacks.append(_watch_events)
    select_code()


def convert() -> None:
    """Ask `policy` anew whether there is more to be done with values than to copy them."""
    state.converting = not plain()
    select_code()


def has_room(size: int) -> bool:
    """Take this many bytes of the memory limit; False, and recording stops, if there are not as many.

    `budget.look` gives 0 if it has less than is asked for, and None if another thread has just measured.
    """
    state.remaining_bytes -= size
    if state.remaining_bytes < 0:
        room, waiting = budget.look(size), len(events)
        if room is not None:
            state.limit_reached, state.weighing_due = room <= 0, False
            state.remaining_bytes, state.accounted = room - size, waiting
            select_code()
    return not state.limit_reached


def _look_again() -> None:
    """Another limit holds: measure again at the next value."""
    state.remaining_bytes, state.limit_reached = -1, False
    select_code()


def _resume_if_stopped() -> None:
    """Memory was freed: if recording had stopped, measure again. Else do nothing: the count leads to a measurement
    anyway, which takes longer than recording, and a program may clear the cache after each step."""
    if state.limit_reached:
        _look_again()


def _watch_events(phase: str, info: dict[str, int]) -> None:
    """Called by the garbage collector, about every few hundred events. The fast path does not count the events
    themselves, so that is done here."""
    used = (len(events) - state.accounted) * EVENT
    if phase == "start" and used > state.remaining_bytes and record.__code__ in (_OUTSIDE_MODULES, _ANYWHERE):
        state.remaining_bytes, state.weighing_due = -1, True
        select_code()


budget.on_room = _resume_if_stopped
budget.on_limit = _look_again
budget.source(lambda: (one for event in events[:] for one in parts(event[1])))


def _watch_blocks(open_ones: bool) -> None:
    state.in_blocks = open_ones
    select_code()


scope.watch(_watch_blocks)


# --- torch is imported


def expect_torch() -> None:
    """Torch is imported, or is just being. Once its first ``nn.Module`` exists, records carry its path."""
    uncompiled.tell_compiler()
    at_breaks.watch()
    if state.where is None:
        state.torch_pending = True
        select_code()


def forget_torch() -> None:
    """Nothing is recorded any more: take our hooks out of torch."""
    places.forget_torch()
    state.where = None
    select_code()


# Held while torch is looked for: threads that come meanwhile wait for the answer.
_asking = RLock()


def look_for_torch() -> None:
    with _asking:
        if state.torch_pending and modules.find_torch():
            places.when_a_module_exists(expect_modules)
            state.torch_pending = False
            select_code()


def expect_modules() -> None:
    """An ``nn.Module`` exists: records carry its path, and a forward that a checkpoint runs again is known."""
    uncompiled.tell_compiler()
    at_breaks.watch()
    if modules.find_torch():
        places.stop_waiting()
        state.where = places.where
        select_code()


def _after_fork() -> None:
    # Another thread may have held it at the moment of the fork.
    global _asking
    _asking = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

uncompiled.leave_alone(record, _record_outside_modules, _record_anywhere, _record_by_slow_path, _watch_events)
uncompiled.leave_alone(called, _called_outside_modules, _called_anywhere, _called_by_slow_path)
