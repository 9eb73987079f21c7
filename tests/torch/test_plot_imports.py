"""What `astcapture.plot` imports, and when; and what it says where matplotlib is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import astcapture
from astcapture import plot


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_matplotlib_comes_with_the_first_function_that_is_used():
    code = "import sys; from astcapture import plot; print([n for n in ('numpy', 'matplotlib') if n in sys.modules]);"
    assert python(code) == "[]"
    assert python(code + "plot.head; print('matplotlib' in sys.modules, 'torch' in sys.modules)") == "[]\nTrue False"


def test_formulas_need_no_matplotlib():
    code = "import sys; sys.modules['matplotlib'] = None; from astcapture.plot import formulas; "
    assert python(code + "print(formulas.entropy([[[1.0, 0.0]]]).tolist())") == "[0.0]"


def test_without_matplotlib_a_function_says_what_to_install():
    code = (
        "import sys; sys.modules['matplotlib'] = None; from astcapture import plot\n"
        "try:\n    plot.heads\nexcept ModuleNotFoundError as error:\n    print(error)"
    )
    assert python(code) == "astcapture.plot.heads needs matplotlib: pip install 'astcapture[plot]'"


def test_every_public_name_is_there_and_listed():
    assert set(plot.__all__) <= set(dir(plot))
    assert all(callable(getattr(plot, name)) for name in plot.__all__ if name != "formulas")
    assert astcapture.plot is plot
    with pytest.raises(AttributeError, match=r"module 'astcapture.plot' has no attribute 'headz'"):
        plot.headz  # noqa: B018
