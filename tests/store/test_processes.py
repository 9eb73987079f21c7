"""Processes that end in every way there is, and processes that start others: what of their captures is on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import astcapture
from astcapture.values.run import Run

PROJECT = Path(__file__).parents[2]

MODULE = """
def f(x):
    y = x
    return y
"""

Program = Callable[..., str]
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def program(make_package: Callable[..., Path], run_python: RunPython) -> Program:
    """Run a program that captures `f` into run/, as a file, and give what it printed on standard error.

    It begins with ``f`` imported and captured; Python's own warnings of threads and forks are errors.
    """

    def run(source: str, status: int = 0, **env: str) -> str:
        start = "import astcapture, os, sys, time\nimport m\n"
        make_package({"m.py": MODULE})
        make_package({"main.py": start + source.lstrip("\n")})
        return run_python(
            "-W", "error::DeprecationWarning", "main.py", status=status,
            env={"ASTCAPTURE": "m:f=y", "ASTCAPTURE_STORE": "run", "PYTHONPATH": f"{PROJECT}{os.pathsep}.", **env},
        ).stderr  # fmt: skip

    return run


def loaded(tmp_path: Path) -> Run:
    run = astcapture.load(tmp_path / "run")
    assert not run.damaged
    return run


WAYS = {
    "the end": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an uncaught exception": ("raise RuntimeError('mine')", 1),
    "an exception that nobody catches, in strict mode": ("raise SystemExit('mine')", 1),
    "a keyboard interrupt": ("import signal; signal.signal(signal.SIGINT, signal.default_int_handler); os.kill(os.getpid(), signal.SIGINT); time.sleep(10)", -2),  # noqa: E501
    "sys.exit in a thread that goes on": ("import threading; threading.Thread(target=lambda: (time.sleep(.2), m.f(3))).start(); sys.exit(0)", 0),  # noqa: E501
    "a SIGTERM that the program handles": ("import signal; signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); os.kill(os.getpid(), signal.SIGTERM); time.sleep(10)", 4),  # noqa: E501
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_whichever_way_the_interpreter_ends_everything_is_on_disk(program: Program, tmp_path: Path, way: str):
    ending, status = WAYS[way]
    told = program(f"for number in range(3): m.f(number)\n{ending}\n", status=status)
    assert list(loaded(tmp_path)["f"])[:3] == [0, 1, 2]
    count = 4 if "thread" in way else 3
    assert f"astcapture: {count} values stored in {tmp_path / 'run'}; astcapture ls" in told


def test_what_exit_functions_and_finalizers_capture_before_ours_is_stored(program: Program, tmp_path: Path):
    program("import atexit\natexit.register(m.f, 'at exit')\nm.f('before')")
    assert list(loaded(tmp_path)["f"]) == ["before", "at exit"]


def test_the_store_needs_no_module_that_is_gone_at_shutdown(program: Program):
    told = program("""
class Late:
    def __del__(self):
        m.f("late")
late = Late()
m.f(1)
sys.late = late
""")
    assert "Traceback" not in told and "Exception ignored" not in told


def test_the_launcher_streams_as_the_environment_does(
    make_package: Callable[..., Path], run_python: RunPython, tmp_path: Path
):
    make_package({"m.py": MODULE, "main.py": "import m\nm.f('here')\n"})
    done = run_python("-m", "astcapture", "run", "-c", "m:f=y", "-o", "run", "main.py")
    assert f"1 value stored in {tmp_path / 'run'}" in done.stderr and "count" not in done.stderr
    assert list(loaded(tmp_path)["f"]) == ["here"]


def test_a_store_that_is_a_file_is_told_in_one_line_and_the_program_runs(program: Program, tmp_path: Path):
    (tmp_path / "run").write_text("mine")
    told = program("print('ran', file=sys.stderr)")
    assert "name a folder" in told and "the program runs without capturing" in told and told.endswith("ran\n")
    assert (tmp_path / "run").read_text() == "mine"


# Killed


def start(tmp_path: Path, source: str, **env: str) -> subprocess.Popen[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("ASTCAPTURE", "PYTHON"))}
    (tmp_path / "m.py").write_text(MODULE)
    (tmp_path / "main.py").write_text(source)
    return subprocess.Popen(
        [sys.executable, "main.py"],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": f"{PROJECT}{os.pathsep}.", "ASTCAPTURE": "m:f=y", "ASTCAPTURE_STORE": "run", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# As fast as it can: shards are being written at every moment.
BUSY = """
import numpy, m
from astcapture.values import open_store as stores
from astcapture.values import streaming
streaming.FULL = 300_000
number = 0
while True:
    m.f(numpy.full(10_000, number))
    number += 1
    if number == 50:
        print("going", flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_every_finished_shard_loads_and_none_is_missing(tmp_path: Path):
    counts = []
    for attempt in range(8):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        process = start(folder, BUSY)
        assert process.stdout is not None and process.stdout.readline() == "going\n"
        # Wherever it is in the next shard then, and each time further on.
        while len(list(folder.glob("run/*/*.safetensors"))) <= attempt:
            time.sleep(0.001)
        process.kill()
        process.wait()
        process.stdout.close()
        run = astcapture.load(folder / "run", verify=True)
        assert not run.damaged
        values = [int(value[0]) for value in run["f"]]
        assert values == list(range(len(values)))
        counts.append(len(values))
    assert all(counts) and len(set(counts)) > 3


SLOW = """
import time, m
print("going", flush=True)
for number in range(10**9):
    m.f((number, time.time()))
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_a_sigterm_that_nobody_handles_loses_no_more_than_the_last_seconds(tmp_path: Path):
    process = start(tmp_path, SLOW)
    assert process.stdout is not None and process.stdout.readline() == "going\n"
    while not list(tmp_path.glob("run/*/000001.safetensors")):
        time.sleep(0.01)
    time.sleep(0.5)
    ended = time.time()
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    process.stdout.close()
    values = list(loaded(tmp_path)["f"])
    assert [number for number, _ in values] == list(range(len(values)))
    assert ended - values[-1][1] < 3


# Forks


def test_a_fork_after_install_has_a_folder_of_its_own_and_stores_nothing_of_its_parents(
    program: Program, tmp_path: Path
):
    told = program("""
for number in range(5): m.f(("parent", number))
child = os.fork()
if child == 0:
    assert len(astcapture.cache["f"]) == 0
    for number in range(7): m.f(("child", number))
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
m.f(("parent", 5))
""")
    run = loaded(tmp_path)
    assert sorted(len(list(one.shards)) > 0 for one in run.processes) == [True, True]
    assert Counter(run["f"]) == Counter([*(("parent", n) for n in range(6)), *(("child", n) for n in range(7))])
    by_process = [
        {shard.value(index)[0] for shard in one.shards for index in range(len(shard))} for one in run.processes
    ]
    assert by_process in ([{"child"}, {"parent"}], [{"parent"}, {"child"}])
    assert "13 values of 2 processes stored" in told


def test_a_fork_that_captures_nothing_makes_no_folder(program: Program, tmp_path: Path):
    program("""
m.f(1)
if (child := os.fork()) == 0:
    sys.exit(0)
os.waitpid(child, 0)
""")
    assert len(os.listdir(tmp_path / "run")) == 1


def test_a_child_that_leaves_by_os_exit_loses_its_last_second_and_no_more(program: Program, tmp_path: Path):
    program("""
if (child := os.fork()) == 0:
    m.f("early")
    import glob
    while not glob.glob(f"run/*-{os.getpid()}/*.safetensors"):
        time.sleep(0.01)
    m.f("late")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
""")
    assert list(loaded(tmp_path)["f"]) == ["early"]


def test_forks_in_the_midst_of_writing_lose_nothing_and_store_nothing_twice(program: Program, tmp_path: Path):
    program(
        """
import threading, warnings
warnings.simplefilter("ignore")  # of a fork beside a thread; as an error it is raised from Python 3.15 on
from astcapture.values import open_store as stores
from astcapture.values import streaming
streaming.MOST = 50
stop = False
def work():
    number = 0
    while not stop:
        m.f(("parent", number))
        number += 1
        if number % 50 == 0: time.sleep(0.001)
    done.append(number)
done = []
thread = threading.Thread(target=work)
thread.start()
for child in range(15):
    if (pid := os.fork()) == 0:
        for number in range(20): m.f((child, number))
        stores.finish()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop = True
thread.join()
m.f(("count", done[0]))
"""
    )
    values = list(loaded(tmp_path)["f"])
    ((_, count),) = [value for value in values if value[0] == "count"]
    expected = [("parent", number) for number in range(count)] + [(child, n) for child in range(15) for n in range(20)]
    assert Counter(value for value in values if value[0] != "count") == Counter(expected)


def test_a_program_that_is_started_has_a_folder_of_its_own_wherever_it_works(program: Program, tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    program(f"""
import subprocess
m.f("first")
code = "import sys; sys.path.append({str(tmp_path)!r}); import m; m.f('second')"
subprocess.run([sys.executable, "-c", code], cwd="elsewhere", check=True)
""")
    run = loaded(tmp_path)
    assert sorted(run["f"]) == ["first", "second"] and len(run.processes) == 2
    assert not list((tmp_path / "elsewhere").iterdir())


POOL = """
import multiprocessing
def work(number):
    m.f(number)
    return number
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    m.f("main")
    with context.Pool(2) as pool:
        assert pool.map(work, range(6)) == list(range(6))
        pool.close()
        pool.join()
    process = context.Process(target=work, args=("process",))
    process.start()
    process.join()
    assert process.exitcode == 0
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_the_processes_of_multiprocessing_capture_is_on_disk_when_they_end(
    program: Program, tmp_path: Path, method: str
):
    told = program(POOL.format(method=method))
    run = loaded(tmp_path)
    assert Counter(run["f"]) == Counter(["main", "process", *range(6)])
    assert "Traceback" not in told
    assert len({record.thread for record in run["f"].records}) >= 1 and len(run.processes) >= 3


def test_the_rank_is_in_the_records_and_in_the_folders_name(program: Program, tmp_path: Path):
    for rank in ("1", "0"):
        program("m.f(os.environ['RANK'])", RANK=rank)
    run = loaded(tmp_path)
    assert list(run["f"]) == ["0", "1"] and [record.rank for record in run["f"].records] == [0, 1]
    assert [one.name.split("-")[-2] for one in run.processes] == ["0", "1"]
    assert list(run.select(rank=1)) == ["1"]


# No room


def test_a_disk_that_is_full_is_told_once_and_leaves_the_program_and_its_exit_status_alone(
    program: Program, tmp_path: Path
):
    told = program(
        """
import numpy, resource
m.f(0)
from astcapture.values import open_store as stores
from astcapture.values import streaming
stores.current().flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for number in range(4): m.f(numpy.zeros(100_000))
sys.exit(7)
""",
        status=7,
    )
    assert told.count("CaptureWarning") == 1 and "4 values are lost" in told and "File too large" in told
    assert "4 more are lost" in told
    assert list(loaded(tmp_path)["f"]) == [0]
    assert not list((tmp_path / "run").glob("*/.*"))


def test_where_warnings_are_errors_the_program_goes_on_and_reads_them(program: Program, tmp_path: Path):
    told = program("""
import warnings
warnings.simplefilter("error")
m.f(object())
m.f(1)
from astcapture.values import open_store as stores
from astcapture.values import streaming
stores.current().flush()
print("alive", file=sys.stderr)
""")
    assert "CaptureWarning: m:f: 'y' is not stored" in told and "alive" in told
    assert list(loaded(tmp_path)["f"]) == [1]


# The command line


@pytest.mark.slow
def test_ls_lists_what_there_is(program: Program, run_python: RunPython, tmp_path: Path):
    import json

    program("import numpy\nfor number in range(12): m.f(numpy.ones((2, 3)))\nm.f(object())\n", PYTHONWARNINGS="ignore")
    table = run_python("-m", "astcapture", "ls", "run").stdout
    assert table.startswith("m:f\n  label  layer  count  shape   dtype    bytes  processes\n")
    assert "\n  y                12  (2, 3)  float64  576 B          1\n" in table
    assert "m:f: 'y' was not stored once: a value of type object" in table
    plain = json.loads(run_python("-m", "astcapture", "ls", "run", "--json").stdout)
    assert plain["values"] == 12 and plain["bytes"] == 576 and plain["functions"] == ["m:f"] and plain["damaged"] == []
    (one,) = plain["captured"]
    assert (one["function"], one["label"], one["layer"], one["count"]) == ("m:f", "y", None, 12)
    assert (one["shapes"], one["dtypes"], one["bytes"]) == ([[2, 3]], ["float64"], 576)
    (process,) = plain["processes"]
    assert process["rank"] == 0 and process["values"] == 12 and process["targets"] == ["m:f=y"]
    assert process["command"][-1] == "main.py" and one["processes"] == [process["folder"]]


@pytest.mark.slow
def test_ls_names_damaged_shards_and_fails_in_one_line_where_there_is_no_run(
    program: Program, run_python: RunPython, tmp_path: Path
):
    program("import numpy\nm.f(numpy.ones(1000))")
    (shard,) = (tmp_path / "run").glob("*/*.safetensors")
    whole = bytearray(shard.read_bytes())
    whole[-1] ^= 1
    shard.write_bytes(whole)
    assert "damaged" not in run_python("-m", "astcapture", "ls", "run").stdout
    assert (
        f"damaged: {shard.relative_to(tmp_path)}: "
        in run_python("-m", "astcapture", "ls", "--verify", "run", status=1).stdout
    )
    shard.write_bytes(whole[:100])
    assert f"damaged: {shard.relative_to(tmp_path)}: " in run_python("-m", "astcapture", "ls", "run").stdout
    done = run_python("-m", "astcapture", "ls", "nothing", status=1)
    assert done.stderr == "astcapture: there is no folder 'nothing'\n" and not done.stdout
    assert run_python("-m", "astcapture", "ls", status=2).stderr.startswith("Usage: astcapture ls")


def test_a_bar_shows_on_a_terminal_how_far_a_command_is_that_takes_longer_than_a_second(
    monkeypatch: pytest.MonkeyPatch,
):
    import io

    from astcapture.cli.progress import Bar

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, seconds in ((Terminal(), 0.0), (io.StringIO(), 2.0), (Terminal(), 2.0)):
        monkeypatch.setattr(sys, "stderr", stream)
        with Bar("reading shards") as bar:
            bar._start -= seconds
            for done in range(5):
                bar.show(done, 4)
        assert ("100%" in stream.getvalue()) == (stream.isatty() and seconds > 1)


def test_as_the_interpreter_shuts_down_no_thread_is_needed(program: Program, tmp_path: Path):
    """From Python 3.12 on none can be started then; here none at any time from the end of the program on."""
    program(
        """
import _thread, atexit
from astcapture.values import open_store as stores
from astcapture.values import streaming
streaming.MOST = 50
started = _thread.start_new_thread
def refuse(*arguments):
    raise RuntimeError("can't create new thread at interpreter shutdown")
for number in range(400): m.f(number)
_thread.start_new_thread = refuse
"""
    )
    assert list(loaded(tmp_path)["f"]) == list(range(400))


@pytest.mark.slow
def test_ls_raises_no_alarm_where_another_label_holds_the_map_or_a_recipe_names_more_than_runs(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from astcapture.cli.main import main
    from astcapture.values.notes import Notes
    from astcapture.values.run import Run

    monkeypatch.setattr(sys.modules[__name__], "MODULE", "def f(x):\n    attn = x\n    return attn\n")
    program("import numpy\nm.f(numpy.ones(2))", ASTCAPTURE="m:f=attn")
    notes = Notes(
        declared={"m:f": ("attn", "weights"), "m:g": ("attn",), "m:h": ("attn",), "m:i": ("attn",), "m:j": ("x",)},
        recipes=dict.fromkeys(["m:f", "m:g", "m:h", "m:i"], "@zoo") | {"m:j": "@farm"},
        counts={("m:f", "weights"): (12, 0, None), ("m:i", "attn"): (3, 0, None)},
    )
    monkeypatch.setattr(Run, "notes", lambda self: notes)
    monkeypatch.chdir(tmp_path)

    def listed() -> str:
        assert main(["ls", "run"]) == 0
        return capsys.readouterr().out

    said = listed()
    assert "weights" not in said
    assert "m:i: 'attn' was missed 3 times\n" in said
    assert "2 functions of @zoo were not called, which is normal: a program runs few of them\n" in said
    assert "@farm: no values, its one function was not called\n" in said
    notes.counts["m:f", "weights"] = (12, 1, "ValueError")
    assert "'weights' was missed 12 times" in listed()
