"""A model of examples/induction_model.py with its source edited by hand: what an edit must agree with, bit for bit."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))


def by_hand(model: nn.Module, lines: Mapping[str, str], **names: Any) -> nn.Module:
    """A model with the weights of `model`, whose source has other lines.

    Each line that is a key is replaced by the value, one line or several. The new lines can use `names`, and
    `self.layer`, the number of the block.
    """
    path = EXAMPLES / "induction_model.py"
    source = path.read_text(encoding="utf-8").splitlines()
    for line, instead in lines.items():
        at = [number for number, text in enumerate(source) if text.partition("  #")[0].strip() == line]
        assert len(at) == 1, f"{len(at)} lines are {line!r}"
        indent = source[at[0]][: -len(source[at[0]].lstrip())]
        source[at[0]] = "\n".join(indent + one for one in instead.splitlines())
    namespace: dict[str, Any] = {"__name__": "by_hand_model", **names}
    exec(compile("\n".join(source), str(path), "exec", dont_inherit=True), namespace)
    heads, depth = model.blocks[0].attn.heads, len(model.blocks)
    edited = namespace["Model"](heads, depth)
    edited.load_state_dict(model.state_dict())
    for number, block in enumerate(edited.blocks):
        block.layer = block.attn.layer = number
    return edited.eval()
