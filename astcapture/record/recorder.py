"""The functions that rewritten code calls. They are the only code of ours on the user's hot path.

`events` is the one list of the process: appending to it is atomic, so threads need no lock. Each
event is ``(site, value, thread, where, holding)``; `values.cache` takes them out when somebody looks.

Nothing here raises into the program or imports anything, and no lock is taken but where the memory
limit may be reached. Torch's compiler, which traces Python, is given functions that it can follow in
place of those that it cannot, by the attribute ``_torchdynamo_inline``; see `record.torch.compiled`.
"""

from __future__ import annotations

import gc
import os
import sys
from _thread import RLock, get_ident
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import starmap
from types import FrameType
from typing import Any

from astcapture.record import budget, scope
from astcapture.record.containers import everything_in
from astcapture.record.events import (
    LEFT_OUT,
    MISSED,
    STARTED,
    Event,
    Failed,
    Missed,
    NotRecorded,
    Site,
    Sites,
    Started,
)
from astcapture.record.events import declare as declare
from astcapture.record.events import declared as declared
from astcapture.record.frames import forget as forget
from astcapture.record.frames import hold as hold
from astcapture.record.frames import locals as locals  # noqa: A004
from astcapture.record.frames import release as release
from astcapture.record.options import PLAIN, Conversion, Taken
from astcapture.record.policy import conversion_of, pass_over, plain
from astcapture.record.scope import Holding
from astcapture.record.small import SMALL
from astcapture.record.snapshot import BY_REFERENCE
from astcapture.record.taking import expected_size, parts, taken
from astcapture.record.torch import attention, checkpoint, compiled, modules, places, tracing, uncompiled, unseen
from astcapture.record.torch.attention_weights import (
    UNKNOWN,
    AttentionWeights,
    Shape,
    UnfusedWeights,
    as_seen,
    is_of_attention,
)
from astcapture.record.torch.carried import GONE, NoValue, handed_out, is_refused
from astcapture.record.torch.checkpoint import Recomputed, is_second_run, join
from astcapture.record.torch.compiled import CompiledEvent, Start
from astcapture.record.torch.expressions import RAISED, function_of, is_about, traced_value_of, with_bound
from astcapture.record.torch.places import Where
from astcapture.record.torch.resumed import NAME_IS_GONE, is_resumed, traces_resumed
from astcapture.record.torch.stand_in import NoRoom
from astcapture.record.torch.tensors import PLAIN_TENSORS
from astcapture.record.torch.tracing import NotRun, check_run
from astcapture.record.torch.unseen import Unseen, is_watched
from astcapture.record.weight import EVENT, rough_size

events: list[Event] = []
#: The parameters of a function that may hold the module whose work it is, in the order in which they are asked.
Owners = tuple[Any, ...]


def take() -> list[Event]:
    """Take out what has been recorded up to now, in order; what is recorded meanwhile stays for the next time."""
    global _room, _weighed
    front = events[:]
    # Threads go on appending behind what was taken; deleting the front is one step. Without a global lock the list
    # has one of its own, for each append, slice and deletion.
    del events[: len(front)]
    _room -= (len(front) - _weighed) * EVENT
    _weighed = 0
    settle_compiled()
    while _too_deep:
        site, _ = _too_deep.popitem()
        error = RecursionError("the recursion limit was reached where it is recorded")
        # At the limit nothing could be asked; it is told to who looks first, as a block does when it is left.
        front.append((site, Failed(error), 0, None, scope.holding()))
    if is_watched():
        with Unseen():
            return _with_compiled(front)
    return _with_compiled(front)


def _with_compiled(front: list[Event]) -> list[Event]:
    """The events, with those of compiled code where it ran."""
    starts = [event[1] for event in front if type(event[1]) is Start]
    earlier, *runs = compiled.take(starts)
    merged = [*_finished(earlier)]
    if not starts:
        return merged + front
    following = iter(runs)
    for event in front:
        if type(event[1]) is Start:
            merged.extend(_finished(next(following)))
        else:
            merged.append(event)
    return merged


def _finished(events: list[CompiledEvent]) -> Iterator[Event]:
    """What compiled code has recorded, as it would have been recorded without the compiler."""
    for site, value, thread, where, holding in events:
        value = _late(site, value, where, holding)
        if value is not LEFT_OUT:
            yield site, value, thread, where, holding


def settle_compiled() -> None:
    """Do for the last runs of compiled code what is else done after the next: they are over, or the options change."""
    for chain in compiled.chains[:]:
        _after_run(chain, True)


def _after_run(chain: compiled.Chain, all_of_them: bool = False) -> None:
    """Do with what compiled code has recorded, which is copies, what the options ask for, and make it count."""
    if is_watched():
        with Unseen():
            _settle(chain, all_of_them)
    else:
        _settle(chain, all_of_them)


def _settle(chain: compiled.Chain, all_of_them: bool) -> None:
    for link in chain.settled(all_of_them):
        site, value, holding = link.site, link.value, link.holding
        if site is None:
            continue  # another thread has taken it out
        if holding is not None and holding.paused:
            link.value = LEFT_OUT
            continue
        if type(value) in (Missed, Failed, Started):
            continue
        if is_of_attention(value):
            link.value = _late(site, value, chain.where(link), holding)
            continue
        if is_refused(value):
            link.value = Failed(NotRecorded(value.reason))
            continue
        value = link.value = handed_out(value)
        if _converting:
            how, where = conversion_of(site), chain.where(link)
            if not how.takes(where):
                pass_over(site, where)
                link.value = LEFT_OUT
                continue
            try:
                link.value = taken(value, _bound(how, site, where, holding), site, compiled=True)
            except Exception as error:
                link.value = Failed(error)
        if _stopped or not _has_room(rough_size(link.value) + EVENT):
            link.value = LEFT_OUT
            budget.leave_out(site, holding)


def _bound(how: Conversion, site: Site, where: Where | None, holding: Holding | None) -> Conversion:
    """The options with a `reduce` that is told what it reduces, where it asks for that."""
    reduce = how.reduce
    if reduce is None or not how.reduce_takes_record:
        return how
    module, function, label, lineno = site
    layer, model = (None, None) if where is None else where
    record = Taken(label, module, function, lineno, layer, model, {} if holding is None else holding.tags)
    return replace(how, reduce=lambda value: reduce(value, record), reduce_takes_record=False)


def _late(site: Site, value: Any, where: Where | None, holding: Holding | None) -> Any:
    """The weights of a call in compiled code, from the copies of its arguments; any other value as it is."""
    if is_refused(value):
        return Failed(NotRecorded(value.reason))
    if not is_of_attention(value):
        return handed_out(value)
    refused = next((one for one in (value.query, value.key, value.attn_mask) if is_refused(one)), None)
    if refused is not None:
        return Failed(NotRecorded(refused.reason))
    value.query, value.key, value.attn_mask = map(handed_out, (value.query, value.key, value.attn_mask))
    how = conversion_of(site) if _converting else PLAIN
    if not how.takes(where):
        pass_over(site, where)
        return LEFT_OUT
    try:
        if _stopped or not (how.reduce is not None or _has_room(expected_size(value, how) + EVENT)):
            raise NoRoom
        kept = taken(value, _bound(how, site, where, holding), site, _has_room, compiled=True)
        if how.reduce is None or _has_room(rough_size(kept) + EVENT):
            return kept
    except NoRoom:
        pass
    except Exception as error:
        return Failed(error)
    budget.leave_out(site, holding)
    return LEFT_OUT


def _no_place(site: Site) -> None:
    """Tell of a value that is not recorded because the compiler admits no side effect there."""
    why = (
        "inside torch.compile, a checkpoint or torch.cond admits no side effect, and so no record: run it without "
        "torch.compile, or set torch._dynamo.config.skip_fwd_side_effects_in_bwd_under_checkpoint = True first"
    )
    _append((site, Failed(NotRecorded(why)), get_ident(), None, scope.holding()))


def _run_starts(start: Start) -> None:
    # Where nothing else was recorded since the last start, what comes now is in order behind that.
    last = events[-1:]
    if not (last and type(last[0][1]) is Start and last[0][1].chain is start.chain):
        _append((_STARTS, start, start.chain.thread, None, None))


def _exported(site: Site) -> None:
    """Tell of a value that is not recorded because the compiler makes a program of its own of the function."""
    _append((site, Failed(NotRun(tracing.EXPORTED)), get_ident(), None, scope.holding()))


#: The site of what is no value: compiled code ran here.
_STARTS: Site = ("", "", "", 0)
compiled.on_start = _run_starts
compiled.on_run = _after_run
compiled.on_exported = _exported
compiled.on_left_out = _no_place


_append = events.append
# Sites where the stack was as deep as it may be: the program goes on, and it is told of later. An assignment of an item
# calls nothing.
_too_deep: dict[Site, None] = {}
# The types of tensors that take the short way; none where there is more to be done than to copy.
_NONE: frozenset[type] = frozenset()
_tensors: set[type] | frozenset[type] = _NONE
# Whether a mode would see what is done here, and so leaves it to the long way.
_dispatch_modes = unseen.dispatch_modes
_function_modes = unseen.function_modes
_is_jit_traced = unseen.is_jit_traced
# The types whose values are kept as they are. As those of tensors, none while recording is off: the short ways need
# no check of their own.
_kept: set[type] = set()
# Those of containers that are copied here if nothing but such values is in them, and what copies them.
_small: dict[type, Callable[[Any], Any]] = {}
_on = False
# Whether some hook wants more of its values than a copy.
_converting = False
# The bytes that may be recorded before `budget` is asked for more, whether it gave none, and how many of the
# waiting events it has weighed.
_room = -1
_stopped = False
_weighed = 0
# Says where a module stands, once torch is imported; while that is being imported, nothing takes the fast path.
_where: Callable[..., Where | None] | None = None
_expected = False
# Whether a block of `scope` is open anywhere.
_scoped = False


def record(result: Any, site: Site, value: Any, owner: Any = None, *others: Any) -> Any:
    """Record `value` and hand `result` back, which is what the user's function returns.

    `owner` is what the function was called on, a method's ``self``; `others` are parameters that may hold the module
    that it works for, where that is none.
    """
    global _room
    kind = type(value)
    try:
        if (
            kind in _tensors
            and not (_dispatch_modes() or _is_jit_traced() or (_function_modes() and is_watched()))
            and (_room := _room - value.nbytes) >= 0
        ):
            holding = scope.holding() if _scoped else None
            if holding is None or not holding.paused:
                where = None if _where is None else _where(owner, others)
                # `copy_tensor` written out, detaching by the cheaper `.data`: the call alone would cost a
                # tenth of what copying a small tensor does.
                kept = value.data.clone() if value.requires_grad else value.clone()
                _append((site, kept, get_ident(), where, holding))
        elif kind in _kept:
            holding = scope.holding() if _scoped else None
            if holding is None or not holding.paused:
                where = None if _where is None else _where(owner, others)
                _append((site, value, get_ident(), where, holding))
        elif kind in _small and (kept := _small[kind](value)) is not None:
            holding = scope.holding() if _scoped else None
            if holding is None or not holding.paused:
                where = None if _where is None else _where(owner, others)
                _append((site, kept, get_ident(), where, holding))
        elif _on:
            if _expected:
                _look_for_torch()
            _record_slowly(site, value, owner, others)
    except Recomputed:
        pass
    except RecursionError:
        _too_deep[site] = None
    except Exception:
        # Inside ``torch.func`` transforms ``.data`` is refused; sparse tensors have no ``.nbytes``.
        _record_slowly(site, value, owner, others)
    return result


def _record_slowly(site: Site, value: Any, owner: Any, others: tuple[Any, ...] = ()) -> None:
    """Record what takes more than a copy, or what the room may not suffice for."""
    if is_watched():
        # Not even the size of what has no data may be asked for: the answer would become a condition of the program.
        not_run = _not_run(value)
        with Unseen():
            _record_unseen(site, value, owner, others, not_run)
    else:
        _record_unseen(site, value, owner, others)


def _not_run(value: Any) -> NotRun | None:
    """Why a value, or something in it, is none, where the function is traced rather than run."""
    try:
        for part in parts(value):
            for one in everything_in(part):
                check_run(one)
    except NotRun as error:
        return error
    return None


def _record_unseen(site: Site, value: Any, owner: Any, others: tuple[Any, ...], not_run: NotRun | None = None) -> None:
    holding = scope.holding() if _scoped else None
    if holding is not None and holding.paused:
        return
    how = conversion_of(site) if _converting else PLAIN
    try:
        where = None if _where is None else _where(owner, others)
    except Recomputed:
        if how.grad:
            join(site, value)
        return
    if not how.takes(where):
        pass_over(site, where)
        return
    if not_run is not None:
        _append((site, Failed(not_run), get_ident(), where, holding))
        return
    if _stopped:
        budget.leave_out(site, holding)
        return
    try:
        # Of what a function makes of it, the size is known afterwards; a copy is not made in vain.
        room = how.reduce is not None or _has_room(expected_size(value, how) + EVENT)
        kept = taken(value, _bound(how, site, where, holding), site, _has_room) if room else None
        if room and (how.reduce is None or _has_room(rough_size(kept) + EVENT)):
            _append((site, kept, get_ident(), where, holding))
        else:
            budget.leave_out(site, holding)
    except NoRoom:
        budget.leave_out(site, holding)
    except RecursionError:
        _too_deep[site] = None
    except Exception as error:
        _append((site, Failed(error), get_ident(), where, holding))


def _is_left_out(site: Site, owners: tuple[Any, ...]) -> bool:
    """Whether a value would be made in vain: recording is paused here, or the layer is none of those asked for."""
    holding = scope.holding() if _scoped else None
    if holding is not None and holding.paused:
        return True
    how = conversion_of(site) if _converting else PLAIN
    if how.layers is None:
        return False
    if _expected:
        _look_for_torch()
    try:
        where = None if _where is None else _where(None, owners)
    except Recomputed:
        return False
    if how.takes(where):
        return False
    pass_over(site, where)
    return True


def _has_room(size: int) -> bool:
    """Whether there is room for this many bytes, which then are taken; where there is none, recording stops."""
    global _room, _weighed, _stopped
    _room -= size
    if _room < 0:
        room, waiting = budget.look(size), len(events)
        if room is not None:
            _stopped = room <= 0
            _room, _weighed = room - size, waiting
            _apply()
    return not _stopped


def missed(site: Site, owner: Any = None, *others: Any) -> None:
    """Count a return at which the name was not bound."""
    if _on:
        # Not `contextlib.suppress`: nothing here may call code that could be captured itself, and come back.
        try:
            holding = scope.holding() if _scoped else None
            if holding is None or not holding.paused:
                _append((site, MISSED, get_ident(), None if _where is None else _where(owner, others), holding))
        except Recomputed:
            pass
        except RecursionError:
            _too_deep[site] = None


class _Skipped(Exception):
    """Raised where an expression is not evaluated and nobody wants its value."""


def allow(site: Site, owner: Any = None, *others: Any) -> None:
    """Called before the expression of a capture, in the same ``try``. A tracer would write the expression's operations
    into the traced program, which would change it.

    Raises:
        NotRun: it is not to be evaluated, and `failed` counts that.
    """
    why = tracing.why_no_expression()
    if why is not None:
        raise NotRun(why) if _on and not _is_left_out(site, (owner, *others)) else _Skipped


def enter(site: Site) -> None:
    """Told at the start of a function of which one execution can leave any number of values."""
    if _on:
        try:
            holding = scope.holding() if _scoped else None
            if holding is None or not holding.paused:
                _append((site, STARTED, get_ident(), None, holding))
        except RecursionError:
            pass  # what it leaves will be too deep as well


#: How many executions of a generator have begun, by the site of its start.
begun: dict[Site, int] = {}


def begin(site: Site) -> None:
    """Told at the start of a generator that is captured at its end."""
    if _on:
        begun[site] = begun.get(site, 0) + 1


def _begin_compiled(site: Site) -> None:
    """Compiled code that runs a generator runs it to its end, or says itself that it does not."""


begin._torchdynamo_inline = _begin_compiled  # type: ignore[attr-defined]


def _record_compiled(result: Any, site: Site, value: Any, owner: Any = None, *others: Any) -> Any:
    if _on:
        compiled.put_copy(site, value, owner, others)
    return result


def _missed_compiled(site: Site, owner: Any = None, *others: Any) -> None:
    if _on:
        compiled.put(site, MISSED, owner, others)


def _allow_compiled(site: Site, owner: Any = None, *others: Any) -> None:
    if compiled.is_exported(site if _on else None):
        raise _Skipped


def _failed_compiled(site: Site, owner: Any = None, *others: Any) -> None:
    if _on and not compiled.is_exported(None):
        compiled.put(site, NoValue(RAISED), owner, others)


def _enter_compiled(site: Site) -> None:
    if _on and not compiled.is_exported(None):
        compiled.put(site, STARTED, None, ())


def _look_compiled(result: Any, site: Site, name: str, names: dict[str, Any], owner: Any = None, *others: Any) -> Any:
    if name in names:
        _record_compiled(None, site, names[name], owner, *others)
    else:
        _not_there_compiled(site, owner, others)
    return result


def _not_there_compiled(site: Site, owner: Any, others: tuple[Any, ...]) -> None:
    if _on:
        compiled.put(site, GONE if traces_resumed() else MISSED, owner, others)


def _evaluate_compiled(result: Any, site: Site, source: str, read: Any, owner: Any = None, *others: Any) -> Any:
    if _on and not compiled.is_exported(site):
        value, why, is_unbound = traced_value_of(site[0], source, read)
        if is_unbound:
            _not_there_compiled(site, owner, others)
        elif why is not None:
            compiled.put(site, NoValue(why), owner, others)
        else:
            _record_compiled(None, site, value, owner, *others)
    return result


enter._torchdynamo_inline = _enter_compiled  # type: ignore[attr-defined]
record._torchdynamo_inline = _record_compiled  # type: ignore[attr-defined]
missed._torchdynamo_inline = _missed_compiled  # type: ignore[attr-defined]
allow._torchdynamo_inline = _allow_compiled  # type: ignore[attr-defined]


def failed(site: Site, owner: Any = None, *others: Any) -> None:
    """Called in an ``except``: keep what went wrong with a capture's expression, unless it is not ours to keep."""
    error = sys.exc_info()[1]
    if not isinstance(error, Exception):
        raise  # KeyboardInterrupt and the like go on their way
    if type(error) is _Skipped:
        return
    if isinstance(error, UnboundLocalError) and error.__traceback__ is not None and not error.__traceback__.tb_next:
        missed(site, owner, *others)  # a local that the expression reads is not bound here
    elif _on:
        _append_failed(site, error, sys._getframe(1))


def _append_failed(site: Site, error: Exception, frame: FrameType) -> None:
    if checkpoint.backward_pass() != -1 and is_second_run(frame):
        return  # told the first time
    holding = scope.holding() if _scoped else None
    if holding is None or not holding.paused:
        _append((site, Failed(error), get_ident(), None, holding))


def look(result: Any, site: Site, name: str, names: dict[str, Any], owner: Any = None, *others: Any) -> Any:
    """Record a local that may be unbound, out of the caller's ``locals()``, and hand `result` back."""
    try:
        if name in names:
            record(None, site, names[name], owner, *others)
        else:
            _not_there(site, sys._getframe(1), owner, others)
    except RecursionError:
        _too_deep[site] = None
    return result


def evaluate(result: Any, site: Site, source: str, read: Any, owner: Any = None, *others: Any) -> Any:
    """Record the value of an expression, and hand `result` back.

    Args:
        result: what the user's function returns.
        site: the site.
        source: a lambda whose parameters are the locals that the expression reads.
        read: a tuple of those locals; or, where some may be unbound, the dict of the function's locals.
        owner, *others: what the function was called on, as in `record`.
    """
    if not _on:
        return result
    try:
        if (_scoped or _converting) and _is_left_out(site, (owner, *others)):
            return result
        allow(site, owner, *others)
        frame = sys._getframe(1)
        if type(read) is tuple:
            record(None, site, function_of(site[0], source, frame.f_globals)(*read), owner, *others)
            return result
        function, arguments, unbound = with_bound(site[0], source, frame.f_globals, read)
        try:
            value = function(*arguments)
        except NameError as error:
            if not is_about(error, unbound):
                raise
            _not_there(site, frame, owner, others)
        else:
            record(None, site, value, owner, *others)
    except RecursionError:
        _too_deep[site] = None
    except Exception as error:
        _append_failed(site, error, sys._getframe(1))
    return result


def _not_there(site: Site, frame: FrameType, owner: Any, others: tuple[Any, ...]) -> None:
    """Count a return at which a name is not among the locals."""
    if not is_resumed(frame.f_code):
        missed(site, owner, *others)
    elif _on:
        _append_failed(site, NotRecorded(NAME_IS_GONE), frame)


def switch(on: bool) -> None:
    """Turn recording on or off for the process."""
    global _on
    _on = on
    if _watch_events in gc.callbacks:
        gc.callbacks.remove(_watch_events)
    if on:
        gc.callbacks.append(_watch_events)
    _apply()


def convert() -> None:
    """Ask `policy` anew whether there is more to be done with values than to copy them."""
    global _converting
    _converting = not plain()
    _apply()


def _apply() -> None:
    """Open the short ways, or close them."""
    global _tensors, _dispatch_modes, _function_modes, _is_jit_traced
    unseen.find()
    _dispatch_modes, _function_modes = unseen.dispatch_modes, unseen.function_modes
    _is_jit_traced = unseen.is_jit_traced
    short = _on and not (_expected or _converting or _stopped)
    _tensors = PLAIN_TENSORS if short else _NONE
    if short:
        _kept.update(BY_REFERENCE)
        _small.update(SMALL)
    else:
        _kept.clear()
        _small.clear()


def _look_again() -> None:
    """There may be less room than there was, or more."""
    global _room, _stopped
    _room, _stopped = -1, False
    _apply()


def _go_on() -> None:
    """There may be room again. Where recording has not stopped there is more than it counts on, and it looks when that
    is used up: a program may clear the cache after each step, and to look takes longer than to record."""
    if _stopped:
        _look_again()


def _watch_events(phase: str, info: dict[str, int]) -> None:
    """Called by the garbage collector, once for some hundreds of events: they have no check of their own to pay for."""
    global _room
    if phase == "start" and (len(events) - _weighed) * EVENT > _room and _kept:
        _room = -1
        _kept.clear()
        _small.clear()


budget.on_room = _go_on
budget.on_limit = _look_again
budget.source(lambda: (one for event in events[:] for one in parts(event[1])))
budget.source(lambda: (one for chain in compiled.chains[:] for value in chain.values() for one in parts(value)))


def _watch_scopes(open_ones: bool) -> None:
    global _scoped
    _scoped = open_ones


scope.watch(_watch_scopes)


def expect_torch() -> None:
    """Torch is imported, or is just being: from its first module on, records say where that stands."""
    global _expected
    uncompiled.tell_compiler()
    if _where is None:
        _expected = True
        _apply()


def forget_torch() -> None:
    """Nothing is recorded any more: no hook of torch's is left behind."""
    global _where
    places.forget_torch()
    _where = None


# Held while torch is looked for: threads that come meanwhile wait for the answer.
_asking = RLock()


def _look_for_torch() -> None:
    global _expected
    with _asking:
        if _expected and modules.find_torch():
            places.when_a_module_exists(expect_modules)
            _expected = False
            _apply()


def expect_modules() -> None:
    """From now on records say where the module stands; and that a forward is run again, because it is checkpointed."""
    global _where
    uncompiled.tell_compiler()
    if modules.find_torch():
        places.stop_waiting()
        _where = places.where


def _after_fork() -> None:
    # Another thread may have held it at the moment of the fork.
    global _asking
    _asking = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def attend(sites: Sites, owners: Owners, callee: Any, /, *arguments: Any, **options: Any) -> Any:
    """Make ready a call that may be one of torch's attention; the user's code calls what is returned.

    Between that call and the callee stands C code alone, so that no frame of ours is in a traceback.

    Args:
        sites: the sites.
        owners: what the function that calls was called on, and other parameters that may hold a module.
        callee: what is called.
        *arguments: its arguments.
        **options: its keyword arguments.
    """
    return _ready(sites, owners, UNKNOWN, callee, arguments, options)


def attend_as(sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any) -> Any:
    """`attend`, in a function whose weights have the shape `seen_as`."""
    return _ready(sites, owners, seen_as, callee, arguments, options)


def _ready(
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    callee: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    if not callable(callee):
        return callee  # calling it raises what it would have raised
    call = partial(callee, *arguments, **options)
    if not _on or not attention.is_attention(callee):
        return call
    # The first item is the call's output, once `_attended` has seen it.
    return partial(next, map(partial(_attended, sites, owners, seen_as, arguments, options), starmap(call, ((),))))


def _attended(
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    output: Any,
) -> Any:
    """Record what is asked for of a call that has been made, and hand its output on."""
    if _on:
        named = {**attention.call_arguments(arguments, options), "output": output}
        for site, name in sites:
            if _is_left_out(site, owners):
                continue
            try:
                value = _weights(seen_as, **named) if name == "weights" else named[name]
            except Exception:
                failed(site)
            else:
                record(None, site, value, *owners)
    return output


def _weights(
    seen_as: Shape,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    dropout_p: Any,
    is_causal: Any,
    scale: Any,
    enable_gqa: Any,
    output: Any,
    **others: Any,
) -> AttentionWeights:
    """What stands for the weights of a call, which do not depend on arguments that only another torch has."""
    return AttentionWeights(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa, output, seen_as)


def attend_unfused(
    sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any
) -> Any:
    """Make ready the call that makes the weights where the function does not call torch's attention."""
    if not callable(callee):
        return callee  # calling it raises what it would have raised
    call = partial(callee, *arguments, **options)
    if not _on:
        return call
    return partial(next, map(partial(_attended_unfused, sites, owners, seen_as), starmap(call, ((),))))


def _attended_unfused(sites: Sites, owners: Owners, seen_as: Shape, output: Any) -> Any:
    if _on:
        for site, _ in sites:
            record(None, site, UnfusedWeights(output, seen_as), *owners)
    return output


def _attend_compiled(sites: Sites, owners: Owners, callee: Any, /, *arguments: Any, **options: Any) -> Any:
    return _attend_as_compiled(sites, owners, UNKNOWN, callee, *arguments, **options)


def _attend_as_compiled(
    sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any
) -> Any:
    if compiled.is_exported(None):
        # An exported program keeps a stack trace for each operation; none of our functions may be in it.
        _leave_out_exported(sites, attention.is_attention(callee))
        return partial(callee, *arguments, **options)
    return partial(_attended_compiled, sites, owners, seen_as, callee, arguments, options)


def _leave_out_exported(sites: Sites, asked_for: bool) -> None:
    if _on and asked_for:
        for site, _ in sites:
            compiled.is_exported(site)


def _attended_compiled(
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    callee: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    output = callee(*arguments, **options)
    if _on and attention.is_attention(callee):
        named = {**attention.call_arguments(arguments, options), "output": output}
        for site, name in sites:
            if name == "weights":
                compiled.put(site, _weights_compiled(seen_as, **named), *_first_and_others(owners))
            else:
                _record_compiled(None, site, named[name], *owners)
    return output


def _first_and_others(owners: Owners) -> tuple[Any, tuple[Any, ...]]:
    return (owners[0], owners[1:]) if owners else (None, ())


def _weights_compiled(
    seen_as: Shape,
    query: Any,
    key: Any,
    attn_mask: Any,
    is_causal: Any,
    scale: Any,
    enable_gqa: Any,
    **others: Any,
) -> AttentionWeights:
    """What stands for the weights of a call in compiled code, which are computed when that has run: of its arguments
    it has copies."""
    if hasattr(attn_mask, "_materialize"):  # torch.nn.attention.bias.CausalBias
        attn_mask = attn_mask._materialize(query.device)
    query, key, attn_mask = compiled.snapshot(query), compiled.snapshot(key), compiled.snapshot(attn_mask)
    return AttentionWeights(query, key, None, attn_mask, 0.0, is_causal, scale, enable_gqa, None, seen_as)


def _attend_unfused_compiled(
    sites: Sites, owners: Owners, seen_as: Shape, callee: Any, /, *arguments: Any, **options: Any
) -> Any:
    if compiled.is_exported(None):
        _leave_out_exported(sites, True)
        return partial(callee, *arguments, **options)
    return partial(_attended_unfused_compiled, sites, owners, seen_as, callee, arguments, options)


def _attended_unfused_compiled(
    sites: Sites,
    owners: Owners,
    seen_as: Shape,
    callee: Any,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    output = callee(*arguments, **options)
    if _on:
        for site, _ in sites:
            _record_compiled(None, site, as_seen(output, seen_as), *owners)
    return output


look._torchdynamo_inline = _look_compiled  # type: ignore[attr-defined]
evaluate._torchdynamo_inline = _evaluate_compiled  # type: ignore[attr-defined]
failed._torchdynamo_inline = _failed_compiled  # type: ignore[attr-defined]
attend._torchdynamo_inline = _attend_compiled  # type: ignore[attr-defined]
attend_as._torchdynamo_inline = _attend_as_compiled  # type: ignore[attr-defined]
attend_unfused._torchdynamo_inline = _attend_unfused_compiled  # type: ignore[attr-defined]

uncompiled.leave_alone(
    begin, enter, allow, record, look, evaluate, missed, failed, hold, release, forget, locals, declare
)
uncompiled.leave_alone(attend, attend_as, attend_unfused, _attended, _attended_unfused, _watch_events)
