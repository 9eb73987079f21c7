"""``%autoreload 2`` and `importlib.reload` beside our hook: what was captured stays captured after an edit."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

FIRST = """
from astcapture import capture

class Net:
    @capture("y")
    def forward(self, x):
        y = x * 2
        return (
            y
        )

    def named(self, x):
        z = x + 2
        return z

    @staticmethod
    def static(x):
        z = x - 2
        return z

def free(x):
    z = (x,
         2)
    return z
"""
EDITED = FIRST.replace("2", "3")
#: The whole is another: autoreload imports the module anew.
OTHER = "print('imported anew')\nimport os\n" + EDITED.replace("3", "4").replace("class Net:", "class Net(object):")

LOAD = "%load_ext autoreload\n%autoreload 2"
TARGETS = "'live', 'live:Net.named=z', 'live:Net.static=z', 'live:free=z'"
INSTALL = f"import astcapture\nhook = astcapture.install([{TARGETS}])"
IMPORT = "import live\nfrom live import Net, free\nnet = Net()"
ORDERS = {
    "install, then import": [LOAD, INSTALL, IMPORT],
    "import, then install": [LOAD, IMPORT, INSTALL],
    "the extension, then install": [LOAD, "%load_ext astcapture", INSTALL, IMPORT],
    "autoreload last": [INSTALL, IMPORT, LOAD],
}
CALL = "results = [net.forward(10), net.named(10), net.static(10), free(10)]"
LOOK = "[list(astcapture.cache['live:' + name]) for name in ('Net.forward', 'Net.named', 'Net.static', 'free')]"


def write(text: str, seconds: int) -> str:
    return (
        f"import os, pathlib\npathlib.Path('live.py').write_text({text!r})\n"
        f"os.utime('live.py', ({1_700_000_000 + seconds}, {1_700_000_000 + seconds}))"
    )


@pytest.fixture(autouse=True)
def edited_module(make_package):
    make_package({"live.py": FIRST})


@pytest.mark.parametrize("order", ORDERS)
def test_after_an_edit_every_function_is_captured_as_it_is_now(run_cells, order):
    extension = "extension" in order
    cells = [write(FIRST, 0), *ORDERS[order], CALL, write(EDITED, 10), CALL, write(FIRST, 20), CALL, "results", LOOK]
    outcomes = run_cells(*cells, extension=extension)
    assert [one.error for one in outcomes] == [None] * len(outcomes)
    assert outcomes[-2].value == "[20, 12, 8, (10, 2)]"
    assert outcomes[-1].value == "[[20, 30, 20], [12, 13, 12], [8, 7, 8], [(10, 2), (10, 3), (10, 2)]]"
    assert "CaptureWarning" not in "".join(one.err for one in outcomes)


@pytest.mark.parametrize("order", ORDERS)
def test_after_an_edit_for_which_the_module_is_imported_anew_too(run_cells, order):
    cells = [write(FIRST, 0), *ORDERS[order], CALL, write(OTHER, 10), CALL, LOOK, "results"]
    outcomes = run_cells(*cells, extension=False)
    assert "imported anew" in outcomes[-3].out
    assert outcomes[-1].value == "[40, 14, 6, (10, 4)]"
    assert outcomes[-2].value == "[[20, 40], [12, 14], [8, 6], [(10, 2), (10, 4)]]"


@pytest.mark.parametrize("order", ORDERS)
def test_after_importlib_reload_new_objects_are_captured(run_cells, order):
    reload = "import importlib\nlive = importlib.reload(live)\nnet, free = live.Net(), live.free"
    cells = [write(FIRST, 0), *(one for one in ORDERS[order] if one != LOAD), CALL, write(EDITED, 10), reload, CALL]
    outcomes = run_cells(*cells, LOOK, extension=False)
    assert outcomes[-1].value == "[[20, 30], [12, 13], [8, 7], [(10, 2), (10, 3)]]"


@pytest.mark.parametrize("order", ORDERS)
def test_after_uninstall_an_edited_module_runs_as_it_is_written(run_cells, order):
    names = "[getattr(one, '__func__', one).__code__.co_names for one in (Net.forward, Net.named, Net.static, free)]"
    cells = [write(FIRST, 0), *ORDERS[order], CALL, write(EDITED, 10), CALL, "hook.uninstall()", CALL, names, "results"]
    outcomes = run_cells(*cells, LOOK, extension=False)
    assert outcomes[-3].value == "[(), (), (), ()]"
    assert outcomes[-2].value == "[30, 13, 7, (10, 3)]"
    assert outcomes[-1].value == "[[20, 30], [12, 13], [8, 7], [(10, 2), (10, 3)]]"


def test_a_function_that_an_edit_adds_is_captured(run_cells):
    more = EDITED + "\n@capture('w')\ndef added(x):\n    w = x * 5\n    return w\n"
    call = "live.added(2), list(astcapture.cache['live:added'])"
    outcomes = run_cells(write(FIRST, 0), *ORDERS["install, then import"], CALL, write(more, 10), call, extension=False)
    assert outcomes[-1].value == "(10, [10])"


def test_an_edit_that_does_not_parse_leaves_what_was_captured_and_the_next_one_is_captured(run_cells):
    cells = [write("def f(:", 10), CALL, write(EDITED, 20), CALL, LOOK]
    outcomes = run_cells(write(FIRST, 0), *ORDERS["install, then import"], CALL, *cells, extension=False)
    assert outcomes[-1].value == "[[20, 20, 30], [12, 12, 13], [8, 8, 7], [(10, 2), (10, 2), (10, 3)]]"


def test_a_hook_that_was_installed_before_the_shell_began_is_enough(run_cells):
    before = "import IPython\nshell = IPython.get_ipython\nIPython.get_ipython = lambda: None\n" + INSTALL
    cells = [write(FIRST, 0), before, "IPython.get_ipython = shell", IMPORT, LOAD, CALL, write(EDITED, 10), CALL, LOOK]
    outcomes = run_cells(*cells, extension=False)
    assert outcomes[-1].value == "[[20, 30], [12, 13], [8, 7], [(10, 2), (10, 3)]]"
