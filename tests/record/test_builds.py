"""Interpreters that compile hot code, or have no global lock: what is recorded is what it is in any other."""

from __future__ import annotations

import sys
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

RunPython = Callable[..., "CompletedProcess[str]"]

MODEL = """
def f(x):
    y = x * 2
    if x % 3 == 0:
        z = y + 1
        return z
    for i in range(3):
        y += i
    return y
def g(n):
    for k in range(n):
        w = f(k)
        yield w
"""
HOT = """
import sys, astcapture
assert sys._jit.is_enabled() == (sys.argv[1:] == ["on"])
if sys.argv[1:]: astcapture.install(["model:f=y,z,i@assign", "model:g=k,w@assign"])
import model
print(sum(model.g(20_000)))
for label in "yziwk" if sys.argv[1:] else "":
    values = [record.value for record in astcapture.cache.select(label=label).records]
    print(label, len(values), hash(tuple(values)), file=sys.stderr)
"""


@pytest.mark.skipif(
    not (hasattr(sys, "_jit") and sys._jit.is_available()), reason="the interpreter was built without a JIT"
)
def test_code_that_the_interpreter_compiled_records_what_it_records_otherwise(make_package, run_python: RunPython):
    folder = make_package({"model.py": MODEL, "hot.py": HOT})
    plain = run_python("hot.py", cwd=folder)
    compiled = run_python("hot.py", "on", cwd=folder, env={"PYTHON_JIT": "1"})
    interpreted = run_python("-c", HOT.replace('== ["on"]', '== ["never"]'), "on", cwd=folder)
    assert compiled.stdout == interpreted.stdout == plain.stdout
    assert compiled.stderr == interpreted.stderr
    assert "y 20000 " in compiled.stderr
    assert "w 20000 " in compiled.stderr


THREADS = """
import sys, threading, astcapture
sys.setswitchinterval(1e-6)
astcapture.install(["model:h=pair"])
import model
start = threading.Barrier(7)
def work(name):
    start.wait()
    for number in range(3_000): model.h(name, number)
threads = [threading.Thread(target=work, args=(name,)) for name in "abcdef"]
for thread in threads: thread.start()
start.wait()
# Each look takes out the front of the list to which the threads append.
while any(thread.is_alive() for thread in threads): len(astcapture.cache.select())
for thread in threads: thread.join()
by_name = {}
for name, number in astcapture.cache["model:h"]: by_name.setdefault(name, []).append(number)
assert sorted(by_name) == list("abcdef"), sorted(by_name)
for name, numbers in by_name.items(): assert numbers == list(range(3_000)), name
print(getattr(sys, "_is_gil_enabled", lambda: True)())
"""


def test_threads_that_append_while_others_take_lose_nothing_and_keep_their_order(make_package, run_python: RunPython):
    folder = make_package({"model.py": "def h(name, number):\n    pair = name, number\n    return pair\n"})
    # Where there is no global lock, an extension module that asks for one must not bring it back.
    free = {"PYTHON_GIL": "0"} if not getattr(sys, "_is_gil_enabled", lambda: True)() else {}
    assert run_python(THREADS, cwd=folder, env=free).stdout == f"{not free}\n"
