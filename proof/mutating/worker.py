"""A process that runs tests in forks of itself: libraries are imported once, the project in each fork anew.

    python worker.py FILE...      # jobs come in as lines of JSON, and go out as such

The files are those of the tests. They are collected once at the start, for what they import, and for pytest to write
their bytecode.

A job: `tests`, ids in the order in which they are to run, or None for all; `files` to collect; `seconds`, the limit;
and `stop`, whether to end with the first that fails. The answer: `status`, `failed`, and of each test its outcome,
seconds, and the lines that it ran, where the environment asks for them.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

#: In place of the project's own options: in this process, and what is marked as slow too.
EVERY_TEST = ("-o", "addopts=--import-mode=importlib")


def main(files: list[str]) -> None:
    for library in _libraries_of(files):
        # Some cannot be imported by their name, or not alone; they are then imported in each fork.
        with suppress(Exception):
            importlib.import_module(library)
    assert not [name for name in sys.modules if name.partition(".")[0] == "astcapture"], "imported too early"
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


def _libraries_of(files: list[str]) -> list[str]:
    """What tests import besides each other and the project, in the order in which it comes."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        sys.dont_write_bytecode = False
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        before = set(sys.modules)
        status = pytest.main([*EVERY_TEST, "-q", "--collect-only", "-p", "no:cacheprovider", *files])
        names = [name for name, module in sys.modules.items() if name not in before and not _is_ours(module)]
        os.write(writing, json.dumps(names if status == 0 else [f"exit status {status}"]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        names = json.load(pipe)
    os.waitpid(child, 0)
    if names[:1] and names[0].startswith("exit status"):
        raise RuntimeError(f"the tests cannot be collected: {names[0]}")
    return names


def _is_ours(module: object) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and Path(file).is_relative_to(Path.cwd())


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the tests of a job in a fork, and end whatever it has started."""
    answers = Path(job["answers"])
    answers.write_text("")
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _in_fork(job, answers)
    status: int | str | None = None
    while status is None:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(code)
        elif time.monotonic() - start > job["seconds"]:
            status = "timed out"
        else:
            time.sleep(0.004)
    with suppress(ProcessLookupError):  # none of its processes may be left
        os.killpg(child, signal.SIGKILL)
    if status == "timed out":
        os.waitpid(child, 0)
    outcomes = [json.loads(line) for line in answers.read_text().splitlines() if line.endswith("}")]
    return {"status": status, "seconds": round(time.monotonic() - start, 3), "outcomes": outcomes}


def _in_fork(job: dict[str, Any], answers: Path) -> None:
    status = 70
    try:
        os.setsid()
        output = os.open(job["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        options = [*EVERY_TEST, "-q", "--tb=short", "-p", "no:cacheprovider", f"--basetemp={job['folder']}"]
        tests = _Tests(job["tests"], answers)
        status = int(pytest.main([*options, *(["-x"] if job["stop"] else []), *job["files"]], plugins=[tests]))
        if job["tests"] is not None and status == pytest.ExitCode.NO_TESTS_COLLECTED:
            status = 71
    finally:
        os._exit(status)


class _Tests:
    """A plugin that runs the chosen tests in their order, and writes down what becomes of each."""

    def __init__(self, chosen: list[str] | None, answers: Path) -> None:
        self.rank = None if chosen is None else {name: place for place, name in enumerate(chosen)}
        self.answers = answers
        self.lines = Path(os.environ["LINES_THAT_RAN"]) if "LINES_THAT_RAN" in os.environ else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        rank = self.rank
        if rank is not None:
            items[:] = sorted((item for item in items if item.nodeid in rank), key=lambda item: rank[item.nodeid])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        if self.lines is not None:
            sys.modules["astcapture._lines_that_ran"].seen.clear()
            self.lines.write_text("")
        self.seconds, self.outcome = 0.0, "passed"
        done = yield
        told = {"test": item.nodeid, "outcome": self.outcome, "seconds": round(self.seconds, 4)}
        if self.lines is not None:
            told["lines"] = sorted(set(self.lines.read_text().splitlines()))
        with self.answers.open("a") as file:
            file.write(json.dumps(told) + "\n")
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds += report.duration
        if report.outcome != "passed" and self.outcome != "failed":
            self.outcome = report.outcome


if __name__ == "__main__":
    main(sys.argv[1:])
