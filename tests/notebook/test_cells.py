"""The marked functions of cells are captured in an IPython shell, and the cells do what they did."""

from __future__ import annotations

import re

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
CALL = "model.forward(3)"
LOOK = "list(astcapture.cache['Attention.forward'])"
COUNT = "len(astcapture.cache)"


def values(outcomes):
    return [outcome.value for outcome in outcomes]


def test_a_marked_function_of_a_cell_is_captured(run_cells):
    assert values(run_cells(IMPORTS, MODEL, CALL, LOOK, "list(astcapture.cache)")) == [
        None,
        None,
        "7",
        "[6]",
        "['__main__:Attention.forward']",
    ]


def test_without_the_extension_nothing_is_captured(run_cells):
    assert values(run_cells(IMPORTS, MODEL, CALL, COUNT, extension=False)) == [None, None, "7", "0"]


@pytest.mark.parametrize(
    ("imports", "marker"),
    [
        ("from astcapture import capture as cap", "cap"),
        ("import astcapture as ac", "ac.capture"),
        ("try:\n    from astcapture import capture as tried\nfinally:\n    pass", "tried"),
        ("from astcapture.targets import marker as m", "m.capture"),
        ("from astcapture.targets.marker import capture as note", "note"),
        ("import astcapture\nmark = astcapture.capture", "mark"),
    ],
)
def test_the_marker_is_known_by_any_name_that_an_earlier_cell_gave_it(run_cells, imports, marker):
    model = MODEL.replace("@capture", f"@{marker}")
    assert values(run_cells(imports, "unrelated = 1", model, CALL, "import astcapture", LOOK))[-1] == "[6]"


def test_the_marker_may_be_imported_in_the_cell_itself(run_cells):
    assert values(run_cells(f"{IMPORTS}\n{MODEL}", CALL, LOOK))[-1] == "[6]"


def test_the_marker_of_another_library_is_left_alone(run_cells):
    other = "import astcapture\ndef capture(name):\n    return lambda function: function"
    assert values(run_cells(other, MODEL, CALL, COUNT)) == [None, None, "7", "0"]
    assert values(run_cells(IMPORTS, f"{other}\n{MODEL}", CALL, COUNT)) == [None, None, "7", "0"]


def test_a_function_that_is_defined_again_is_captured_as_it_is_now(run_cells):
    again = MODEL.replace("x * 2", "x * 10")
    assert values(run_cells(IMPORTS, MODEL, CALL, again, CALL, LOOK))[-1] == "[6, 30]"


def test_a_cell_that_is_run_twice_is_captured_twice(run_cells):
    cell = f"{MODEL}\n{CALL}"
    assert values(run_cells(IMPORTS, cell, cell, LOOK)) == [None, "7", "7", "[6, 6]"]


def test_recordings_name_the_line_of_the_cell(run_cells):
    outcomes = run_cells(IMPORTS, MODEL, CALL, "[r.lineno for r in astcapture.cache['Attention.forward'].records]")
    assert outcomes[-1].value == "[5]"


# What cells can be, and what is displayed of them; `plain` runs them without the extension.
KINDS = {
    "last expression": ['@capture("y")\ndef f(x):\n    y = x + 1\n    return y\nf(1)', "_ + 1", "Out[2]"],
    "no last expression": ['@capture("y")\ndef f(x):\n    y = x + 1\n    return y\nz = f(1);', "z"],
    "expression that is silenced": ['@capture("y")\ndef f(x):\n    y = x + 1\n    return y\nf(1);'],
    "only a def": ['@capture("y")\ndef f(x):\n    "Doc."\n    y = x + 1\n    return y', "f.__doc__, f(1), f.__name__"],
    "await": [
        'import asyncio as a\n@capture("y")\nasync def f(x):\n    y = await a.sleep(0, x)\n    return y\nawait f(1)',
        "[await f(n) for n in range(3)]",
    ],
    "magic in the cell": ['@capture("y")\ndef f(x):\n    y = x + 1\n    return y\n%pylab_no = 3', "%who_ls int"],
    "line magic": ['@capture("y")\ndef f(x):\n    y = x + 1\n    return y\nlisted = %who_ls int\nf(1), listed'],
    "shell": ['@capture("y")\ndef f(x):\n    y = x + 1\n    return y\nsaid = !echo hello\nf(1), list(said)'],
    "capture magic": [
        '%%capture said\n@capture("y")\ndef f(x):\n    y = x + 1\n    return y\nprint(f(1))',
        "said.stdout",
    ],
    "future": [
        'from __future__ import annotations\n@capture("y")\ndef f(x: Undefined):\n    y = x + 1\n    return y\nf(1)',
        'f.__annotations__\n@capture("y")\ndef g(x: Missing):\n    y = x\n    return y\ng.__annotations__',
    ],
    "docstring": ['"A cell."\n@capture("y")\ndef f(x):\n    y = x + 1\n    return y\nf(1)'],
    "source": ['@capture("y")\ndef f(x):\n    y = x + 1\n    return y', "import inspect\ninspect.getsource(f)"],
    "question mark": ['@capture("y")\ndef f(x):\n    "Doc."\n    y = x + 1\n    return y', "f??"],
    "error in the function": ['@capture("y")\ndef f(x):\n    y = x\n    return (\n        y / 0\n    )', "f(1)"],
    "error in the cell": ['@capture("y")\ndef f(x):\n    y = x\n    return y\nf(1) / 0'],
    "syntax error": ['@capture("y")\ndef f(x):\n    y = = x', "1"],
    "generator": ['@capture("y")\ndef f(x):\n    y = x\n    yield y\n    return y\nlist(f(1))'],
    "every expression": [
        "get_ipython().ast_node_interactivity = 'all'",
        "1\n@capture('y')\ndef f(x):\n    y = x\nf(1)\n2",
    ],
    "last assignment": [
        "get_ipython().ast_node_interactivity = 'last_expr_or_assign'",
        "@capture('y')\ndef f(x):\n    y = x\n    return y\nz = f(1)",
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_shows_what_it_shows_without_the_extension(run_cells, kind):
    cells = [IMPORTS, *KINDS[kind]]
    with_it, plain = run_cells(*cells), run_cells(*cells, extension=False)
    assert with_it == plain


@pytest.mark.parametrize("magic", ["%%time", "%%timeit -n1 -r1", "%%capture"])
def test_cells_under_a_magic_are_captured(run_cells, magic):
    outcomes = run_cells(IMPORTS, f"{magic}\n{MODEL}\n{CALL}", LOOK)
    assert outcomes[1].error is None
    assert outcomes[2].value == "[6]"


def test_a_coroutine_of_a_cell_that_awaits_is_captured(run_cells):
    cell = '@capture("y")\nasync def f(x):\n    y = x + 1\n    return y\nawait f(1)'
    assert values(run_cells(IMPORTS, cell, "list(astcapture.cache['f'])"))[1:] == ["2", "[2]"]


def test_a_name_that_is_never_bound_is_told_in_one_line_and_the_cell_is_not_run(run_cells):
    wrong = 'print("run")\n' + MODEL.replace('"attn"', '"atn"')
    _, outcome, after, count = run_cells(IMPORTS, wrong, "'model' in dir()", COUNT)
    assert outcome.out == (
        "CaptureError: In[2]:3: 'atn' is never bound in Attention.forward (line 4): did you mean attn?\n"
    )
    assert (outcome.error, outcome.err) == ("CaptureError", "")
    assert (after.value, count.value) == ("False", "0")


def test_an_argument_that_is_no_literal_is_told_in_one_line(run_cells):
    _, outcome, again = run_cells(IMPORTS, "name = 'attn'\n" + MODEL.replace('"attn"', "name"), f"{MODEL}\n{CALL}")
    assert outcome.out == (
        "CaptureError: In[2]:3: name in capture(name) is not a literal: the marker is read from the source "
        'without running it, so write the name itself, @capture("attn")\n'
    )
    assert again.value == "7", "the next cell is rewritten as ever"


def test_an_error_in_a_cell_under_a_magic_is_told_in_one_line(run_cells):
    _, outcome = run_cells(IMPORTS, "%%time\n" + MODEL.replace('"attn"', '"atn"'))
    assert outcome.out.startswith("CaptureError: In[2]:2: 'atn' is never bound")
    assert outcome.out.count("\n") == 1


BREAK = """\
import astcapture.imports.notebook as notebook
def broken(planned, module):
    planned.function.node.body.clear()
    raise RuntimeError("a bug")
notebook.rewrite_function = broken"""


def test_a_bug_in_the_rewriter_leaves_the_cell_as_it_was_written(run_cells):
    outcomes = run_cells(IMPORTS, BREAK, f"{MODEL}\n{CALL}", COUNT)
    assert values(outcomes)[2:] == ["7", "0"]
    assert "In[3] runs without capturing: rewriting failed (RuntimeError: a bug)" in outcomes[2].err


def test_a_bug_in_the_rewriter_is_an_error_where_a_hook_is_strict(run_cells):
    outcomes = run_cells(IMPORTS, BREAK, "hook = astcapture.install(['__main__'], strict=True)", f"{MODEL}\n{CALL}")
    assert outcomes[-1].value is None
    assert outcomes[-1].out.startswith("CaptureError: In[4]: rewriting failed (RuntimeError: a bug)")


def test_functions_of_cells_that_were_run_before_loading_are_captured(run_cells):
    outcomes = run_cells(IMPORTS, MODEL, CALL, "%load_ext astcapture", CALL, LOOK, extension=False)
    assert values(outcomes) == [None, None, "7", None, "7", "[6]"]
    assert outcomes[3].err == ""


def test_an_earlier_cell_that_cannot_be_captured_is_named_when_loading(run_cells):
    wrong = MODEL.replace('"attn"', '"atn"')
    outcomes = run_cells(IMPORTS, wrong, "%load_ext astcapture", CALL, extension=False)
    assert "not captured: In[2]:2: 'atn' is never bound in Attention.forward" in outcomes[2].err
    assert outcomes[3].value == "7"


def test_unloading_stops_recording_and_gives_functions_their_own_code_back(run_cells):
    names = "Attention.forward.__code__.co_names"
    outcomes = run_cells(
        IMPORTS, MODEL, names, CALL, "%unload_ext astcapture", names, CALL, f"{MODEL}\n{CALL}", LOOK, names
    )
    assert outcomes[2].value == "('_@record',)"
    assert outcomes[5].value == outcomes[9].value == "()"
    assert outcomes[8].value == "[6]"


def test_after_unloading_nothing_is_left_installed(run_cells):
    outcomes = run_cells(
        IMPORTS,
        "%unload_ext astcapture",
        "import sys\n[type(one).__name__ for one in sys.meta_path if type(one).__module__.startswith('astcapture')]",
        "from astcapture.record.state import state\nstate.on, get_ipython().ast_transformers",
        MODEL,
    )
    assert [outcome.value for outcome in outcomes[2:]] == ["[]", "(False, [])", None]
    assert outcomes[4].err == "", "nobody notices a marker"


def test_unloading_stops_recording_in_cells_while_other_hooks_stay(run_cells):
    outcomes = run_cells(
        IMPORTS, MODEL, "hook = astcapture.install(['other'])", "%unload_ext astcapture", CALL, COUNT, LOOK
    )
    assert values(outcomes)[4:] == ["7", "1", "[]"]


def test_loading_again_after_unloading_captures_again(run_cells):
    outcomes = run_cells(IMPORTS, MODEL, "%unload_ext astcapture", CALL, "%load_ext astcapture", CALL, LOOK)
    assert outcomes[-1].value == "[6]"


TRANSFORMERS = "sorted(type(one).__name__ for one in get_ipython().ast_transformers)"


@pytest.mark.parametrize(
    "again",
    [
        "%reload_ext astcapture",
        "%load_ext astcapture",
        "import astcapture as a; a.load_ipython_extension(get_ipython())",
    ],
)
def test_loading_twice_records_once(run_cells, again):
    outcomes = run_cells(IMPORTS, again, MODEL, again, CALL, again, CALL, LOOK, TRANSFORMERS)
    assert values(outcomes)[-2:] == ["[6, 6]", "['CellTransformer', 'Refresher']"]


def test_after_reloading_unloading_still_ends_it(run_cells):
    outcomes = run_cells(IMPORTS, MODEL, "%reload_ext astcapture", "%unload_ext astcapture", CALL, LOOK)
    assert values(outcomes)[-2:] == ["7", "[]"]


def test_a_hook_without_the_extension_says_what_to_load(run_cells):
    outcomes = run_cells(IMPORTS, "hook = astcapture.install(['__main__'])", MODEL, CALL, extension=False)
    assert "Attention.forward is marked but not captured: functions in notebook cells" in outcomes[2].err
    assert "%load_ext astcapture" in outcomes[2].err
    assert outcomes[3].value == "7"


def test_a_function_in_the_cell_that_loads_the_extension_is_noticed(run_cells):
    outcomes = run_cells(f"{IMPORTS}\n%load_ext astcapture\n{MODEL}", extension=False)
    assert "run %load_ext astcapture in a separate cell" in re.sub(r"\s+", " ", outcomes[0].err)


def test_an_unmarked_function_of_a_cell_is_captured_for_a_target(run_cells):
    outcomes = run_cells(
        "import astcapture\nhook = astcapture.install(['__main__:f=y', '__main__:g*=w'])",
        "unrelated = 1\ndef g1(): return 1",
        "def f(x):\n    y = x + 1\n    return y\nf(1)",
        "def g2(x):\n    w = x\n    return w\ng2(5)",
        "list(astcapture.cache['f']), list(astcapture.cache['g2'])",
    )
    assert [outcome.error for outcome in outcomes] == [None] * 5
    assert outcomes[-1].value == "([2], [5])"


def test_modules_are_captured_once_they_are_installed(run_cells, make_package):
    make_package({"mymodel.py": f"from astcapture import capture\n{MODEL}"})
    look = "import astcapture\nlen(astcapture.cache)"
    cells = ["import sys; sys.path.insert(0, '.')\nimport mymodel\nmymodel.model.forward(1)", look]
    assert values(run_cells(*cells)) == ["3", "0"]
    assert values(run_cells("import astcapture\nhook = astcapture.install(['mymodel'])", *cells)) == [None, "3", "1"]


def test_the_names_that_rewritten_code_calls_are_not_listed_among_the_users(run_cells):
    outcomes = run_cells(IMPORTS, f"{MODEL}\n{CALL}", "%who_ls")
    assert outcomes[-1].value == "['Attention', 'astcapture', 'capture', 'model']"


def test_functions_survive_a_reset_of_the_namespace(run_cells):
    keep = "import sys\nsys.kept = model"
    outcomes = run_cells(IMPORTS, MODEL, keep, "%reset -f", "import sys, astcapture\nsys.kept.forward(3)", LOOK)
    assert values(outcomes)[-2:] == ["7", "[6]"]


def test_a_shell_inside_a_module_captures_the_functions_of_the_module_and_of_its_cells(
    make_package, run_python, private_ipython
):
    make_package({"app.py": f"from astcapture import capture\n{MODEL}"})
    program = """
        import app, astcapture
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance(user_module=app)
        shell.run_cell("%load_ext astcapture")
        shell.run_cell("@capture('y')\\ndef f(x):\\n    y = x\\n    return y")
        shell.run_cell("values = f(1), model.forward(3)")
        print({key: list(records) for key, records in astcapture.cache.items()})
    """
    done = run_python(program, env=private_ipython)
    assert done.stdout == "{'app:Attention.forward': [6], 'app:f': [1]}\n"
    assert "not captured" not in done.stderr


def test_a_function_of_a_cell_runs_where_it_is_unpickled(run_cells, run_python):
    dump = "import cloudpickle\nwith open('model.pickle', 'wb') as file:\n    cloudpickle.dump(model, file)"
    assert [outcome.error for outcome in run_cells(IMPORTS, MODEL, dump)] == [None] * 3
    load = "import pickle\nwith open('model.pickle', 'rb') as file:\n    print(pickle.load(file).forward(3))"
    assert run_python(load).stdout == "7\n"


def test_a_notebook_that_marks_nothing_is_told_nothing_at_its_end(run_python, private_ipython):
    program = """
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_cell("%load_ext astcapture")
        shell.run_cell("import astcapture; hook = astcapture.install(['json'])")
        shell.run_cell("import json")
    """
    assert "__main__" not in run_python(program, env=private_ipython).stderr


def test_a_target_in_the_cells_is_captured_by_the_extension_and_who_has_not_loaded_it_is_told(run_cells):
    install = "import astcapture\nhook = astcapture.install(['__main__:f=y'])"
    function = "def f(x):\n    y = x + 1\n    return y * 2"
    look = "f(1), list(astcapture.cache.select(label='y'))"
    first, *_, last = run_cells(install, function, look)
    assert (first.err, last.value) == ("", "(4, [2])")
    first, *_, last = run_cells(install, function, look, extension=False)
    assert "__main__ has no source file; run %load_ext astcapture to capture functions defined in cells" in first.err
    assert last.value == "(4, [])"
