"""What the recorder goes by: whether it is on, what is asked of it, and how much room is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astcapture.record.events import Site
    from astcapture.record.torch.places import Where


class State:
    """The state of recording, one for the process.

    Recording is *off*. Or values go the *fast path*: they are copied on the spot, or kept as they are. Or they go the
    *slow path*: torch is just being imported, some hook asks for more than a copy, or the memory limit may be reached.

    Attributes:
        on: whether a hook is installed.
        converting: whether some hook wants more of its values than a copy.
        in_blocks: whether a block of `scope` is open anywhere.
        torch_pending: whether torch is imported, or is just being, and its modules have not been found yet.
        where: says where a module stands, once one exists.
        remaining_bytes: what may be recorded before `budget` is asked for more.
        accounted: how many of the waiting events `budget` has weighed.
        limit_reached: whether it gave no more.
        weighing_due: whether values that are kept as they are, and take no room one by one, may have used it up.
        recursion_failures: sites where the stack was as deep as it may be: the program goes on, and it is told of
            later. An assignment of an item calls nothing.
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
