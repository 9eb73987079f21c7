"""A view is the output of its cell, in a frame, and a mistake in it is an error of the cell that makes it."""

from __future__ import annotations

import html
import re

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("IPython")

SETUP = """\
import numpy as np
import astcapture
maps = astcapture.Records([astcapture.Record(np.full((1, 2, 3, 3), 1 / 3), "attn", "m", "A.forward", 1, "h.0", 0)])"""


def test_a_notebook_shows_a_view_in_a_frame(execute):
    _, shown, mistaken = execute(SETUP, 'maps.view(tokens=["a", "b", "c"])', 'maps.view(tokens=["a"])')
    (output,) = shown.outputs
    frame = re.fullmatch(
        r'<iframe srcdoc="([^"]*)" sandbox="allow-scripts allow-downloads" [^>]*></iframe>', output.data["text/html"]
    )
    assert frame and '"words":["a","b","c"]' in html.unescape(frame[1])
    assert output.data["text/plain"].startswith("<View of 1 values")
    (error,) = mistaken.outputs
    assert (error.ename, error.output_type) == ("CaptureError", "error")
    assert "tokens has 1 token, and the maps have 3 × 3" in error.evalue
