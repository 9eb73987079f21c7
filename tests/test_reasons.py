"""Each cause of an empty label has its own sentence, and no other cause has it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import astcapture
from astcapture.values.why_empty import WHY_NOT_CALLED

SOURCE = """\
def deleting(x):
    y = x + 1
    del y
    return x


def handling(x):
    try:
        raise KeyError(x)
    except KeyError as error:
        x = 2
    return x


def branching(x):
    if x > 5:
        y = x
    return x


def generating(x):
    y = x
    for _ in range(x):
        yield y


def binding(x):
    if x > 5:
        y = x
    return x


def raising(x):
    y = x
    raise ValueError(y)


def plain(x):
    y = x
    return x
"""

TARGETS = ["reasons:*=y", "reasons:handling=error", "reasons:binding=late:=y@assign"]


@pytest.fixture
def reasons(make_package: Callable[..., Path], fresh_imports: Callable[[], None]) -> Iterator[Any]:
    make_package({"reasons.py": SOURCE})
    with astcapture.install(TARGETS):
        yield importlib.import_module("reasons")


def told(function: str) -> str:
    """What the summary says of a function, below its table."""
    lines = [line for line in astcapture.cache.summary().splitlines() if "skipped, it does not bind" not in line]
    line = next(line for line in lines if line.startswith(f"reasons:{function}: "))
    return line.removeprefix(f"reasons:{function}: ")


def test_a_local_that_is_deleted_is_told_with_the_line_and_the_point_that_takes_it(reasons: Any) -> None:
    reasons.deleting(1)
    assert told("deleting") == (
        "'y' is empty because it was not bound at the one return that ran: the function unbinds it on line 3; "
        "capture y@assign to record it where it is bound"
    )
    assert SOURCE.splitlines()[2].strip() == "del y"


def test_what_a_handler_binds_is_told_with_the_end_of_the_handler(reasons: Any) -> None:
    reasons.handling(1)
    assert "the function unbinds it on line 11; capture error@assign" in told("handling")
    assert SOURCE.splitlines()[10].strip() == "x = 2"


def test_a_branch_that_does_not_bind_it_is_told_as_one(reasons: Any) -> None:
    reasons.branching(1)
    assert told("branching").endswith("the one return that ran: a branch that does not bind it ran")


def test_a_generator_that_was_broken_off_is_told_as_one(reasons: Any) -> None:
    assert next(reasons.generating(3)) == 3
    assert told("generating") == (
        "it is a generator, and one run began and did not come to the end, where 'y' is recorded: "
        "run it to its end, or capture y@assign"
    )
    next(reasons.generating(3))
    assert "2 runs began and none came to the end" in told("generating")
    list(reasons.generating(1))
    assert not any("generator" in line for line in astcapture.cache.summary().splitlines())
    assert list(astcapture.cache["reasons:generating"]) == [1]


def test_a_function_that_ran_past_no_binding_is_told_to_have_run(reasons: Any) -> None:
    reasons.binding(1)
    reasons.binding(6)
    astcapture.cache.clear()
    reasons.binding(1)
    assert told("binding").startswith("'y' is empty because it was not bound at the one return")
    with pytest.raises(KeyError, match="no value labelled 'late'; it ran, but no line that assigns 'late' did"):
        astcapture.cache["reasons:binding"]["late"]


@pytest.mark.parametrize("calls", [0, 1])
def test_a_function_that_was_not_called_or_raised_is_told_so(reasons: Any, calls: int) -> None:
    for _ in range(calls):
        with pytest.raises(ValueError, match="1"):
            reasons.raising(1)
    assert told("raising") == WHY_NOT_CALLED


def test_after_the_cache_is_cleared_what_is_known_is_known_since_then(reasons: Any) -> None:
    reasons.plain(1)
    astcapture.cache.clear()
    assert told("plain") == f"{WHY_NOT_CALLED} since the cache was cleared"


def test_values_that_went_to_a_block_are_told_to_be_there(reasons: Any) -> None:
    with astcapture.recording() as rec:
        reasons.plain(1)
        reasons.plain(2)
    assert told("plain") == "2 values were captured inside recording() or attention() blocks, which hold them"
    assert list(rec["plain"]) == [1, 2]
    reasons.plain(3)
    assert not any(line.startswith("reasons:plain: ") for line in astcapture.cache.summary().splitlines())


def test_layers_that_are_not_chosen_are_told_to_be_left_out(
    make_package: Callable[..., Path], fresh_imports: Callable[[], None]
) -> None:
    make_package({"reasons.py": SOURCE})
    with astcapture.install("reasons:plain=y", layers="blocks.*"):
        importlib.import_module("reasons").plain(1)
        assert told("plain") == "layers= matches none of the layers that ran: outside any module"


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork here")
def test_what_ran_in_forks_alone_is_told_with_the_processes(run_python: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "reasons.py").write_text(SOURCE)
    done = run_python(
        """
        import multiprocessing, astcapture
        astcapture.install("reasons:plain=y")
        import reasons
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=reasons.plain, args=(number,)) for number in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        print(*sorted(child.pid for child in children))
        print(astcapture.cache.summary())
        """
    )
    first, *rest = done.stdout.splitlines()
    pids = first.split()
    (line,) = [line for line in rest if line.startswith("reasons:plain: ")]
    assert all(f"process {pid} (1 value)" in line for pid in pids)
    assert line.endswith("their values ended with them: install(store=DIR) collects it")


def test_a_run_that_was_stored_gives_the_same_reasons(
    reasons: Any, tmp_path: Path, make_package: Callable[..., Path]
) -> None:
    reasons.deleting(1)
    next(reasons.generating(3))
    reasons.plain(1)
    live = astcapture.cache.summary()
    astcapture.cache.save(tmp_path / "run")
    assert astcapture.load(tmp_path / "run").summary() == live


def test_a_bare_key_means_the_one_function_that_has_values(
    make_package: Callable[..., Path], fresh_imports: Callable[[], None]
) -> None:
    make_package({"one.py": SOURCE, "two.py": SOURCE})
    with astcapture.install(["one:plain=y", "two:plain=y"]):
        one, two = importlib.import_module("one"), importlib.import_module("two")
        with pytest.raises(KeyError, match="'plain' is ambiguous: write 'one:plain' or 'two:plain'"):
            astcapture.cache["plain"]
        two.plain(7)
        assert list(astcapture.cache["plain"]) == [7]
        one.plain(8)
        with pytest.raises(KeyError, match="ambiguous"):
            astcapture.cache["plain"]


def test_functions_of_a_recipe_that_left_nothing_share_one_line(
    fresh_imports: Callable[[], None], monkeypatch: pytest.MonkeyPatch, make_package: Callable[..., Path]
) -> None:
    from dataclasses import replace

    from astcapture.targets import recipes, target

    make_package({"reasons.py": SOURCE})
    mine = replace(recipes.recipe("@torch-mha"), name="mine", targets=("reasons:*=y",))
    monkeypatch.setattr(target, "recipe", lambda name: mine)
    with astcapture.install("@mine"):
        module = importlib.import_module("reasons")
        assert "@mine: 6 of its functions recorded nothing: " in astcapture.cache.summary()
        module.plain(1)
        summary = astcapture.cache.summary().splitlines()
        assert [line.split()[:3] for line in summary[2:3]] == [["reasons:plain", "y", "1"]]
        assert summary[3:5] == ["", "@mine: 5 of its functions recorded nothing; summary(all=True) lists them"]
        assert sum(line.startswith("reasons:") for line in astcapture.cache.summary(all=True).splitlines()) > 6
    assert sys.modules["reasons"] is module
