"""Takes out the recorded events: those of eager code and, in order, those of compiled code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from astcapture.record import budget, scope
from astcapture.record.asked import bound, conversion_at
from astcapture.record.events import LEFT_OUT, Event, Failed, Missed, NotRecorded, Site, Started, events
from astcapture.record.policy import pass_over
from astcapture.record.recording import has_room
from astcapture.record.scope import Holding
from astcapture.record.state import state
from astcapture.record.taking import expected_size, parts, taken
from astcapture.record.torch import chain as compiled_code
from astcapture.record.torch.attention_weights import is_of_attention
from astcapture.record.torch.carried import handed_out, is_refused
from astcapture.record.torch.chain import Chain, CompiledEvent, Start
from astcapture.record.torch.places import Where
from astcapture.record.torch.stand_in import NoRoom
from astcapture.record.torch.unseen import Unseen, is_watched
from astcapture.record.weight import EVENT, rough_size


def drain() -> list[Event]:
    """Take out the events recorded so far, in order. Events that are appended meanwhile stay for the next call."""
    front = events[:]
    # Other threads may append meanwhile; deleting the front is one atomic step. Without a global lock, the list has its
    # own lock for each append, slice and deletion.
    del events[: len(front)]
    state.remaining_bytes -= (len(front) - state.accounted) * EVENT
    state.accounted = 0
    settle_compiled()
    while state.recursion_failures:
        site, _ = state.recursion_failures.popitem()
        error = RecursionError("the recursion limit was reached while recording the value")
        # At the recursion limit the open block could not be looked up. Blocks drain when they end, so it is this one.
        front.append((site, Failed(error), 0, None, scope.holding()))
    if is_watched():
        with Unseen():
            return _with_compiled(front)
    return _with_compiled(front)


def _with_compiled(front: list[Event]) -> list[Event]:
    """The events, with those of compiled code where it ran."""
    starts = [event[1] for event in front if type(event[1]) is Start]
    earlier, *runs = compiled_code.take(starts)
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
    """The events of compiled code, as they would have been recorded without the compiler."""
    for site, value, thread, where, holding in events:
        value = _late(site, value, where, holding)
        if value is not LEFT_OUT:
            yield site, value, thread, where, holding


def settle_compiled() -> None:
    """Settle the last runs of compiled code now, which otherwise happens after the next run."""
    for chain in compiled_code.chains[:]:
        _after_run(chain, True)


def _after_run(chain: Chain, all_of_them: bool = False) -> None:
    """Apply the options to the copies that compiled code has recorded, and count them."""
    if is_watched():
        with Unseen():
            _settle(chain, all_of_them)
    else:
        _settle(chain, all_of_them)


def _settle(chain: Chain, all_of_them: bool) -> None:
    for link in chain.settled(all_of_them):
        site, value, holding = link.site, link.value, link.holding
        if site is None:
            continue  # another thread took it
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
        if state.converting:
            where = chain.where(link)
            how = conversion_at(site, where, holding)
            if not how.takes(where):
                pass_over(site, where, how)
                link.value = LEFT_OUT
                continue
            try:
                link.value = taken(value, bound(how, site, where, holding), site, compiled=True)
            except Exception as error:
                link.value = Failed(error)
        if state.limit_reached or not has_room(rough_size(link.value) + EVENT):
            link.value = LEFT_OUT
            budget.leave_out(site, holding)


def _late(site: Site, value: Any, where: Where | None, holding: Holding | None) -> Any:
    """The weights of a call in compiled code, from the copies of its arguments; any other value as it is."""
    if is_refused(value):
        return Failed(NotRecorded(value.reason))
    if not is_of_attention(value):
        return handed_out(value)
    refused = next((one for one in value.carried if is_refused(one)), None)
    if refused is not None:
        return Failed(NotRecorded(refused.reason))
    value.carried = tuple(map(handed_out, value.carried))
    how = conversion_at(site, where, holding)
    if not how.takes(where):
        pass_over(site, where, how)
        return LEFT_OUT
    try:
        if state.limit_reached or not (how.reduce is not None or has_room(expected_size(value, how) + EVENT)):
            raise NoRoom
        kept = taken(value, bound(how, site, where, holding), site, has_room, compiled=True)
        if how.reduce is None or has_room(rough_size(kept) + EVENT):
            return kept
    except NoRoom:
        pass
    except Exception as error:
        return Failed(error)
    budget.leave_out(site, holding)
    return LEFT_OUT


compiled_code.on_run.append(_after_run)
budget.source(lambda: (one for chain in compiled_code.chains[:] for value in chain.values() for one in parts(value)))
