"""Other import hooks in the same process, in both orders: do they still do their work, and is there a capture?

The rows are those of docs/compatibility.md; each runs in an interpreter of its own.
"""

from __future__ import annotations

import json
import sys

import pytest
from compatibility_page import rows_under

ROWS = rows_under("Other import hooks")

MODEL = """
    from astcapture import capture

    @capture("y")
    def double(x: int) -> int:
        y = x * 2
        return y

    class Net:
        @capture("z", twice="z * 2")
        def forward(self, x: int) -> int:
            z: int = x + 1
            if x > 100:
                return z
            return z

    def named(x: int) -> int:
        w = x - 1
        return w
"""
#: How each tool is switched on for the module `model`.
TYPE_CHECKERS = {
    "typeguard, install_import_hook": "from typeguard import install_import_hook; install_import_hook('model')",
    "beartype, beartype_package": "from beartype.claw import beartype_package; beartype_package('model')",
    "jaxtyping, install_import_hook": (
        "from jaxtyping import install_import_hook; install_import_hook('model', 'beartype.beartype')"
    ),
}
PROGRAM = """
import json, warnings
import astcapture

def ours():
    return astcapture.install(["model", "model:named=w"])

def theirs():
    {theirs}

def checked():
    refused = []
    for call in (model.double, model.Net().forward, model.named):
        try:
            call("text")
        except Exception as error:
            refused.append(type(error).__name__)
    return refused

def captured():
    astcapture.cache.clear()
    results = model.double(2), model.Net().forward(3), model.named(5)
    assert results == (4, 4, 4), results
    return {{key: list(values) for key, values in astcapture.cache.items() if len(values)}}

with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    {order}
    import model
    told = [str(one.message) for one in warned if one.category is astcapture.CaptureWarning]
    first = captured()
    second = ours()
after = captured()
hook.uninstall()
second.uninstall()
other = astcapture.install(["sys"])
print(json.dumps([checked(), first, told, after, captured(), checked()]))
"""
EVERYTHING = {"model:double": [4], "model:Net.forward": [4, 8], "model:named": [4]}


@pytest.mark.cases(2)
@pytest.mark.parametrize(("tool", "order"), [row[:2] for row in ROWS if row[0] in TYPE_CHECKERS])
def test_a_type_checker_checks_and_the_values_are_captured(make_package, run_python, tool, order):
    calls = "hook = ours(); theirs()" if order == "ours" else "theirs(); hook = ours()"
    folder = make_package({"model.py": MODEL})
    if tool.startswith("jaxtyping") and sys.version_info >= (3, 15):
        alone = f"{TYPE_CHECKERS[tool]}\ntry: import model\nexcept TypeError as error: print(error)"
        if wrong := run_python(alone, cwd=folder).stdout:
            pytest.skip(f"jaxtyping does not work here by itself: {wrong}")
    for _ in range(2):  # compiled, and from the bytecode cache
        output = run_python(PROGRAM.format(theirs=TYPE_CHECKERS[tool], order=calls), cwd=folder).stdout
        checked, first, told, after, uninstalled, checked_plain = json.loads(output)
        assert checked == checked_plain
        assert len(checked) == 3
        assert set(checked) <= {"TypeCheckError", "BeartypeCallHintParamViolation"}
        assert cells(tool, order)[3] == "captured"
        assert first == EVERYTHING
        assert told == []
        assert after == EVERYTHING
        assert uninstalled == {}
        assert cells(tool, order)[2] == "yes"


def cells(*names: str) -> tuple[str, ...]:
    (row,) = (row for row in ROWS if row[: len(names)] == names)
    return row


def test_installing_again_puts_our_finder_before_a_hook_that_was_installed_since(make_package, run_python):
    folder = make_package({"model.py": MODEL, "model_too.py": MODEL})
    program = """
        import astcapture
        from typeguard import install_import_hook
        hook = astcapture.install(["model"])
        install_import_hook(["model", "model_too"])
        again = astcapture.install(["model_too"])
        import model, model_too
        print(model.double(1), model_too.double(2), {key: list(values) for key, values in astcapture.cache.items()})
        import sys
        print([type(finder).__name__ for finder in sys.meta_path].count("CaptureFinder"))
    """
    output = run_python(program, cwd=folder).stdout
    assert output == (
        "2 4 {'model:double': [2], 'model:Net.forward': [], 'model_too:double': [4], 'model_too:Net.forward': []}\n1\n"
    )
