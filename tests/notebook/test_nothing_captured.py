"""In a notebook, what is said where nothing is captured names what to run there."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("IPython")

IMPORTS = "import astcapture\nfrom astcapture import capture"
MODEL = """\
class Attention:
    @capture("attn")
    def forward(self, x):
        attn = x * 2
        return attn + 1

model = Attention()"""
NOT_LOADED = (
    "@capture marks Attention.forward in In[2], but notebook cells are captured only after %load_ext astcapture: "
    "run it, then call again"
)
#: Shows the text of what looking for a function raises.
ASK = "try:\n    print(astcapture.cache[{!r}])\nexcept KeyError as error:\n    print(error)"
FORWARD = ASK.format("Attention.forward")


@pytest.mark.parametrize("marker", ["capture", "astcapture.capture", "renamed"])
def test_without_the_extension_an_empty_cache_says_to_load_it(run_cells, marker):
    cells = [f"{IMPORTS}\nrenamed = capture", MODEL.replace("@capture", f"@{marker}"), "model.forward(1)"]
    *_, asked, shown, summed = run_cells(
        *cells, FORWARD, "astcapture.cache", "print(astcapture.cache.summary())", extension=False
    )
    assert asked.out == f"'Attention.forward' is not captured: {NOT_LOADED}\n"
    assert shown.value == f"<Cache: 0 values of 0 functions; {NOT_LOADED}>"
    assert summed.out == f"astcapture: nothing was captured, because no function was rewritten. {NOT_LOADED}\n"


def test_what_it_says_to_do_helps(run_cells):
    outcomes = run_cells(IMPORTS, MODEL, "%load_ext astcapture", "model.forward(3)", FORWARD, extension=False)
    assert outcomes[-1].out == "<Records: 1 × attn, the first int>\n"


def test_without_the_extension_it_is_said_where_modules_are_captured_too(run_cells, make_package):
    make_package({"other.py": "from astcapture import capture\n@capture('y')\ndef f():\n    y = 1"})
    other = "import sys; sys.path.insert(0, '.')\nhook = astcapture.install(['other'])\nimport other"
    *_, asked, summed, wrong = run_cells(
        f"{IMPORTS}\n{other}",
        MODEL,
        FORWARD,
        "print(astcapture.cache.summary())",
        ASK.format("g"),
        extension=False,
    )
    assert asked.out == f"'Attention.forward' is not captured: {NOT_LOADED}\n"
    assert NOT_LOADED in summed.out and "other:f" in summed.out
    assert "%load_ext" not in wrong.out, "of another name that is no reason"


def test_a_function_that_is_not_called_is_said_to_be_so(run_cells):
    *_, failed, table = run_cells(
        IMPORTS,
        MODEL,
        "astcapture.cache['Attention.forward'][0]",
        "astcapture.cache['Attention.forward']._repr_html_()",
    )
    assert "there is no value here: it was not called while recording was on" in failed.out
    assert "Records: empty: it was not called while recording was on" in table.value


def test_a_function_without_a_marker_is_said_to_have_none(run_cells):
    cells = [IMPORTS, "def f(x):\n    y = x\n    return y", ASK.format("f")]
    advice = "put @capture(...) on it and run the cell again"
    assert run_cells(*cells)[-1].out == f"'f' is not captured: In[2] defines it without a marker: {advice}\n"
    assert run_cells(*cells, extension=False)[-1].out == (
        f"'f' is not captured: In[2] defines it without a marker: run %load_ext astcapture, {advice}\n"
    )


def test_a_notebook_that_marks_nothing_is_told_how_both_are_captured(run_cells):
    text = (
        "no function of a notebook cell is marked with @capture(...), and no module is captured: "
        'astcapture.install(["MODULE"]) captures one'
    )
    asked, shown = run_cells("import astcapture\n" + FORWARD, "astcapture.cache")
    assert asked.out == f"'Attention.forward' is not captured: {text}\n"
    assert shown.value == f"<Cache: 0 values of 0 functions; {text}>"
    asked, shown = run_cells("import astcapture\n" + FORWARD, "astcapture.cache", extension=False)
    assert "and neither is any other function" in asked.out, "without the extension it is said as in a script"
    assert shown.value == "<Cache: 0 values of 0 functions>"


def test_a_function_in_the_cell_that_loads_the_extension_is_said_to_be_run_again(run_cells):
    *_, asked = run_cells(f"{IMPORTS}\n%load_ext astcapture\n{MODEL}", FORWARD, extension=False)
    assert asked.out == (
        "'Attention.forward' is not captured: In[1] defined it before the extension was loaded: run the cell again\n"
    )


def test_a_cell_that_could_not_be_captured_as_the_extension_was_loaded_says_why(run_cells):
    wrong = MODEL.replace('"attn"', '"atn"')
    *_, asked = run_cells(IMPORTS, wrong, "%load_ext astcapture", FORWARD, extension=False)
    assert asked.out == (
        "'Attention.forward' is not captured: In[2]:2: 'atn' is never bound in Attention.forward (line 3): "
        "did you mean attn?\n"
    )


def test_the_marker_of_another_library_is_no_reason_to_load_the_extension(run_cells):
    other = "import astcapture\ndef capture(name):\n    return lambda function: function"
    *_, shown = run_cells(other, MODEL, "astcapture.cache", extension=False)
    assert shown.value == "<Cache: 0 values of 0 functions>"


def test_outside_of_notebooks_nothing_is_said_of_them(run_python):
    done = run_python("import astcapture\nprint(repr(astcapture.cache), astcapture.cache.summary())")
    assert done.stdout.startswith(
        "<Cache: 0 values of 0 functions> astcapture: nothing was captured, because no function was rewritten"
    )
    assert "%load_ext" not in done.stdout
