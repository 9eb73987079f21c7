"""The state of the recorder: whether it is on, which options are set, and how much memory is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astcapture.record.events import Site
    from astcapture.record.torch.places import Where


class State:
    """The state of recording in this process.

    Recording is *off*, or values take the *fast path* (they are copied at once, or kept by reference), or the *slow
    path* (torch is being imported, some hook has options, or the memory limit may be reached).

    Attributes:
        on: whether a hook is installed.
        converting: whether some hook has options besides copying.
        in_blocks: whether any block of `scope` is open.
        torch_pending: whether torch is imported or being imported, and ``nn.Module`` has not been found yet.
        where: returns the place of a module, once a module exists.
        remaining_bytes: how many bytes may be recorded before `budget` is asked again.
        accounted: how many of the pending events `budget` has measured.
        limit_reached: whether the memory limit was reached.
        weighing_due: whether values kept by reference, which are not counted one by one, may have used up the memory.
        recursion_failures: sites at which the recursion limit was reached. The program continues, and it is reported
            later. Assigning an item calls no function.
    """

    def __init__(self) -> None:
        self.on = False
        self.converting = False
        self.in_blocks = False
        self.torch_pending = False
        self.where: Callable[..., Where | None] | None = None
        self.remaining_bytes = -1
        self.accounted = 0
        self.limit_reached = False
        self.weighing_due = False
        self.recursion_failures: dict[Site, Any] = {}

    @property
    def takes_fast_path(self) -> bool:
        return self.on and not (self.torch_pending or self.converting or self.limit_reached or self.weighing_due)


state = State()
