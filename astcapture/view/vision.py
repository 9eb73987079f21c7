"""The patches of a vision model whose image was not given, and images as a page shows them."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np

from astcapture.errors import CaptureError
from astcapture.plot.images import as_image
from astcapture.plot.patches import Grid
from astcapture.plot.special_tokens import special_tokens
from astcapture.values.record import Record

#: The longest side of an image in a file, in pixels.
LONGEST = 512


def grid_of_model(record: Record, tokens: int) -> tuple[Grid, int] | None:
    """The square of patches of a vision model, and how many tokens come before; None of other models.

    >>> grid_of_model(Record(0, "attn", "m", "f", 1, "blocks.0", model="ViT"), 197)
    ((14, 14), 1)
    """
    prefix = special_tokens(record, tokens, None)
    if not prefix:
        return None
    side = isqrt(tokens - prefix)
    return (side, side), prefix


def image_entry(image: Any, name: str) -> dict[str, Any]:
    """An image as the file has it: a data URL of a PNG, its size, its name.

    Args:
        image: a path, a PIL image, an array or a tensor, as `astcapture.plot` takes it.
        name: what the page calls it.

    Raises:
        CaptureError: it is none.
    """
    if isinstance(image, (str, Path)):
        name, image = Path(image).name, _opened(image)
    try:
        pixels = as_image(image)
    except (ValueError, TypeError) as error:
        raise CaptureError(f"{name}: {error}") from None
    step = -(-max(pixels.shape[:2]) // LONGEST)
    height, width = pixels.shape[:2]
    if step > 1:
        # The mean of each square of pixels.
        cut = pixels[: height // step * step, : width // step * step]
        pixels = cut.reshape(height // step, step, width // step, step, -1).mean(axis=(1, 3))
    eight = (np.clip(np.nan_to_num(pixels), 0, 1) * 255 + 0.5).astype(np.uint8)
    if eight.ndim == 2 or eight.shape[2] == 1:
        eight = np.repeat(eight.reshape(*eight.shape[:2], 1), 3, axis=2)
    source = f"data:image/png;base64,{base64.b64encode(png(eight)).decode()}"
    return {"src": source, "width": width, "height": height, "name": name}


def _opened(path: str | Path) -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise CaptureError(f"to read {path} you need pillow: pip install 'astcapture[plot]'") from None
    try:
        data = Path(path).read_bytes()
        return Image.open(io.BytesIO(data))
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror or 'is no image that pillow reads'}") from None


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """A PNG of (height, width, 3) 8-bit pixels.

    >>> png(np.zeros((1, 1, 3), np.uint8))[:4]
    b'\\x89PNG'
    """
    height, width = pixels.shape[:2]
    lines = np.zeros((height, 1 + width * 3), np.uint8)  # each line begins with its filter, none
    lines[:, 1:] = pixels.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
