"""One run of a test file: a process of its own, plain or captured, and what came of each case."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libraries.library import Library

PLUGINS = Path(__file__).parent / "plugin"
#: Holds what declares torchvision's operators where its compiled part does not load.
DECLARING = Path(__file__).parents[2] / "tests" / "models"
COUNT = "import sys, astcapture; run = astcapture.load(sys.argv[1]); print(sum(len(run[key]) for key in run))"


@dataclass(frozen=True)
class Setting:
    """What all runs have in common."""

    python: Path
    #: The folder with the tests.
    tests: Path
    library: Library
    #: Seconds for a file.
    limit: float
    #: What a captured process may hold of values, as ``ASTCAPTURE_LIMIT`` has it.
    memory: str
    layers: bool
    #: More options for pytest.
    options: tuple[str, ...]


def run_file(setting: Setting, name: str, way: str, cases: Sequence[str] = ()) -> dict[str, Any]:
    """Run a test file, or some of its cases, once: ``plain``, or captured as one of the modes.

    Returns:
        status: ``finished``, ``timed out``, or ``died``.
        cases: of each case its outcome, the first line of the reason, subtests, random states, layers.
        records: how many were made.
        options: what may leave cases out.
    """
    with tempfile.TemporaryDirectory(prefix="library-tests-") as folder:
        written, store = Path(folder, "cases.jsonl"), Path(folder, "store")
        written.touch()
        command = [
            *("nice", str(setting.python), "-m", "pytest", "-q", "-p", "proof_cases", "-p", "no:cacheprovider"),
            *("-o", "addopts=", "-o", "log_cli=0", f"--rootdir={setting.tests}", f"--basetemp={folder}/basetemp"),
            *(*setting.options, *(cases or [setting.library.file_of(name)])),
        ]
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=_environment(setting, name, way, folder), cwd=setting.tests, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, text=True, errors="replace",
        )  # fmt: skip
        output, status = "", "finished"
        try:
            output, _ = process.communicate(timeout=setting.limit)
        except subprocess.TimeoutExpired:
            status = "timed out"
        # What the tests left behind is in the session that was made for them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if status == "finished" and process.returncode not in (0, 1):
            status = f"died ({process.returncode})" if process.returncode < 0 else f"exit status {process.returncode}"
        lines = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
        ended = {line.pop("case"): line for line in lines if "case" in line}
        for case in next((line["collected"] for line in lines if "collected" in line), []):
            ended.setdefault(case, {"outcome": "not run", "why": status})
        records = sum(one.pop("records", 0) for one in ended.values())
        if store.exists():
            records = _stored(setting, store)
        return {
            "file": name,
            "way": way,
            "options": [*setting.options, *(["layers"] if setting.layers else [])],
            "status": status,
            "seconds": round(time.monotonic() - began, 1),
            "cases": ended,
            "records": records,
            "output": output[-3000:],
        }


def _environment(setting: Setting, name: str, way: str, folder: str) -> dict[str, str]:
    kept = {one: text for one, text in os.environ.items() if not one.startswith(("ASTCAPTURE", "PROOF_", "PYTHON"))}
    environment = {
        **kept, "PYTHONHASHSEED": "1", "PYTHONPATH": f"{PLUGINS}{os.pathsep}{DECLARING}", "OMP_NUM_THREADS": "1",
        "HOME": folder, "TMPDIR": folder, "PROOF_CASES": f"{folder}/cases.jsonl", "CUDA_VISIBLE_DEVICES": "",
        # Nothing is looked up in the network; what was compiled is kept for the next run, by its graph.
        "HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/hf",
        "TORCHINDUCTOR_CACHE_DIR": str(Path(tempfile.gettempdir(), "library-tests-inductor")),
    }  # fmt: skip
    if setting.library.torch:
        environment["PROOF_TORCH"] = "1"
    if setting.layers:
        environment["PROOF_LAYERS"] = "1"
    if way != "plain":
        environment |= {"ASTCAPTURE": setting.library.targets(name, way), "ASTCAPTURE_LIMIT": setting.memory}
        if way == "recipes" and not setting.layers:  # layers are compared as long as the records are in memory
            environment["ASTCAPTURE_STORE"] = f"{folder}/store"
    return environment


def _stored(setting: Setting, store: Path) -> int:
    counted = subprocess.run(
        [setting.python, "-c", COUNT, store], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    return int(counted.stdout) if counted.returncode == 0 else 0
