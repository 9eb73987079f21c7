"""An image in any of the usual layouts, as matplotlib draws it. Pure array functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from astcapture.plot.arrays import FloatArray, as_array

_CHANNELS = (1, 3, 4)


def as_image(image: Any) -> FloatArray:
    """Return an image as (height, width) or (height, width, 3) with values from 0 to 1.

    Args:
        image: (height, width), (height, width, channels) or (channels, height, width) with 1, 3
            or 4 channels (or a batch of one of these), as a tensor, an array or a PIL image. Where
            a shape can be read both ways, a tensor's channels come first and an array's last.
            8-bit values are divided by 255; other values outside 0 to 1 (an image normalised for
            a model, say) are stretched from their least to their greatest. A fourth channel is
            opacity, over white.

    Raises:
        ValueError: any other shape.

    >>> as_image(np.zeros((3, 32, 48))).shape
    (32, 48, 3)
    """
    if hasattr(image, "convert"):  # PIL, whose palettes and two-channel modes NumPy does not understand
        image = np.asarray(image.convert("RGBA"))
    is_bytes = str(getattr(image, "dtype", "")).endswith("uint8")  # numpy.uint8 and torch.uint8
    pixels = as_array(image)
    shape = pixels.shape
    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    if pixels.ndim == 3:
        pixels = _channels_last(pixels, prefer_first=hasattr(image, "detach"))
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ValueError(
            f"the image has shape {shape}; accepted are (height, width), (height, width, channels) "
            "and (channels, height, width) with 1, 3 or 4 channels"
        )
    return _without_opacity(_unit_range(pixels, is_bytes))


def _channels_last(pixels: FloatArray, *, prefer_first: bool) -> FloatArray:
    first, last = pixels.shape[0] in _CHANNELS, pixels.shape[2] in _CHANNELS
    if first and (prefer_first or not last):
        pixels = np.moveaxis(pixels, 0, -1)
    elif not last:
        return pixels[..., None]  # no channels either way: four axes, refused by shape
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _unit_range(pixels: FloatArray, is_bytes: bool) -> FloatArray:
    if is_bytes:
        return pixels / 255
    least, greatest = np.nanmin(pixels), np.nanmax(pixels)
    if least >= 0 and greatest <= 1:
        return pixels
    return (pixels - least) / (greatest - least or 1)


def _without_opacity(pixels: FloatArray) -> FloatArray:
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        opacity = pixels[..., 3:]
        return pixels[..., :3] * opacity + (1 - opacity)
    return pixels
