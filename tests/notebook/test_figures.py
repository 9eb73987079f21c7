"""A figure of `astcapture.plot` is in the outputs of a cell once, whatever the cell does with it."""

from __future__ import annotations

import inspect

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("IPython")
pytest.importorskip("matplotlib")
pytest.importorskip("PIL")

SETUP = """\
import numpy as np
import matplotlib.pyplot as plt
from astcapture import plot
maps, image = np.full((4, 17, 17), 1 / 17), np.zeros((8, 8))"""
#: A call of each function that returns a figure.
FIGURES = {
    "compare": "plot.compare(maps, maps)",
    "cls_attention": "plot.cls_attention(maps, image)",
    "heads": "plot.heads(maps)",
    "patch_to_patch": "plot.patch_to_patch(maps, image, (1, 2))",
}
#: Cells that have one figure to show, drawn by us.
CELLS = [
    *FIGURES.values(),
    "figure = plot.heads(maps)",
    "plot.heads(maps);",
    "plot.head(maps, head=0)",
    "_, ax = plt.subplots()\nplot.head(maps, head=0, ax=ax)",
    "_, ax = plt.subplots()\ndrawn = plot.head(maps, head=0, ax=ax)",
    "own = plt.figure()\nplot.heads(maps, figure=own)",
    "own = plt.figure()\nplot.heads(maps, figure=own.subfigures(1, 2)[0])",
    "display(plot.heads(maps))",
    "figure = plot.heads(maps)\nfigure",
    "figure",
    "from matplotlib.figure import Figure\nplot.heads(maps, figure=Figure())",
    "import copy, pickle\ncopied = pickle.loads(pickle.dumps(figure))\nplt.close(copied)\ncopied",
]


def pictures(cell):
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


def test_every_function_that_returns_a_figure_is_tried():
    from astcapture import plot

    functions = [name for name in plot.__all__ if name != "formulas"]
    returned = {name: inspect.signature(getattr(plot, name)).return_annotation for name in functions}
    assert set(FIGURES) == {name for name, kind in returned.items() if "Figure" in str(kind)}


def test_a_cell_shows_its_figure_once(execute):
    cells = execute(SETUP, *CELLS)[1:]
    assert {cell.source: len(pictures(cell)) for cell in cells} == dict.fromkeys(CELLS, 1)
    kinds = {cell.source: pictures(cell)[0].output_type for cell in cells}
    assert kinds["plot.heads(maps)"] == "execute_result", "a last expression is shown as matplotlib's own is"
    assert [output for cell in cells for output in cell.outputs if output.output_type in ("error", "stream")] == []


def test_figures_of_the_users_own_are_shown_as_before(execute):
    both = "plt.plot([1, 2])\ndisplay(plot.heads(maps))"
    loop = "for one in range(3):\n    display(plot.heads(maps))"
    goes_on = "figure = plot.heads(maps)\ndisplay(figure)\nplt.gcf() is figure"
    cells = execute(SETUP, both, loop, goes_on, "plt.get_fignums()", "own, _ = plt.subplots()\nown")[1:]
    assert [len(pictures(cell)) for cell in cells] == [2, 3, 1, 0, 2]
    assert "'True'" in str(cells[2].outputs), "a figure that was displayed is open until the cell ends"
    assert cells[3].outputs[0]["data"]["text/plain"] == "[]"


def test_figures_that_stay_open_between_cells_are_shown_once_too(execute):
    keep = "%config InlineBackend.close_figures = False"
    cells = execute(f"{SETUP}\n{keep}", "plot.heads(maps)", "plt.get_fignums()", "figure = plot.heads(maps)", "1")[1:]
    assert [len(pictures(cell)) for cell in cells] == [1, 0, 1, 0]
    assert cells[1].outputs[0]["data"]["text/plain"] == "[1]"


def test_in_a_script_a_figure_has_nothing_of_ours_and_stays_open(run_python):
    done = run_python(
        f"""
        import sys
        {"; ".join(SETUP.splitlines()[:2])}
        from astcapture import plot
        figure = plot.heads(np.ones((2, 3, 3)))
        print(plt.get_fignums(), "_repr_mimebundle_" in vars(figure), "IPython" in sys.modules)
        """,
        env={"MPLBACKEND": "Agg"},
    )
    assert done.stdout == "[1] False False\n"
