"""The comparison with others: ratios are of the same round, and who is missing, wrong or ahead is told."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from peers import table
from peers.table import Measured
from peers.variants import BY_HAND, OURS, PLAIN, VARIANTS, Variant, edited

COMMAND = Path(__file__).parents[2] / "benchmarks" / "peers.py"


@pytest.fixture
def command() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers_command", COMMAND)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measured(name: str, factor: float, rounds: tuple[float, ...] = (1.0, 2.0, 4.0)) -> Measured:
    times = [factor * each for each in rounds]
    return Measured(
        name, lines=3, own_copy=True, seconds=times, import_alone=times, import_beside=times, first_maps=times,
        held=[5e6, 5e6], most=[7e6, 7e6],
    )  # fmt: skip


def three(**changes: Measured) -> dict[str, Measured]:
    found = {PLAIN: measured(PLAIN, 1.0), BY_HAND: measured(BY_HAND, 1.25), OURS: measured(OURS, 1.5)}
    return {name: changes.get(name, one) for name, one in found.items()}


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"| {name} |"))


def test_ratios_are_of_the_times_of_one_round_so_that_a_slow_round_does_not_widen_them() -> None:
    cells = row(table.per_forward(three()), OURS).split(" | ")
    assert cells[1:4] == ["3,000.00 (1,800.00 to 5,400.00)", "1.50× (1.50 to 1.50)", "1.20× (1.20 to 1.20)"]


def test_a_variant_that_is_missing_or_wrong_is_told_in_both_tables_and_has_no_place() -> None:
    found = three()
    found["other"] = Measured("other", lines=1, problem="wrong maps: 3 of 12 right, 12 given")
    assert "wrong maps: 3 of 12" in row(table.per_forward(found), "other")
    assert "wrong maps: 3 of 12" in row(table.besides(found), "other")
    assert "lines to write: place 1 of 2, none is ahead" in table.places(found)


def test_the_places_name_everyone_who_is_ahead() -> None:
    assert f"time of a forward: place 2 of 2, behind {BY_HAND}" in table.places(three())
    slow = replace(measured(OURS, 1.5), problem="fails: KeyError")
    assert table.places(three(**{OURS: slow})) == f"{OURS} has no place: fails: KeyError"


def test_a_variant_with_nothing_to_import_is_ahead_of_one_that_imports() -> None:
    found = three()
    found[BY_HAND].import_alone.clear()
    assert f"import alone: place 2 of 2, behind {BY_HAND}" in table.places(found)


def test_a_peer_that_is_not_installed_is_said_with_the_way_to_get_it(command: ModuleType) -> None:
    absent = Variant(name="absent", each="", module="no_such_module_anywhere", missing="clone it")
    assert command.missing(absent) == "not installed: clone it"
    assert command.missing(replace(absent, module="json")) == ""


def test_lines_are_counted_from_what_is_run_without_the_call_of_the_model() -> None:
    variant = Variant(
        name="x",
        edits=(("def f", "kept = []\n"),),
        before="\nimport x\n",
        each="model(pixels)\nmaps = kept\n",
        drop="clear()",
    )
    assert variant.lines == 4
    assert next(variant for variant in VARIANTS if variant.name == PLAIN).lines == 0


def test_a_source_that_has_changed_is_not_measured_unedited() -> None:
    with pytest.raises(ValueError, match=r"no line of the model's source starts with 'def f'"):
        edited("def g():\n    pass\n", (("def f", "kept = []\n"),))
