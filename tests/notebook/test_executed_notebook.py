"""A notebook executed by a real kernel: its outputs are those without the extension, and the maps are there."""

from __future__ import annotations

import re
import sys

import pytest

pytestmark = pytest.mark.slow

CELLS = [
    "import astcapture\nfrom astcapture import capture as mark",
    '''\
import asyncio
import numpy as np

class Attention:
    """Rows that sum to one."""

    @mark("attn", total="attn.sum()")
    def forward(self, x):
        attn = x / x.sum(-1, keepdims=True)
        return attn @ x

layers = [Attention() for _ in range(3)]
layers[0]''',
    """\
x = np.arange(1.0, 5.0).reshape(2, 2)
for layer in layers:
    x = layer.forward(x)
print(x.shape)
x""",
    """\
@mark("y")
async def later(x):
    await asyncio.sleep(0)
    y = x + 1
    return y
await later(1)""",
    "%%capture said\nprint(layers[0].forward(x))",
    "said.stdout",
    "from IPython.display import Markdown, display\ndisplay(Markdown('*one*'))\nMarkdown('*two*')",
    "@mark('y')\ndef broken(x):\n    y = x\n    return (\n        y / 0\n    )\nbroken(1)",
    "x.sum()",
]
LOOK = [
    "maps = astcapture.cache['Attention.forward']['attn']\nlen(maps), [bool(np.allclose(m.sum(-1), 1)) for m in maps]",
    "list(astcapture.cache['later']), list(astcapture.cache['broken'])",
    "print(*(round(float(total), 6) for total in astcapture.cache['Attention.forward']['total']))",
    "%unload_ext astcapture",
    "layers[0].forward(x)\nlen(astcapture.cache['Attention.forward']['attn'])",
]


def shown(cell):
    """The outputs of a cell as they are stored, without colours and the addresses of objects.

    On Python 3.10 IPython colours the part of a line that failed by matching the bytecode with the source's,
    which it cannot where we rewrote it; later Pythons tell the part themselves.
    """
    text = str(cell.outputs)
    if sys.version_info < (3, 11):
        text = re.sub(r"\\x1b\[[\d;]*m", "", text)
    return re.sub("0x[0-9a-f]+", "0x", text)


def test_a_notebook_gives_the_outputs_that_it_gives_without_the_extension_and_its_maps(execute):
    # A cell in the place of the extension's, so that the counts agree.
    plain = execute("pass", *CELLS)
    captured = execute("%load_ext astcapture", *CELLS, *LOOK)

    for before, after in zip(plain, captured, strict=False):
        assert shown(after) == shown(before), after.source
    looked = [cell.outputs[0] if cell.outputs else None for cell in captured[-len(LOOK) :]]
    assert looked[0]["data"]["text/plain"] == "(4, [True, True, True, True])"
    assert looked[1]["data"]["text/plain"] == "([2], [])"
    assert looked[2]["text"] == "2.0 2.0 2.0 2.0\n"
    assert looked[3] is None
    assert looked[4]["data"]["text/plain"] == "4"


def test_a_mistake_is_shown_in_one_line_and_the_kernel_goes_on(execute):
    wrong = "print('run')\n@mark('atn')\ndef f(x):\n    attn = x\n    return attn"
    _, _, cell, after = execute("%load_ext astcapture", CELLS[0], wrong, "1 + 1")
    (output,) = cell.outputs
    line = "In[3]:2: 'atn' is never bound in f (line 3): did you mean attn?"
    assert (output["ename"], output["evalue"], output["traceback"]) == ("CaptureError", line, [f"CaptureError: {line}"])
    assert after.outputs[0]["data"]["text/plain"] == "2"
