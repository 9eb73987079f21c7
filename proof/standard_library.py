"""CPython's own tests, run plainly and with every local of the standard library's functions captured.

    python proof/standard_library.py prepare PYTHON          # into a copy of an interpreter that may be written to
    python proof/standard_library.py run PYTHON RESULTS      # plain, then captured; goes on where it stopped
    python proof/standard_library.py compare RESULTS

Each test file runs in a process of its own under CPython's own runner, ``python -m test``; the outcome of
each test case is read from the report that it writes. The captured run is told its targets by
``ASTCAPTURE`` alone and switched on by the installed start-up file, as a user's would be: ``MODULE:*=*`` for
every pure Python module of the standard library that is imported after start-up, and for those that
are there before it (``os``, ``re``, ``inspect`` …) where the test file imports them.

A case that passes plainly and does not pass captured is run twice more both ways: a test that depends on
time or chance is told apart from one that capturing breaks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
PASSED = ("passed", "skipped", "expected failure")
#: Seconds for a test file run plainly; captured it gets this many times more.
LIMIT = 90
SLOWER = 5
#: What they test is the machine, the compiler or an extension module, or it takes minutes to do so.
LEFT_OUT = {
    "test_peg_generator", "test_tools", "test_gdb", "test_idle", "test_tkinter", "test_ttk", "test_turtle",
    "test_asyncio.test_subprocess", "test_socket", "test_ssl", "test_multiprocessing_fork",
    "test_multiprocessing_spawn", "test_multiprocessing_forkserver", "test_concurrent_futures", "test_regrtest",
    "test_embed", "test_freeze",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    prepare_ = commands.add_parser("prepare", help="install the counting start-up file beside the package")
    prepare_.add_argument("python", type=Path)
    run_ = commands.add_parser("run", help="run the test files, plainly and captured")
    run_.add_argument("python", type=Path)
    run_.add_argument("results", type=Path)
    run_.add_argument("--at", choices=["return", "assign"], default="return")
    run_.add_argument("--only", nargs="*", default=[], help="test files; all of them without it")
    run_.add_argument("--tested", action="store_true", help="only the files that test a pure Python module")
    run_.add_argument("--keep", type=int, default=0, help="how many of the last values live on; none without it")
    run_.add_argument("--without", nargs="*", default=[], help="modules that are left plain")
    run_.add_argument("--budget", type=float, default=None, help="stop after so many minutes")
    compare_ = commands.add_parser("compare", help="print what was measured")
    compare_.add_argument("results", type=Path)
    options = parser.parse_args()
    if options.command != "compare":
        options.python = options.python.absolute()
    if options.command == "prepare":
        prepare(options.python)
    elif options.command == "run":
        run_all(options)
    else:
        compare(options.results)


def prepare(python: Path) -> None:
    where = _output(python, "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    for name in ("aa_proof.pth", "aa_proof.py"):
        shutil.copy(HERE / "startup" / name, where)
    # Without a target it must not be noticed.
    print(_output(python, "import astcapture, sys; print(astcapture.__file__, sys.version)"), end="")


def run_all(options: argparse.Namespace) -> None:
    begun = time.monotonic()
    modules = _modules(options.python)
    captured = "-".join([options.at, *(["keep"] if options.keep else []), *(["without"] if options.without else [])])
    for name in options.only or _test_files(options.python, modules, options.tested):
        if {name.removeprefix("test."), name.removeprefix("test.").partition(".")[0]} & LEFT_OUT and not options.only:
            continue
        if options.budget is not None and time.monotonic() - begun > options.budget * 60:
            print("the time is over; run it again to go on")
            return
        plain = once(options, name, "plain", modules, LIMIT)
        if plain["status"] != "finished":
            continue
        limit = max(60, SLOWER * plain["seconds"])
        seen = once(options, name, captured, modules, limit)
        broken = new_failures(plain, seen)
        for attempt in (2, 3):
            if not broken:
                break
            # Chance breaks other cases each time, or the plain ones too.
            again = once(options, name, f"{captured}-{attempt}", modules, limit)
            plain_again = once(options, name, f"plain-{attempt}", modules, LIMIT)
            broken = {one: why for one, why in broken.items() if one in new_failures(plain_again, again)}
        print(
            f"{name}: {len(plain['cases'])} cases, {plain['seconds']:.1f} s plainly, {seen['seconds']:.1f} s captured, "
            f"{len(seen['functions'])} functions, {seen['events']} events, {len(broken)} broken",
            flush=True,
        )
        for one, why in broken.items():
            print(f"    {one}: {why}", flush=True)


def once(options: argparse.Namespace, name: str, kind: str, modules: dict[str, str], limit: float) -> dict:
    """The outcome of one test file run in one way, from the results if it is there."""
    path = options.results / kind / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text())
    targets = "" if kind.startswith("plain") else ";".join(_targets(options, name, modules))
    outcome = _run(options.python, name, targets, options.keep, limit)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".part")
    whole.write_text(json.dumps(outcome, indent=1))
    whole.rename(path)
    return outcome


def _targets(options: argparse.Namespace, name: str, modules: dict[str, str]) -> list[str]:
    capture = "*" if options.at == "return" else "*@assign"
    subject = name.removeprefix("test.").removeprefix("test_").partition(".")[0]
    tested = {subject, *TESTED_TOO.get(subject, ())}
    return [
        f"{module}:*={capture}"
        for module, when in modules.items()
        if (when == "late" or module.partition(".")[0] in tested) and module not in options.without
    ]


def _run(python: Path, name: str, targets: str, keep: int, limit: float) -> dict:
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        report, xml = Path(folder, "report"), Path(folder, "junit.xml")
        report.touch()
        home = Path(folder, "home")
        home.mkdir()
        environment = {"PATH": os.defpath, "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}
        if targets:
            environment.update(ASTCAPTURE=targets, PROOF_REPORT=str(report), PROOF_KEEP=str(keep))
        command = [
            "nice",
            str(python),
            "-X",
            "frozen_modules=off",
            "-m",
            "test",
            "--junit-xml",
            str(xml),
            "--randseed",
            "1",
            name,
        ]
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True, text=True, errors="replace",
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=limit)
            status = "finished"
        except subprocess.TimeoutExpired:
            status = "timed out"
            output = ""
        # What the tests left behind is in the session that was made for them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        written = [line.split(" ", 1) for line in report.read_text(encoding="utf-8").splitlines()]
        processes = [line[1].split() for line in written if line[0] == "process"]
        return {
            "status": status,
            "seconds": round(time.monotonic() - began, 2),
            "exit status": process.returncode,
            "environment changed": "env changed" in output.lower(),
            "cases": _cases(xml) if xml.exists() else {},
            "functions": sorted({line[1] for line in written if line[0] == "function"}),
            "problems": [line[1] for line in written if line[0] == "problem"],
            "events": sum(int(one[2]) for one in processes),
            "processes": len(processes),
            "output": output[-6000:],
        }


def _cases(path: Path) -> dict[str, str]:
    """The outcome of each test case by its id; a case that is run several times counts as its worst."""
    cases: dict[str, str] = {}
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError:
        return {}
    for case in root.iter("testcase"):
        outcome = "passed"
        for child in case:
            if child.tag in ("error", "failure"):
                lines = (child.get("message") or "").strip().splitlines() or [child.tag]
                outcome = f"{child.tag}: {lines[-1][:300]}"
            elif child.tag == "skipped":
                outcome = "skipped"
            elif child.tag == "output":
                outcome = "expected failure"
            elif child.tag == "outcome":
                outcome = "unexpected success"
        # Addresses and numbers of objects are in the ids of some.
        name = case.get("name") or "?"
        if name not in cases or outcome not in PASSED:
            cases[name] = outcome
    return cases


def new_failures(plain: dict, captured: dict) -> dict[str, str]:
    """The cases that end otherwise when captured, and how; the file itself where it does not end at all."""
    if captured["status"] != "finished":
        return {"the file": captured["status"]}
    broken = {
        name: captured["cases"].get(name, "not run")
        for name, outcome in plain["cases"].items()
        if outcome in PASSED and captured["cases"].get(name, "not run") != outcome
    }
    if not broken and plain["exit status"] == 0 != captured["exit status"]:
        broken["the file"] = f"exit status {captured['exit status']}"
    return broken


def compare(results: Path) -> None:
    plain = {path.stem: json.loads(path.read_text()) for path in sorted((results / "plain").glob("*.json"))}
    for kind in sorted(one.name for one in results.iterdir() if one.is_dir() and not one.name.startswith("plain")):
        if kind[-2:] in ("-2", "-3"):
            continue
        captured = {path.stem: json.loads(path.read_text()) for path in sorted((results / kind).glob("*.json"))}
        functions: set[str] = set()
        cases = passed = events = 0
        broken: dict[str, dict[str, str]] = {}
        chance: dict[str, dict[str, str]] = {}
        for name, seen in captured.items():
            functions.update(seen["functions"])
            events += seen["events"]
            cases += len(plain[name]["cases"])
            passed += sum(
                outcome == "passed" and seen["cases"].get(one) == "passed"
                for one, outcome in plain[name]["cases"].items()
            )
            failed = new_failures(plain[name], seen)
            still = dict(failed)
            for attempt in (2, 3):
                again, plainly = (results / f"{one}-{attempt}" / f"{name}.json" for one in (kind, "plain"))
                if again.exists() and plainly.exists():
                    both = json.loads(plainly.read_text()), json.loads(again.read_text())
                    still = {one: why for one, why in still.items() if one in new_failures(*both)}
            if still:
                broken[name] = still
            elif failed:
                chance[name] = failed
        seconds = [sum(one["seconds"] for one in runs.values()) for runs in (captured, {n: plain[n] for n in captured})]
        print(
            f"{kind}: {len(captured)} test files, {cases} cases, {passed} pass both ways, "
            f"{sum(len(one) for one in broken.values())} break; {len(functions)} functions rewritten in "
            f"{len({one.partition(':')[0] for one in functions})} modules, {events} events; "
            f"{seconds[1]:.0f} s plainly, {seconds[0]:.0f} s captured"
        )
        for title, listed in (("broken", broken), ("not each time", chance)):
            for name, failed in listed.items():
                for one, why in failed.items():
                    print(f"  {title}: {name}: {one}: {why}")
    unfinished = {name: one["status"] for name, one in plain.items() if one["status"] != "finished"}
    if unfinished:
        print("not finished plainly:", ", ".join(unfinished))


def _modules(python: Path) -> dict[str, str]:
    listed = subprocess.run(
        [python, HERE / "functions_of_the_standard_library.py"], check=True, capture_output=True, text=True
    ).stdout
    return dict(line.split() for line in listed.splitlines())


#: Modules that are imported before a target can be read, by the test files that test them and are not called so.
TESTED_TOO = {
    "abstract_numbers": ("collections",),
    "contextlib_async": ("contextlib",),
    "cmd_line": ("site", "os"),
    "code": ("re",),
    "coroutines": ("types", "inspect"),
    "defaultdict": ("collections",),
    "deque": ("collections",),
    "dynamicclassattribute": ("types",),
    "fileio": ("io",),
    "future_stmt": ("ast",),
    "generators": ("inspect",),
    "genericpath": ("os", "posixpath"),
    "isinstance": ("abc",),
    "memoryio": ("io",),
    "ordered_dict": ("collections",),
    "popen": ("os",),
    "posixpath": ("os",),
    "sys_settrace": ("dis",),
    "threading_local": ("threading",),
    "userdict": ("collections",),
    "userlist": ("collections",),
    "userstring": ("collections",),
    "weakset": ("_weakrefset",),
}
#: Files that test a pure Python module and are not called after it.
TESTED_ELSEWHERE = frozenset(
    """
    abstract_numbers asyncgen bufio contextlib_async cookie coroutines defaultdict dbm_dumb docxmlrpc eintr
    file_eintr fileio funcattrs future_stmt generators genericpath hash httplib httpservers io isinstance
    keywordonlyarg list memoryio metaclass minidom ordered_dict os picklebuffer posixpath pulldom pyclbr sax
    set string_literals stringprep structmembers subclassinit super sys_settrace threadedtempfile
    threading_local unicode_file univnewlines unpack urllib2 urllib2_localnet urllib_response urllibnet
    urlparse userdict userlist userstring weakset with xml_dom_minicompat xml_dom_xmlbuilder xml_etree
    xmlrpc yield_from zipfile64 zipimport_support zipfile__path importlib re decimal
    """.split()  # noqa: SIM905
)


def _test_files(python: Path, modules: dict[str, str], tested: bool) -> list[str]:
    """The test files, those first that test a pure Python module."""
    listed = subprocess.run([python, "-m", "test", "--list-tests"], check=True, capture_output=True, text=True)
    names = [line for line in listed.stdout.split() if line.startswith("test")]
    known = {module.partition(".")[0] for module in modules} | TESTED_ELSEWHERE

    def tests_one(name: str) -> bool:
        subject = name.removeprefix("test.").removeprefix("test_").partition(".")[0]
        return subject in known or subject.lstrip("_") in known

    return sorted((name for name in names if tests_one(name) or not tested), key=lambda name: not tests_one(name))


def _output(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, cwd="/").stdout


if __name__ == "__main__":
    sys.exit(main())
