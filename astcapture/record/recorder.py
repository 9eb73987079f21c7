"""The functions that rewritten code calls, which it imports from here.

Nothing in them raises into the program, or imports anything. Torch's compiler cannot trace most of them, and traces
their counterparts in `record.torch.traced` instead.
"""

from __future__ import annotations

from astcapture.record.attending import attend, attend_as, attend_unfused
from astcapture.record.attending_edited import attend_edited
from astcapture.record.editing import edit_begins, edited, given_edited
from astcapture.record.events import declare
from astcapture.record.executions import begin, enter, missed
from astcapture.record.frames import forget, hold, locals, release  # noqa: A004
from astcapture.record.inputs import given, given_starred
from astcapture.record.reading import allow, evaluate, failed, look, unread
from astcapture.record.recording import called, record
from astcapture.record.torch import uncompiled
from astcapture.record.torch.traced import give_counterparts

__all__ = [
    "allow",
    "attend",
    "attend_as",
    "attend_edited",
    "attend_unfused",
    "begin",
    "called",
    "declare",
    "edit_begins",
    "edited",
    "enter",
    "evaluate",
    "failed",
    "forget",
    "given",
    "given_edited",
    "given_starred",
    "hold",
    "locals",
    "look",
    "missed",
    "record",
    "release",
    "unread",
]

uncompiled.leave_alone(declare, hold, release, forget, locals)
give_counterparts()
