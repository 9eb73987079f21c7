"""For programs that train under gloo: waits until its threads sleep, so that none asks for Python's lock at the exit.

torch's ``DistributedDataParallel`` keeps its process group, and with it gloo's threads, beyond
``destroy_process_group``. One that is still letting go of Python objects when the interpreter ends is ended inside of
C++ code, which aborts the process ("terminate called without an active exception"). That happens to the same program
without astcapture.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

#: So many looks in a row must find all of them asleep: a thread that waits for Python's lock gets it between two looks.
LOOKS = 5


def gloo_at_rest() -> None:
    """Return when all threads but this one have slept for a while."""
    asleep = 0
    while asleep < LOOKS:
        time.sleep(0.01)
        asleep = asleep + 1 if _all_sleep() else 0


def _all_sleep() -> bool:
    threads = [one for one in Path("/proc/self/task").iterdir() if int(one.name) != os.getpid()]
    try:
        # "12 (a name) S …": the name may hold anything, also blanks and brackets.
        return all((one / "stat").read_text().rpartition(")")[2].split()[0] == "S" for one in threads)
    except (FileNotFoundError, ProcessLookupError):  # one has just ended
        return False
