"""What became of the mutants: a table by module, and the survivors."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from mutating.mutant import Mutant

KILLED = frozenset({"killed", "timed out"})
Outcomes = Mapping[str, Mapping[str, Any]]


def read_outcomes(path: Path) -> dict[str, dict[str, Any]]:
    """The last that is known of each mutant, by its name."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {told["mutant"]: told for told in map(json.loads, lines)}


def wilson(killed: int, tried: int) -> tuple[float, float]:
    """The 95 % interval of a share that was estimated from a sample (Wilson 1927), as percentages.

    >>> [round(end, 1) for end in wilson(90, 100)]
    [82.6, 94.5]
    """
    z = 1.96
    share = killed / tried
    middle = (share + z * z / (2 * tried)) / (1 + z * z / tried)
    half = z / (1 + z * z / tried) * sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried))
    return max(0.0, 100 * (middle - half)), min(100.0, 100 * (middle + half))


def table(mutants: Iterable[Mutant], outcomes: Outcomes) -> str:
    """How many of each module's mutants were tried and killed; a folder's share is weighed by its modules' mutants."""
    made: Counter[str] = Counter()
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant in mutants:
        told = outcomes.get(mutant.name)
        for name in (mutant.module, mutant.module.rpartition("/")[0] + "/"):
            made[name] += 1
            if told is not None:
                counted[name][told["outcome"]] += 1
    lines = [
        "| module | mutants | tried | killed | timed out | survived | not run | killed, % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in sorted(made):
        one = counted[name]
        tried, killed = sum(one.values()), one["killed"] + one["timed out"]
        share = f"{100 * killed / tried:.1f}" if tried else "–"
        if 0 < tried < made[name]:
            low, high = wilson(killed, tried)
            share += f" ({low:.1f}–{high:.1f})"
        cells = [
            f"`{name}`",
            made[name],
            tried,
            one["killed"],
            one["timed out"],
            one["survived"],
            one["not run"],
            share,
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def survivors(mutants: Iterable[Mutant], outcomes: Outcomes) -> list[Mutant]:
    found = [mutant for mutant in mutants if mutant.name in outcomes]
    alive = [mutant for mutant in found if outcomes[mutant.name]["outcome"] not in KILLED]
    return sorted(alive, key=lambda mutant: (mutant.module, mutant.line, mutant.at, mutant.new))


def shown(mutant: Mutant) -> str:
    """A mutant on one line.

    >>> shown(Mutant("a.py", "", 3, "swap_op", 10, "<", "<="))
    'a.py:3 swap_op: < → <='
    """
    old, new = (" ".join(text.split()) for text in (mutant.old, mutant.new))
    return f"{mutant.module}:{mutant.line} {mutant.operator}: {old or 'nothing'} → {new or 'nothing'}"
