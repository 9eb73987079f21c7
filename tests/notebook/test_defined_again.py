"""Values from before a cell was run again are told from those after, and nobody takes the ones for the others."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("IPython")

IMPORTS = "import astcapture\nfrom astcapture import capture"
MODEL = """\
class Attention:
    @capture("attn", at="{at}")
    def forward(self, x):
        attn = x * {factor}
        return attn + 1
"""
OLD, NEW = MODEL.format(at="return", factor=2), MODEL.format(at="return", factor=10)
CALL = "model = Attention()\nmodel.forward(3)"
LOOK = "found = astcapture.cache['Attention.forward']"
BOTH = [IMPORTS, OLD, CALL, NEW, CALL, LOOK]


def test_each_record_has_the_number_of_the_cell_that_defined_its_function(run_cells):
    outcomes = run_cells(*BOTH, "[(record.value, record.cell) for record in found.records]")
    assert outcomes[-1].value == "[(6, 2), (30, 4)]"


def test_select_gives_the_values_of_one_cell(run_cells):
    outcomes = run_cells(*BOTH, "list(found.select(cell=4)), list(astcapture.cache.select(cell=2))")
    assert outcomes[-1].value == "([30], [6])"
    assert outcomes[-1].err == "", "what is asked for by its cell is no surprise"


def test_old_values_among_new_ones_are_warned_of_once(run_cells):
    outcomes = run_cells(*BOTH, LOOK, "more = astcapture.cache.select(label='attn')", NEW, CALL, LOOK)
    text = (
        "CaptureWarning: In[4] defined Attention.forward again, and older values are still here: 1 from In[2], "
        "1 from In[4]. select(cell=4) gives the new ones; astcapture.cache.clear() removes all\n"
    )
    assert text in outcomes[5].err
    assert [outcome.err for outcome in outcomes[6:10]] == [""] * 4
    assert "1 from In[2], 1 from In[4], 1 from In[9]. select(cell=9)" in outcomes[10].err


def test_values_of_an_object_that_runs_the_old_code_are_warned_of_too(run_cells):
    again = "astcapture.cache.clear()\nmodel.forward(3)"
    outcomes = run_cells(IMPORTS, OLD, CALL, NEW, again, LOOK, CALL, LOOK)
    assert (
        "In[4] defined Attention.forward again, but the one value here is from In[2]: objects made before run the "
        "old code, so create them again"
    ) in outcomes[5].err
    assert "1 from In[2], 1 from In[4]" in outcomes[7].err


def test_after_the_cache_is_cleared_nothing_is_warned_of(run_cells):
    outcomes = run_cells(IMPORTS, OLD, CALL, NEW, f"astcapture.cache.clear()\n{CALL}", LOOK, "found")
    assert outcomes[5].err == ""
    assert outcomes[6].value == "<Records: 1 × attn, the first int>"


def test_the_texts_and_the_tables_name_the_cells(run_cells):
    outcomes = run_cells(*BOTH, "found", "found.records[0]", "print(astcapture.cache.summary())", "found._repr_html_()")
    records, record, summary, table = outcomes[6:]
    assert records.value == "<Records: 2 × attn from In[2] and In[4], the first int>"
    assert record.value == "<Record __main__:Attention.forward attn cell=2 int>"
    assert [line.split()[2] for line in summary.out.splitlines()] == ["cell", "-----", "In[2]", "In[4]"]
    assert "In[2]</td>" in table.value and "In[4]</td>" in table.value


@pytest.mark.parametrize("at", ["return", "assign"])
def test_a_cell_that_was_run_before_the_extension_was_loaded_has_its_number(run_cells, at):
    cells = [IMPORTS, MODEL.format(at=at, factor=2), "model = Attention()", "%load_ext astcapture", "model.forward(3)"]
    outcomes = run_cells(*cells, f"{LOOK}\nfound.records[0].cell", extension=False)
    assert outcomes[-1].value == "2"


def test_a_stored_run_has_the_numbers_of_the_cells(run_cells):
    stored = "astcapture.cache.save('run')\nrun = astcapture.load('run')"
    numbers = "[record.cell for record in run['Attention.forward'].records]"
    outcomes = run_cells(*BOTH, stored, numbers, "run.summary(), run._repr_html_()")
    assert outcomes[-2].value == "[2, 4]"
    assert outcomes[-1].value.count("In[2]") == outcomes[-1].value.count("In[4]") == 2


def test_a_reduction_is_told_the_cell(run_cells):
    hook = "hook = astcapture.install(['__main__'], reduce=lambda value, record: (value, record.cell))"
    outcomes = run_cells(IMPORTS, hook, OLD, CALL, f"{LOOK}\nlist(found)")
    assert outcomes[-1].value == "[(6, 3)]"


def test_the_same_cell_run_twice_is_plain_again_in_both_its_functions_after_unloading(execute):
    pytest.importorskip("ipykernel")
    # A kernel gives a cell that is run twice one name.
    keep = f"{OLD}\nmodels = [*globals().get('models', ()), Attention()]"
    names = "[model.forward.__code__.co_names for model in models]"
    cells = execute(IMPORTS, "%load_ext astcapture", keep, keep, names, "%unload_ext astcapture", names)
    assert cells[4].outputs[0]["data"]["text/plain"] == "[('_@record',), ('_@record',)]"
    assert cells[6].outputs[0]["data"]["text/plain"] == "[(), ()]"


def test_what_a_cell_fails_to_record_is_counted_as_ever(run_cells):
    """Every way that a value can go, with the number of a cell behind its site."""
    functions = """\
@capture("y")
def missed(x):
    if x:
        y = x
@capture("x.nope")
def failed(x):
    return x
@capture("y")
def begun(x):
    y = x
    yield y
missed(0), failed(1), next(begun(1))"""
    outcomes = run_cells(IMPORTS, functions, "print(astcapture.cache.summary())")
    out = outcomes[-1].out
    assert "'y' is empty because it was not bound at the one return that ran" in out
    assert "'x.nope' failed once; the first time with AttributeError" in out
    assert "it is a generator, and one run began and did not come to the end" in out


def test_values_of_a_cell_that_pass_the_memory_limit_are_counted(run_cells):
    function = "@capture('y')\ndef f(n):\n    y = np.zeros(n)\n    return y"
    hook = f"{IMPORTS}\nimport numpy as np\nhook = astcapture.install(['__main__'], limit=100)"
    outcomes = run_cells(hook, function, "f(2).sum(), f(1000).sum()", "print(astcapture.cache.summary())")
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert "'y' was not stored 2 times: recording had stopped at the memory limit" in outcomes[-1].out


def test_compiled_functions_of_cells_have_the_number_too(run_cells):
    pytest.importorskip("torch")
    compiled = "import torch\nmodel = torch.compile(Attention().forward, backend='eager', fullgraph=True)"
    outcomes = run_cells(IMPORTS, OLD, compiled, f"model(torch.ones(1))\n{LOOK}\nfound.records[0].cell, found[0]")
    assert outcomes[-1].value == "(2, tensor([2.]))"
