"""Installed beside the package in the interpreter that is measured, and run before the package's own start-up file.

What is recorded is counted and dropped, so that the memory of a run is bounded and nothing lives longer than
in a plain run; with ``PROOF_KEEP`` the last so many values are kept, as a program that reads them would.
What is told on standard error at the start and at the exit is written to ``PROOF_REPORT`` instead, since
many tests read what the processes that they start write there.
"""

import os
import sys
from collections import deque
from functools import partial
from itertools import count

if not sys.flags.ignore_environment:
    from astcapture.imports import finder, hook, report, session
    from astcapture.record import executions, reading, recording
    from astcapture.record.torch import chain, compiled
    from astcapture.values.declared import declared_functions

    REPORT = os.environ["PROOF_REPORT"]
    events = count()
    problems = []
    # Both are C code, as the method of a list is: no frame more, and as quick.
    kept = deque(maxlen=int(os.environ.get("PROOF_KEEP") or 0))
    for module in (recording, reading, executions, chain, compiled):
        assert callable(module.append), "the recorder appends its events in another way"
        module.append = kept.append if kept.maxlen else partial(next, events)
    hook.warn = finder.warn = lambda message, *_: problems.append(message)

    def write_report():
        """One line for each process; the first one's functions and problems too."""
        functions = [":".join(one) for one in declared_functions()]
        first = os.environ.get(session.FIRST_PROCESS) == str(os.getpid())
        lines = [f"process {os.getpid()} {len(functions)} {next(events)}"]
        if first:
            lines += [f"function {one}" for one in functions] + [f"problem {one}" for one in problems]
        with open(REPORT, "a", encoding="utf-8", errors="replace") as file:
            file.write("\n".join(lines) + "\n")

    # In place of what is printed at exit: the summary, and the targets whose module no test imported.
    session.print_summary = write_report
    report.unfulfilled = lambda *_: []
