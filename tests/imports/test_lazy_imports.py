"""``lazy import`` of Python 3.15: a captured module is run when it is first used, as without, and captured then."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 15), reason="syntax of Python 3.15")

FILES = {
    "model.py": """
        print("model runs")
        def double(x):
            y = x * 2
            return y
    """,
    "user.py": """
        import sys
        lazy import model
        lazy import model as again
        lazy from model import double as twice
        lazy import absent_altogether
        def sum_of(x):
            z = twice(x) + again.double(x) + model.double(x)
            return z
        print("user has run,", "model" in sys.modules)
    """,
}
USE = """
    def waiting(module):
        kind = type(vars(module)["absent_altogether"])
        return sorted(name for name, value in vars(module).items() if type(value) is kind)
    print(waiting(user), "model" in sys.modules)
    print(user.sum_of(3), waiting(user), user.again is user.model)
    try: user.absent_altogether
    except ImportError as error: print(type(error), error)
    print(sorted(name for name in vars(user) if not name.startswith("_@")))
"""
PLAIN = "import sys\nimport user\n" + USE.replace("\n    ", "\n")
INSTALL = "hook = astcapture.install(['model:double=y', 'user:sum_of=z,*@assign'])\n"
BEFORE = "import sys, astcapture\n" + INSTALL
SHOW = "print({key: list(values) for key, values in astcapture.cache.items()}, file=sys.stderr)\n"
CAPTURED = "{'user:sum_of': [18, 18], 'model:double': [6, 6, 6]}\n"

RunPython = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def folder(make_package: Callable[..., Path]) -> Path:
    return make_package(FILES)


@pytest.mark.parametrize("options", [(), ("-X", "lazy_imports=all")])
def test_lazy_imports_of_a_captured_module_and_in_one_stay_lazy(folder: Path, run_python: RunPython, options):
    plain = run_python(*options, "-c", PLAIN, cwd=folder)
    assert "False\nmodel runs\n18 " in plain.stdout
    for _ in range(2):  # compiled, and from the bytecode cache
        captured = run_python(*options, "-c", BEFORE + PLAIN + SHOW, cwd=folder)
        assert (captured.stdout, captured.stderr) == (plain.stdout, CAPTURED)


@pytest.mark.parametrize("options", [(), ("-X", "lazy_imports=all")])
def test_hooks_that_come_and_go_while_an_import_waits_leave_it_waiting(folder: Path, run_python: RunPython, options):
    use = USE.replace("\n    ", "\n")
    plain = run_python(*options, "-c", PLAIN, cwd=folder)
    late = (
        f"import sys, user\nfor name in vars(user): pass\nimport astcapture\n{INSTALL}hook.uninstall()\n{INSTALL}"
        + use + SHOW
    )  # fmt: skip
    captured = run_python(*options, "-c", late, cwd=folder)
    assert sorted(captured.stdout.splitlines()) == sorted(plain.stdout.splitlines())
    assert captured.stderr == CAPTURED


def test_switched_on_by_the_environment_imports_stay_lazy(folder: Path, run_python: RunPython):
    env = {"ASTCAPTURE": "model:double=y;user:sum_of=z,*@assign"}
    plain = run_python("-c", PLAIN, cwd=folder)
    launched = ("-m", "astcapture", "run", "-c", env["ASTCAPTURE"], "program.py")
    (folder / "program.py").write_text(PLAIN)
    assert run_python(*launched, cwd=folder).stdout == plain.stdout
    everything = run_python("-X", "lazy_imports=all", *launched, cwd=folder)
    assert everything.stdout == run_python("-X", "lazy_imports=all", "-c", PLAIN, cwd=folder).stdout
    assert everything.stderr.count("\n") == 5  # the summary, three rows of it
