"""What the tests share: sample packages, interpreters to run them in, and an import system left as it was found."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from astcapture.imports import beside, outdated, patch, report
from astcapture.imports import hook as hooks
from astcapture.record import budget, events, executions, live, policy, recording, scope, switch
from astcapture.targets import marker
from astcapture.values import cache as caches
from astcapture.values.shared import shared

PROJECT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--one-case",
        action="store_true",
        help="of a slow test run one case, and none of a test of which others are quick",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left = _leave_some(items)
    if config.getoption("one_case"):
        left_out = left | _all_but_one_case(one for one in items if one not in left)
        config.hook.pytest_deselected(items=[one for one in items if one in left_out])
        items[:] = [one for one in items if one not in left_out]


def _leave_some(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Mark as slow, of a test that is marked ``cases(n)``, all cases but n that are spread evenly. Gives those."""
    left = set()
    for cases in _by_function(items).values():
        mark = cases[0].get_closest_marker("cases")
        # Those that are slow anyway are no cases of the others.
        quick = [one for one in cases if one.get_closest_marker("slow") is None]
        if mark is None or not quick:
            continue
        (most,) = mark.args
        taken = {number * len(quick) // most for number in range(min(most, len(quick)))}
        left |= {one for number, one in enumerate(quick) if number not in taken}
    for one in left:
        one.add_marker(pytest.mark.slow)
    return left


def _all_but_one_case(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Of each slow test all cases but the first."""
    slow = _by_function(one for one in items if one.get_closest_marker("slow") is not None)
    return {one for cases in slow.values() for one in cases[1:]}


def _by_function(items: Iterable[pytest.Item]) -> dict[str, list[pytest.Item]]:
    """The cases of each test function."""
    found: dict[str, list[pytest.Item]] = defaultdict(list)
    for one in items:
        found[one.nodeid.partition("[")[0]].append(one)
    return found


@pytest.fixture(autouse=True, scope="module")
def _older_objects_are_set_aside(request: pytest.FixtureRequest) -> Iterator[None]:
    """To exchange code, install and uninstall list all objects, and these processes have more than half a million.

    What is older than the tests of a file is neither listed nor collected while they run, which halves their time.
    Tests that need it, or files of tests, are marked ``all_objects``; without the mark they fail: nothing is found.
    """
    if request.node.get_closest_marker("all_objects") is not None:
        gc.unfreeze()
        yield
        return
    gc.collect()
    gc.freeze()
    with pytest.MonkeyPatch.context() as patching:
        # Else the frozen ones would be looked for among what the others refer to.
        patching.setattr(live, "_all_are_listed", lambda: True)
        yield


@pytest.fixture(autouse=True)
def _all_objects_where_asked_for(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("all_objects") is not None:
        gc.unfreeze()


@pytest.fixture(autouse=True)
def _no_open_blocks() -> Iterator[None]:
    """A block that a test leaves open, a pause say, would hold for all that follow."""
    yield
    scope.reset()


@pytest.fixture
def make_package(tmp_path: Path) -> Callable[..., Path]:
    """Write files, given as a mapping from path to text, into the test's folder, which comes back."""

    def make(files: Mapping[str, str], folder: Path = tmp_path) -> Path:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Python in the test's folder: one argument that is no file is a program, anything else a command line.

    Its environment has nothing of ours and nothing of Python's, so bytecode is cached. A run that
    ends with another status than `status`, or lasts more than `timeout` seconds, fails the test.
    """

    def run(
        *arguments: str,
        env: Mapping[str, str] | None = None,
        status: int = 0,
        timeout: float = 60,
        cwd: Path = tmp_path,
    ) -> subprocess.CompletedProcess[str]:
        if len(arguments) == 1 and not arguments[0].endswith(".py"):
            arguments = ("-c", textwrap.dedent(arguments[0]))
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("ASTCAPTURE", "PYTHON"))}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**kept, "PYTHONPATH": str(PROJECT), **(env or {})},
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def fresh_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Import from the test's folder, with bytecode caching on, and leave nothing installed, imported or captured.

    The value is a function that forgets the modules imported from that folder, for importing them again.
    """
    finder = hooks.finder
    meta_path, finders, path_hooks = sys.meta_path, sys.meta_path[:], sys.path_hooks[:]
    by_hook = dict(finder.by_hook)
    installed, notice = switch._installed, marker.notice
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    known = set(sys.modules)
    _forget_captures()

    def forget() -> None:
        folders = [path.name for path in tmp_path.iterdir() if path.is_dir()]
        for name in set(sys.modules) - known:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if name.partition(".")[0] in folders or file.startswith(str(tmp_path)):
                del sys.modules[name]

    yield forget
    for hook in set(finder.by_hook) - set(by_hook):
        policy.remove(hook)
        budget.release(hook)
    policy._ever.clear()
    recording.convert()
    sys.meta_path = meta_path
    sys.meta_path[:], sys.path_hooks[:] = finders, path_hooks
    finder.by_hook = by_hook
    for learnt in (finder.found, finder.moved, report._asked, events.left_alone, patch.late, patch.not_exchanged):
        learnt.clear()
    beside._told.clear()
    events.not_bound.clear()
    outdated._files.clear()
    marker.notice = notice
    switch.installed(installed - switch._installed)
    forget()
    sys.path_importer_cache.clear()
    _forget_captures()


def _forget_captures() -> None:
    caches.drain()
    shared.declared.clear()
    shared.skipped.clear()
    shared.recorded.clear()
    shared.missed.clear()
    shared.in_blocks.clear()
    policy._passed_over.clear()
    executions.begun.clear()
    shared.failed.clear()
    caches.cache.clear()
    caches.cache._cleared = False
