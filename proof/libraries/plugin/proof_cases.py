"""A plugin of pytest: how each case ended, written down as it ends, for `library_tests`.

``PROOF_CASES`` is the file, a line of JSON for each case. Every case starts from a seed of its own, so
that chance is the same plainly and captured; the states of the random generators at its end are compared.
What is captured is counted after each case and dropped, so that a run's memory is bounded by its largest case.
"""

from __future__ import annotations

import json
import os
import random
import sys
import zlib
from collections import Counter
from typing import Any

import pytest

CASES = os.environ["PROOF_CASES"]
CAPTURED = bool(os.environ.get("ASTCAPTURE"))
STORED = bool(os.environ.get("ASTCAPTURE_STORE"))
LAYERS = bool(os.environ.get("PROOF_LAYERS"))
#: What ended worst is the outcome of a case; it has one for each of setup, call and teardown.
WORST = ("passed", "skipped", "xfailed", "xpassed", "failed", "error")
#: Hooks on modules are compiled with them.
COMPILED = ("compil", "export", "fullgraph", "torchscript", "dynamo", "flex")

if os.environ.get("PROOF_TORCH"):
    # A torchvision whose compiled part does not load here.
    import declare_torchvision

    declare_torchvision.declare()
if LAYERS:
    import proof_layers

    watch = proof_layers.Watch()

ended: dict[str, dict[str, Any]] = {}


def write(line: dict[str, Any]) -> None:
    with open(CASES, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if LAYERS:
        items[:] = [item for item in items if not any(word in item.name for word in COMPILED)]


def pytest_collection_finish(session: pytest.Session) -> None:
    if LAYERS:
        watch.start()
    write({"collected": [item.nodeid for item in session.items]})


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        write({"case": report.nodeid or "the file", "outcome": "error", "why": first_line(report)})


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    seed = zlib.crc32(item.nodeid.encode())
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    if LAYERS:
        watch.next_case()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    try:
        return (yield)
    finally:
        of(item.nodeid)["random"] = random_states()


def pytest_runtest_logreport(report: Any) -> None:
    one = of(report.nodeid)
    if hasattr(report, "context"):  # a subtest
        one["subtests"][report.outcome] += 1
        if report.failed:
            one["why"] = one["why"] or first_line(report)
        return
    outcome = report.outcome
    if hasattr(report, "wasxfail"):
        outcome = "xfailed" if report.skipped else "xpassed"
    elif report.failed and report.when != "call":
        outcome = "error"
    if WORST.index(outcome) > WORST.index(one["outcome"]):
        one["outcome"] = outcome
        one["why"] = one["why"] if outcome == "failed" and one["why"] else first_line(report)
    one["seconds"] += report.duration


def pytest_runtest_logfinish(nodeid: str) -> None:
    one = ended.pop(nodeid, None)
    if one is None:
        return
    one["seconds"] = round(one["seconds"], 2)
    if CAPTURED and not STORED:
        one.update(taken())
    write(one)


def of(nodeid: str) -> dict[str, Any]:
    empty = {"case": nodeid, "outcome": "passed", "why": "", "seconds": 0.0, "subtests": Counter(), "random": None}
    return ended.setdefault(nodeid, empty)


def taken() -> dict[str, Any]:
    """The number of records of the case and where their layers are wrong; they are dropped."""
    import astcapture

    records = {key: astcapture.cache[key].records for key in astcapture.cache}
    told: dict[str, Any] = {"records": sum(map(len, records.values()))}
    if LAYERS:
        told["layers"], told["exactly"] = watch.compare(records)
    del records
    astcapture.cache.clear()
    return told


def first_line(report: Any) -> str:
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):  # a file, a line and the reason for skipping
        text = str(longrepr[2])
    elif getattr(longrepr, "reprcrash", None) is not None:
        text = longrepr.reprcrash.message
    else:
        text = str(longrepr or "").strip().rpartition("\n")[2]
    return (text.strip().splitlines() or [""])[0][:300]


def random_states() -> int:
    states = str(random.getstate()).encode()
    if "numpy" in sys.modules:
        _, keys, *rest = sys.modules["numpy"].random.get_state()
        states += keys.tobytes() + str(rest).encode()
    if "torch" in sys.modules:
        states += sys.modules["torch"].get_rng_state().numpy().tobytes()
    return zlib.crc32(states)
