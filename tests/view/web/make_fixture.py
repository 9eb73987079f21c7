"""A page by hand: what the format says, written with NumPy, independently of the package's own builder.

    python make_fixture.py page.html [values.json]

`values.json` holds the arrays that went in, and the blocks, for the tests of the decoding.
"""

from __future__ import annotations

import base64
import html
import json
import re
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

WEB = Path(__file__).parents[3] / "astcapture" / "view" / "web"
Meta = dict[str, Any]

WORDS = ["[CLS]", *"ĠThe Ġcat Ġsat Ġon Ġthe Ġmat , Ġand Ġthe Ġcat Ġslept . Ċ".split()]  # noqa: SIM905
WORDS += ["<script>alert(1)</script>", "שלום", "[SEP]"]
HOSTILE = '</script><img src=x onerror="window.hacked=1">'


class Blocks:
    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.shared: int | None = None

    def add(self, data: np.ndarray | bytes) -> int:
        self.raw.append(data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes())
        return len(self.raw) - 1

    def place(self, data: np.ndarray) -> Meta:
        """Into the one block that small maps share."""
        if self.shared is None:
            self.shared = self.add(b"")
        offset = len(self.raw[self.shared])
        self.raw[self.shared] += data.tobytes() + bytes(-data.size % 4)
        return {"block": self.shared, "offset": offset}


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def attention(rng: np.random.Generator, heads: int, n: int, m: int, *, causal: bool = False) -> np.ndarray:
    scores = rng.normal(size=(heads, n, m)) * 0.7
    q, k = np.indices((n, m))
    for head in range(heads):
        scores[head] += [4.0 * (q == k), 4.0 * (q == k + 1), 4.0 * (k == 0), -0.3 * abs(q - k)][head % 4]
    if causal:
        scores = np.where(k <= q, scores, -np.inf)
    return softmax(scores).astype(np.float32)


def pooled(array: np.ndarray, most: int) -> np.ndarray:
    rows, columns = (min(most, n) for n in array.shape)
    q = [round(i * array.shape[0] / rows) for i in range(rows)]
    k = [round(i * array.shape[1] / columns) for i in range(columns)]
    size = np.where(np.isfinite(array), array, 0)
    high = np.maximum.reduceat(np.maximum.reduceat(size, q, 0), k, 1)
    low = np.minimum.reduceat(np.minimum.reduceat(size, q, 0), k, 1)
    return np.where(-low > high, low, high)


def pack_map(array: np.ndarray, blocks: Blocks, *, form: str = "full", k: int = 0, by_row: bool = False) -> Meta:
    """One head by the format: `by_row` gives each row a scale of its own."""
    fine = np.isfinite(array) & (array > -1e30)
    low = float(min(0.0, array[fine].min())) if fine.any() else 0.0
    high = float(array[fine].max()) if fine.any() else 1.0
    if low < 0:
        high = max(high, -low)
        low = -high * 128 / 127
    value = np.where(fine, array, 0).astype(np.float64)
    span = (high - low) or 1.0

    def as_bytes(values: np.ndarray) -> np.ndarray:
        return np.clip(np.rint((np.clip(values, low, high) - low) / span * 255), 0, 255).astype(np.uint8)

    out: Meta = {"scale": [low, high], "form": form}
    if by_row:
        scale = value.max(1).astype("<f4")
        packed = np.rint(value / np.maximum(scale, 1e-30)[:, None] * 255).astype(np.uint8)
        out["row_scale"] = {"block": blocks.add(b"xxxx" + scale.tobytes()), "offset": 4}
        back = packed.astype(np.float32) * scale[:, None] / 255
    else:
        packed = as_bytes(value)
        back = low + span * packed.astype(np.float64) / 255
    out["error"] = float(abs(back - value)[fine].max()) if form != "exact" and fine.any() else 0.0
    if form == "exact":
        out["block"] = blocks.add(array.astype("<f4"))
    elif form == "full":
        out |= blocks.place(np.where(fine, packed, 0).astype(np.uint8))
    else:
        columns = np.sort(np.argsort(-value, axis=1, kind="stable")[:, :k], axis=1)
        deltas = np.diff(columns, axis=1, prepend=0).astype("<u2")
        used = np.take_along_axis(value, columns, 1)
        out["k"] = k
        out["block"] = blocks.add(deltas.tobytes() + np.take_along_axis(packed, columns, 1).tobytes())
        share = np.floor(used.sum(1) / value.sum(1) * 255).astype(np.uint8)
        out["kept"] = {"block": blocks.add(share), "offset": 0}
        if not np.triu(array, 1 + array.shape[1] - array.shape[0]).any():
            out["causal"] = True
        small = pooled(array, 256)
        out["overview"] = {
            "block": blocks.add(as_bytes(small)),
            "rows": small.shape[0],
            "columns": small.shape[1],
            "how": "max",
        }
    marks = np.select([np.isnan(array), array == np.inf, array == -np.inf, array <= -1e30], [1, 2, 3, 4], 0)
    if marks.any() and form != "exact":
        out["marks"] = {"block": blocks.add(marks.astype(np.uint8))}
    out["_thumb"] = as_bytes(pooled(array, 32))
    return out


def item(arrays: np.ndarray, blocks: Blocks, layer: int, axes: tuple[int, int], **more: Any) -> Meta:
    how = more.pop("how", {})
    exact = more.pop("exact", ())
    maps = [pack_map(one, blocks, **({"form": "exact"} if i in exact else how)) for i, one in enumerate(arrays)]
    rows, columns = arrays.shape[1:]
    base = {"layer": layer, "call": 0, "batch": 0, "heads": len(arrays), "rows": rows, "columns": columns}
    base |= {"row_axis": axes[0], "column_axis": axes[1], "tags": {}, "lineno": 12, "file": "model.py", "maps": maps}
    return base | more


def stats(arrays: np.ndarray) -> Meta:
    n, m = arrays.shape[1:]
    q, k = np.indices((n, m))
    one = np.where(arrays > 0, arrays, 1)
    square = n == m
    return {
        "entropy": [float(x) for x in -(arrays * np.log(one)).sum(-1).mean(-1)],
        "distance": [float(x) for x in (arrays * abs(q - k)).sum(-1).mean(-1)] if square else None,
        "diagonal": [float(x.diagonal().mean()) for x in arrays] if square else None,
        "previous": [float(x.diagonal(-1).mean()) for x in arrays] if square else None,
        "first": [float(x[:, 0].mean()) for x in arrays],
        "induction": [None] * len(arrays),
    }


def series(
    name: str, label: str, kind: str, layers: list[str], items: list[Meta], blocks: Blocks, run: int = 0
) -> Meta:
    thumbs = b""
    maps = [one for it in items for one in it["maps"]]
    for one in maps:
        thumb = one.pop("_thumb")
        one["thumb"] = {
            "block": len(blocks.raw),
            "offset": len(thumbs),
            "rows": thumb.shape[0],
            "columns": thumb.shape[1],
        }
        thumbs += thumb.tobytes()
    blocks.add(thumbs)
    scale = [min(one["scale"][0] for one in maps), max(one["scale"][1] for one in maps)]
    return {
        "name": name, "label": label, "model": None, "module": "model", "run": run, "kind": kind, "scale": scale,
        "signed": scale[0] < 0, "layers": layers, "items": items,
    }  # fmt: skip


def png(pixels: np.ndarray) -> str:
    h, w, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(np.uint8))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


def picture() -> str:
    y, x = np.mgrid[0:224, 0:224]
    disc = (x - 80) ** 2 + (y - 100) ** 2 < 50**2
    return png(
        np.stack(
            [np.where(disc, 230, 60 + x // 3), np.where(disc, 150, 110 + y // 4), np.where(disc, 40, 150 - y // 4)], -1
        )
    )


def tokens(words: list[str]) -> Meta:
    shown = [word.replace("Ġ", " ").strip() if word != "Ċ" else "↵" for word in words]
    return {
        "kind": "tokens",
        "words": words,
        "shown": shown,
        "special": [i for i, w in enumerate(words) if w[0] == "["],
    }


def make() -> tuple[Meta, list[bytes], dict[str, list[Any]]]:
    rng = np.random.default_rng(7)
    blocks = Blocks()
    n = len(WORDS)
    axes: list[Meta] = [
        tokens(WORDS),
        {"kind": "patches", "rows": 7, "columns": 7, "prefix": 2, "prefix_names": ["CLS", "R1"], "image": 0},
        {"kind": "joined", "parts": [1, 3]},
        tokens(["What", "is", "in", "the", "picture", "?"]),
        {"kind": "index", "n": 64},
    ]
    values: dict[str, list[Any]] = {}
    out = []

    def keep(name: str, arrays: np.ndarray) -> np.ndarray:
        values[name] = [
            [None if np.isnan(x) else str(x) if np.isinf(x) else x for x in one.ravel().tolist()] for one in arrays
        ]
        return arrays

    layers = [f"blocks.{i}.attn" for i in range(4)]
    maps = [keep(f"words/{i}", attention(rng, 4, n, n, causal=True)) for i in range(4)]
    tags = {"epoch": 3, "note": HOSTILE}
    items = [
        item(one, blocks, i, (0, 0), stats=stats(one), exact=(1,) if i == 0 else (), how={"by_row": i == 1}, tags=tags)
        for i, one in enumerate(maps)
    ]
    out.append(series("Attention.forward", "weights", "attention", layers, items, blocks))
    other = [softmax(np.log(one + 1e-9) + rng.normal(size=one.shape)).astype(np.float32) for one in maps]
    second = [item(one, blocks, i, (0, 0), stats=stats(one)) for i, one in enumerate(other)]
    out.append(series("Attention.forward", "weights", "attention", layers, second, blocks, run=1))

    scores = keep("scores", np.where(np.tri(n) > 0, rng.normal(size=(2, n, n)) * 3, -np.inf).astype(np.float32))
    scores[0, 3, 1], scores[0, 5, 2], scores[1, 4, 4] = np.nan, np.inf, -3.4e38
    keep("scores", scores)
    out.append(series("Attention.forward", HOSTILE, "map", [HOSTILE], [item(scores, blocks, 0, (0, 0))], blocks))

    vit = [attention(rng, 3, 51, 51) for _ in range(2)]
    items = [item(one, blocks, i, (1, 1), stats=stats(one)) for i, one in enumerate(vit)]
    out.append(series("ViT.forward", "attn", "attention", ["encoder.0", "encoder.1"], items, blocks))
    cross = keep("cross", attention(rng, 2, 51, 6))
    out.append(
        series(
            "UNet.cross", "attn", "attention", ["up.0"], [item(cross, blocks, 0, (1, 3), stats=stats(cross))], blocks
        )
    )
    joined = attention(rng, 2, 57, 57)
    out.append(
        series(
            "VLM.forward",
            "attn",
            "attention",
            ["llm.0"],
            [item(joined, blocks, 0, (2, 2), stats=stats(joined))],
            blocks,
        )
    )
    sparse = keep("sparse", attention(rng, 2, 64, 64))
    how = {"form": "sparse", "k": 8}
    causal = keep("causal", attention(rng, 2, 64, 64, causal=True))
    items = [item(one, blocks, i, (4, 4), stats=stats(one), how=how) for i, one in enumerate((sparse, causal))]
    out.append(series("Long.forward", "attn", "attention", ["long.0", "long.1"], items, blocks))
    steps = [attention(rng, 2, n if i == 0 else 1, n + i) for i in range(6)]
    grown = len(axes)
    axes += [{"kind": "index", "n": n + i} for i in range(6)] + [{"kind": "index", "n": 1}]
    items = [
        item(one, blocks, 0, (0 if i == 0 else grown + 6, 0 if i == 0 else grown + i), call=i, stats=stats(one))
        for i, one in enumerate(steps)
    ]
    out.append(series("GPT.forward", "attn", "attention", ["h.0"], items, blocks))
    strip = keep("strip", np.sin(np.arange(200) / 9)[None, None].astype(np.float32))
    axes += [{"kind": "index", "n": 200}, {"kind": "index", "n": 7}]
    out.append(
        series("Norm.forward", "gain", "strip", ["norm"], [item(strip, blocks, 0, (grown + 6, len(axes) - 2))], blocks)
    )
    features = rng.normal(size=(40, 7, 7)).astype(np.float32).clip(-0.5)
    items = [item(features, blocks, 0, (len(axes) - 1, len(axes) - 1), image=0)]
    out.append(series("ResNet.layer4", "out", "channels", ["layer4"], items, blocks))
    meta = {
        "format": 1, "title": "Fixture " + HOSTILE, "made": "astcapture 0.1", "series": out, "axes": axes,
        "images": [{"src": picture(), "width": 224, "height": 224, "name": "disc"}],
        "notes": ["Rows of scores do not sum to one.", HOSTILE],
    }  # fmt: skip
    return meta, blocks.raw, values


def code() -> str:
    """The modules as one, each after those that it imports from."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in WEB.glob("*.js")}
    done: list[str] = []

    def visit(name: str) -> None:
        for other in re.findall(r'^import .* from "\./(.+?)";$', texts[name], re.M):
            visit(other)
        if name not in done:
            done.append(name)

    visit("main.js")
    plain = "\n".join(re.sub(r"^import .*$", "", texts[name], flags=re.M) for name in done)
    return re.sub(r"^export ", "", plain, flags=re.M)


def write(path: Path, meta: Meta, raw: list[bytes], script: str | None = None) -> None:
    script = script or code()
    style = (WEB / "style.css").read_text(encoding="utf-8")
    data = json.dumps(meta)
    for letter in "<>&\u2028\u2029":
        data = data.replace(letter, f"\\u{ord(letter):04x}")

    def digest(text: str) -> str:
        import hashlib

        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    policy = f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; img-src data: blob:"
    texts = [base64.b64encode(zlib.compress(one, 9)).decode() for one in raw]
    parts = {
        "CSP": policy, "TITLE": html.escape(meta["title"]), "STYLE": style, "CODE": script,
        "META": f'<script type="application/json" id="astcapture-data">{data}</script>',
        "BLOCKS": "\n".join(
            f'<script type="application/octet-stream" id="block-{i}">{text}</script>' for i, text in enumerate(texts)
        ),
    }  # fmt: skip
    page = (WEB / "page.html").read_text(encoding="utf-8")
    path.write_text(re.sub("@@([A-Z]+)@@", lambda found: parts[found[1]], page), encoding="utf-8")


if __name__ == "__main__":
    meta, raw, values = make()
    write(Path(sys.argv[1]), meta, raw)
    if len(sys.argv) > 2:
        stored = [base64.b64encode(zlib.compress(one, 9)).decode() for one in raw]
        Path(sys.argv[2]).write_text(json.dumps({"meta": meta, "blocks": stored, "values": values}))
