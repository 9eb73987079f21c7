"""Two runs of a test file, case by case; and which of the differences are chance."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from libraries.running import Setting, run_file

#: What differs between two plain runs: addresses, numbers, names of temporary files.
CHANGING = re.compile(r"0x[0-9a-f]+|/[\w./-]*library-tests-[\w./-]*|\d+(?:\.\d+)?(?:e[-+]?\d+)?")
#: So often cases that differ are run again, plainly and captured.
AGAIN = 3


def differences(plain: dict[str, Any], captured: dict[str, Any]) -> dict[str, str]:
    """The cases that end otherwise when captured, and how; the file itself where it does not end as it does plainly."""
    found: dict[str, str] = {}
    if plain["status"] != captured["status"]:
        found["the file"] = f"{plain['status']}, captured {captured['status']}"
    for case in plain["cases"] | captured["cases"]:
        told = difference(plain["cases"].get(case), captured["cases"].get(case))
        if told:
            found[case] = told
    return found


def difference(plain: dict[str, Any] | None, captured: dict[str, Any] | None) -> str:
    """How the two outcomes of a case differ; nothing where they do not."""
    if plain is None or captured is None:
        return f"{'not' if plain is None else 'only'} among the plain cases"
    if plain["outcome"] != captured["outcome"]:
        return f"{plain['outcome']}, captured {captured['outcome']}: {captured['why'] or plain['why']}"
    if _lasting(plain["why"]) != _lasting(captured["why"]):
        return f"{plain['outcome']} both ways: {plain['why']}, captured: {captured['why']}"
    if plain.get("subtests") != captured.get("subtests"):
        return f"subtests: {plain.get('subtests')}, captured {captured.get('subtests')}"
    if plain["outcome"] == "passed" and plain.get("random") != captured.get("random"):
        return "passed both ways, and the random generators stand elsewhere at its end"
    return ""


def _lasting(why: str) -> str:
    return CHANGING.sub("#", why)


def settle(setting: Setting, plain: dict[str, Any], captured: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Run the cases that differ again, first plainly.

    Returns:
        For each case how it differs; whether it is chance, as it ends differently plainly too; and in how many
        of the captured runs it differed from its plain run.
    """
    found = differences(plain, captured)
    cases = [case for case in found if case in plain["cases"] and "::" in case]
    settled: dict[str, dict[str, Any]] = {
        case: {"how": how, "chance": False, "differed": 1, "runs": 1} for case, how in found.items()
    }
    for _ in range(AGAIN if cases else 0):
        again = run_file(setting, plain["file"], "plain", cases)["cases"]
        for case in cases:
            settled[case]["chance"] |= bool(difference(plain["cases"][case], again.get(case)))
    cases = [case for case in cases if not settled[case]["chance"]]
    for _ in range(AGAIN - 1 if cases else 0):
        again = run_file(setting, plain["file"], captured["way"], cases)["cases"]
        for case in cases:
            settled[case]["runs"] += 1
            settled[case]["differed"] += bool(difference(plain["cases"][case], again.get(case)))
    return settled


def broken(settled: dict[str, dict[str, Any]]) -> list[str]:
    return [case for case, one in settled.items() if not one["chance"]]


def passed(run: dict[str, Any]) -> int:
    return count(run, ("passed",))


def count(run: dict[str, Any], outcomes: Iterable[str]) -> int:
    return sum(one["outcome"] in outcomes for one in run["cases"].values())
