"""What was measured, as tables in Markdown, and which place each has. Knows neither torch nor the peers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from peers.variants import BY_HAND, OURS, PLAIN


@dataclass
class Measured:
    """What is known of one variant; `problem` says in words why there is nothing, or why it must not be trusted."""

    name: str
    lines: int
    problem: str = ""
    own_copy: bool | None = None
    seconds: list[float] = field(default_factory=list)
    import_alone: list[float] = field(default_factory=list)
    import_beside: list[float] = field(default_factory=list)
    first_maps: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    most: list[float] = field(default_factory=list)


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the 10th and the 90th percentile.

    >>> spread([float(number) for number in range(101)])
    (50.0, 10.0, 90.0)
    """
    deciles = statistics.quantiles(values, n=10, method="inclusive")
    return statistics.median(values), deciles[0], deciles[-1]


def ratios(one: Measured, other: Measured) -> list[float]:
    """Of the times of each round."""
    return [mine / theirs for mine, theirs in zip(one.seconds, other.seconds, strict=True)]


def _cell(values: Sequence[float], unit: float = 1.0, digits: int = 2, sign: str = "") -> str:
    # Adding zero makes 0.0 of -0.0.
    median, low, high = (f"{round(unit * value, digits) + 0.0:,.{digits}f}" for value in spread(values))
    return f"{median}{sign} ({low} to {high})"


def per_forward(measured: dict[str, Measured]) -> str:
    rows = ['| way | time per forward, ms | relative to the plain model | relative to "by hand" |']
    rows[0] += " maps survive a later in-place change |"
    rows.append("| --- | --- | --- | --- | --- |")
    for one in measured.values():
        if one.problem:
            rows.append(f"| {one.name} | {one.problem} | | | |")
            continue
        against = [_cell(ratios(one, measured[name]), sign="×") for name in (PLAIN, BY_HAND)]
        own = "" if one.own_copy is None else "yes" if one.own_copy else "no: it makes no copy"
        rows.append(f"| {one.name} | {_cell(one.seconds, 1000)} | {' | '.join(against)} | {own} |")
    return "\n".join(rows)


def besides(measured: dict[str, Measured]) -> str:
    rows = ["| way | lines to write | import alone, ms | import when torch and transformers are imported already, ms |"]
    rows[0] += " time to the first maps, s | memory held, MB | peak memory, MB |"
    rows.append("| --- | --- | --- | --- | --- | --- | --- |")
    for one in measured.values():
        if one.problem:
            rows.append(f"| {one.name} | {one.lines} | {one.problem} | | | | |")
            continue
        imports = [
            _cell(times, 1000, 1) if times else "nothing to import" for times in (one.import_alone, one.import_beside)
        ]
        memory = [_cell(sizes, 1e-6, 1) for sizes in (one.held, one.most)]
        rows.append(
            f"| {one.name} | {one.lines if one.name != PLAIN else ''} | {' | '.join(imports)} "
            f"| {_cell(one.first_maps)} | {' | '.join(memory)} |"
        )
    return "\n".join(rows)


def places(measured: dict[str, Measured]) -> str:
    """Where ours stands in each column, by the medians as shown, among all that gave the right maps."""
    right = [one for one in measured.values() if not one.problem and one.name != PLAIN]
    if not any(one.name == OURS for one in right):
        return f"{OURS} has no place: {measured[OURS].problem}"
    columns: dict[str, Callable[[Measured], float]] = {
        "time of a forward": lambda one: _median(one.seconds, 1000, 2),
        "lines to write": lambda one: one.lines,
        "import alone": lambda one: _median(one.import_alone, 1000, 1),
        "import beside torch and transformers": lambda one: _median(one.import_beside, 1000, 1),
        "time to the first maps": lambda one: _median(one.first_maps, 1, 2),
        "memory held": lambda one: _median(one.held, 1e-6, 1),
        "memory at the most": lambda one: _median(one.most, 1e-6, 1),
    }
    rows = [f"{OURS}, by the medians:"]
    for column, key in columns.items():
        ours = key(next(one for one in right if one.name == OURS))
        before = sorted((one for one in right if key(one) < ours), key=key)
        ahead = f"behind {'; '.join(one.name for one in before)}" if before else "none is ahead"
        rows.append(f"- {column}: place {len(before) + 1} of {len(right)}, {ahead}")
    return "\n".join(rows)


def _median(values: Sequence[float], unit: float, digits: int) -> float:
    """As the table shows it; nothing to import is nothing to wait for."""
    return round(unit * statistics.median(values), digits) if values else 0.0
