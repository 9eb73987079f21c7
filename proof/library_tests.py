"""A library's own tests of its models, run plainly and captured, and compared case by case.

    python proof/library_tests.py --tests DIR --mode all --results RESULTS.jsonl [NAME...]
    python proof/library_tests.py --tests DIR --mode recipes --results RESULTS.jsonl -- -k "not compile"
    python proof/library_tests.py --tests DIR --mode all --layers --results LAYERS.jsonl
    python proof/library_tests.py --tests DIR --mode assign --report --results RESULTS.jsonl

DIR holds the library's repository, or as much of it as its tests need: transformers' ``tests/models``, its shared
tests and ``conftest.py``; of torch ``test/dynamo`` and the modules beside it, of which the tests themselves are
captured, since they are what it compiles (``--library torch … -- --assert=plain``). Each test file runs in a process
of its own, first plainly, then with capturing switched on by ``ASTCAPTURE`` and the installed start-up file, as a
user's would be:

- ``all``: every local of every function in the model's files, at its returns (``*``);
- ``assign``: every assignment (``*@assign``);
- ``recipes``: the recipes of the library, with a store.

Compared are the outcome of each case with the first line of its reason, its subtests, and where the random
generators stand at its end. Cases that differ run again: three times plainly, and if those end alike, twice
captured. With ``--layers`` the layer of every record is compared with the modules' paths as well, which
`proof_layers` finds itself; cases that compile or export are left out then.

A run goes on where it stopped. The exit status is 0 if nothing differs but by chance and something was captured.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from libraries.comparing import broken, count, passed, settle
from libraries.library import LIBRARIES, MODES
from libraries.running import Setting, run_file

#: A captured file gets so many times the seconds of a plain one.
SLOWER = 4
#: So many differences of layers are printed for a file.
SHOWN = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="what is tested: llama, bert …; the library's list without it")
    parser.add_argument("--tests", type=Path, required=True, help="the folder of the library's repository")
    parser.add_argument("--results", type=Path, required=True, help="a file of JSON lines, which is added to")
    parser.add_argument("--mode", choices=MODES, required=True, help="what is captured")
    parser.add_argument("--library", choices=list(LIBRARIES), default="transformers")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="with the library and this package")
    parser.add_argument("--layers", action="store_true", help="compare layers with named_modules() too; slow")
    parser.add_argument("--limit", type=float, default=900, help="seconds for a file run plainly")
    parser.add_argument("--memory", default="2GB", help="for what is captured, ASTCAPTURE_LIMIT")
    parser.add_argument("--report", action="store_true", help="run nothing, print what the results hold")
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    given = parser.parse_args(own)
    setting = Setting(
        given.python.absolute(), given.tests.absolute(), LIBRARIES[given.library], given.limit, given.memory,
        given.layers, tuple(options),
    )  # fmt: skip
    names = given.names or setting.library.names
    if not given.report:
        missing = [name for name in names if not (setting.tests / setting.library.file_of(name)).exists()]
        if missing:
            parser.error(f"no {setting.library.file_of(missing[0])} below {setting.tests}")
    sys.exit(bool(run_all(setting, names, given.mode, given.results, only_report=given.report)))


def run_all(setting: Setting, names: Sequence[str], mode: str, results: Path, only_report: bool = False) -> int:
    """Run the files that the results lack, and print the table; the number of files in which something is wrong."""
    known = {(one["file"], one["way"]): one for one in read(results)}
    for name in names if not only_report else ():
        plain, captured = known.get((name, "plain")), known.get((name, mode))
        if plain is None:
            # It stays comparable with each mode.
            plain = known[name, "plain"] = run_file(replace(setting, layers=False), name, "plain")
            add(results, plain)
        if captured is None:
            longer = replace(setting, limit=max(setting.limit, SLOWER * plain["seconds"]))
            captured = known[name, mode] = run_file(longer, name, mode)
            captured["settled"] = settle(longer, alike(plain, captured), captured)
            add(results, captured)
            print("\n".join(told(plain, captured)), flush=True)
    print()
    return report([(known[name, "plain"], known[name, mode]) for name in names if (name, mode) in known], mode)


def alike(plain: dict[str, Any], captured: dict[str, Any]) -> dict[str, Any]:
    """The plain run without the cases that the captured one was told to leave out."""
    if plain["options"] == captured["options"]:
        return plain
    return {**plain, "cases": {case: one for case, one in plain["cases"].items() if case in captured["cases"]}}


def add(results: Path, one: dict[str, Any]) -> None:
    results.parent.mkdir(parents=True, exist_ok=True)
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(one) + "\n")


def read(results: Path) -> Iterator[dict[str, Any]]:
    if results.exists():
        with results.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


COLUMNS = ("cases", "passed", "captured", "differ", "chance", "records", "s", "s captured")
WIDTHS = (6, 6, 8, 6, 6, 11, 6, 10)


def report(runs: list[tuple[dict[str, Any], dict[str, Any]]], mode: str) -> int:
    """Print the table of a mode and what differs; the number of files in which something is wrong."""
    print(f"{mode}, {len(runs)} files")
    print(row("file", COLUMNS))
    wrong = 0
    rows = []
    for whole, captured in runs:
        plain = alike(whole, captured)
        differing = broken(captured["settled"])
        layers = sum(len(one.get("layers", ())) for one in captured["cases"].values())
        wrong += bool(differing or layers or not captured["records"] or captured["status"] != "finished")
        cases = len(captured["cases"])
        chance = len(captured["settled"]) - len(differing)
        numbers = [cases, passed(plain), passed(captured), len(differing), chance, captured["records"]]
        rows.append([*numbers, plain["seconds"], captured["seconds"]])
        print(row(plain["file"], rows[-1]))
    if rows:
        print(row("in all", [sum(column) for column in zip(*rows, strict=True)]))
    for plain, captured in runs:
        for line in list(told(plain, captured))[1:]:
            print(line)
    return wrong


def row(name: str, cells: Sequence[Any]) -> str:
    texts = [cell if isinstance(cell, str) else f"{cell:,.0f}" for cell in cells]
    return f"{name:30} " + " ".join(text.rjust(width) for text, width in zip(texts, WIDTHS, strict=True))


def told(plain: dict[str, Any], captured: dict[str, Any]) -> Iterator[str]:
    """A line for a file, and one for each thing that differs."""
    plain = alike(plain, captured)
    differing = set(broken(captured["settled"]))
    yield (
        f"{captured['file']}, {captured['way']}: {len(captured['cases'])} cases, {passed(plain)} passed plainly, "
        f"{passed(captured)} captured, {count(captured, ('skipped',))} skipped, {len(differing)} differ, "
        f"{captured['records']:,} records, {plain['seconds']:.0f} s and {captured['seconds']:.0f} s"
    )
    if captured["status"] != "finished":
        yield f"    {captured['file']}: {captured['status']}\n{captured['output'][-1500:]}"
    elif not captured["records"]:
        yield f"    {captured['file']}: NOTHING WAS CAPTURED"
    for case, one in captured["settled"].items():
        times = "by chance" if case not in differing else f"{one['differed']} of {one['runs']} times"
        yield f"    {times}: {case.rpartition('/')[2]}: {one['how']}"
    exactly = sum(one.get("exactly", 0) for one in captured["cases"].values())
    wrong = [(case, layer) for case, one in captured["cases"].items() for layer in one.get("layers", ())]
    if exactly:
        cases = len({case for case, _ in wrong})
        yield (
            f"    layers: {exactly:,} records compared with the modules that ran, "
            f"{len(wrong)} differences in {cases} cases"
        )
    for case, layer in wrong[:SHOWN]:
        yield f"        {case.rpartition('::')[2]}: {layer}"


if __name__ == "__main__":
    main()
