"""Reads a viewer's file with NumPy alone, by the description of its format, and not by the code that writes it."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from astcapture.values.record import Record
from astcapture.values.records import Records
from astcapture.view.page import page


class File:
    """A viewer's file.

    Attributes:
        text: all of it.
        meta: its data.
        blocks: the bytes of each block.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        found = re.search(r'<script type="application/json" id="astcapture-data">(.*?)</script>', text, re.S)
        assert found is not None
        self.meta: dict[str, Any] = json.loads(found[1])
        pattern = r'<script type="application/octet-stream" id="block-(\d+)">([A-Za-z0-9+/=]*)</script>'
        self.blocks = {
            int(number): zlib.decompress(base64.b64decode(data)) for number, data in re.findall(pattern, text)
        }

    def series(self, label: str, run: int = 0) -> dict[str, Any]:
        (found,) = [one for one in self.meta["series"] if (one["label"], one["run"]) == (label, run)]
        return found

    def item(self, label: str = "attn", layer: int = 0, call: int = 0, batch: int = 0, run: int = 0) -> dict[str, Any]:
        (found,) = [
            one
            for one in self.series(label, run)["items"]
            if (one["layer"], one["call"], one["batch"]) == (layer, call, batch)
        ]
        return found

    def bytes(self, where: dict[str, Any], count: int, dtype: str = "u1") -> np.ndarray:
        return np.frombuffer(self.blocks[where["block"]], dtype, count, where["offset"])

    def values(self, item: dict[str, Any], head: int) -> np.ndarray:
        """(rows, columns) of float64; NaN where a weight is left out."""
        rows, columns, packed = item["rows"], item["columns"], item["maps"][head]
        if packed["form"] == "exact":
            return self.bytes(packed, rows * columns, "<f4").reshape(rows, columns).astype(np.float64)
        lo, hi = packed["scale"]
        if "row_scale" in packed:
            largest = self.bytes(packed["row_scale"], rows, "<f4").astype(np.float64)[:, None]
            number = lambda v: largest * v / 255  # noqa: E731
        else:
            number = lambda v: lo + (hi - lo) * v / 255  # noqa: E731
        if packed["form"] == "full":
            return number(self.bytes(packed, rows * columns).reshape(rows, columns).astype(np.float64))
        k = packed["k"]
        steps = self.bytes(packed, rows * k, "<u2").reshape(rows, k)
        values = self.bytes({**packed, "offset": packed["offset"] + 2 * rows * k}, rows * k).reshape(rows, k)
        found = np.full((rows, columns), np.nan)
        numbers = number(values.astype(np.float64))
        for row in range(rows):
            column = 0
            for place in range(k):
                if steps[row, place] == 65535:
                    assert (steps[row, place:] == 65535).all() and not values[row, place:].any()
                    break
                column += int(steps[row, place])
                assert place == 0 or steps[row, place] > 0
                found[row, column] = numbers[row, place]
        return found

    def kept(self, item: dict[str, Any], head: int) -> np.ndarray:
        return self.bytes(item["maps"][head]["kept"], item["rows"]) / 255

    def marks(self, item: dict[str, Any], head: int) -> np.ndarray:
        shape = item["rows"], item["columns"]
        return self.bytes(item["maps"][head]["marks"], shape[0] * shape[1]).reshape(shape)

    def picture(self, item: dict[str, Any], head: int, which: str) -> np.ndarray:
        """The thumbnail or the overview of a map."""
        packed = item["maps"][head]
        where, (lo, hi) = packed[which], packed["scale"]
        v = self.bytes(where, where["rows"] * where["columns"]).reshape(where["rows"], where["columns"]) / 255
        return hi * v**2 if where.get("power") == 0.5 else lo + (hi - lo) * v

    def axis(self, item: dict[str, Any], side: str) -> dict[str, Any]:
        return self.meta["axes"][item[f"{side}_axis"]]


def opened(path: Path) -> File:
    return File(path.read_text(encoding="utf-8"))


def record(
    value: Any, layer: str | None = "blocks.0.attn", call: int | None = 0, label: str = "attn", **known: Any
) -> Record:
    """A record as a small model leaves it."""
    given = {"module": "model", "function": "Attention.forward", "lineno": 12, **known}
    return Record(value, label, layer=layer, call=call, **given)


def records(*several: Record) -> Records:
    return Records(several)


def attention(*shape: int, seed: int = 0, causal: bool = False, power: float = 4) -> np.ndarray:
    """Maps whose rows sum to one, float32."""
    values = np.random.default_rng(seed).random(shape, dtype=np.float32) ** power
    if causal:
        values *= np.tri(shape[-2], shape[-1], shape[-1] - shape[-2], dtype=np.float32)
    return values / values.sum(axis=-1, keepdims=True)


def room_for(nbytes: int) -> float:
    """The size of a file, in megabytes, that leaves so much for its maps."""
    fixed = page()
    return (len(fixed.code) + len(fixed.style) + 4000 + nbytes) / 1e6
