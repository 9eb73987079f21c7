"""Where in an image a convolutional network found what."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from astcapture.plot import formulas
from astcapture.plot.arrays import FloatArray, Plottable, as_array, only_record
from astcapture.plot.colour_bar import draw_colour_bar
from astcapture.plot.colours import choose_colours
from astcapture.plot.image_overlay import overlay
from astcapture.plot.page import new_axes
from astcapture.plot.titles import title_of
from astcapture.values.record import Record
from astcapture.values.records import Records


def attention_map(
    feature_map: Plottable,
    weights: Plottable,
    image: Any = None,
    *,
    batch: int | None = None,
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
    """Draw a feature map times weights: their mean over the channels, cut off below zero, divided by the maximum.

    The numbers are those of `formulas.attention_map`, with the maximum of the example that is drawn.

    Args:
        feature_map: (channels, rows, columns), or with a batch axis before: a tensor, an array, or `Records` of
            one value.
        weights: (channels,), (batch, channels), or as many axes as the feature map, each as long as there or 1.
        image: what to draw it over; the map alone if left out.
        batch: the example, where there are several.
        ax: where to draw; a new figure if left out.
        options: as for `overlay`: title, label, colorbar, cmap, vmin, vmax, and with an image style, area, stretch,
            opacity, interpolation.

    Raises:
        ValueError: other shapes, or an example that does not exist or has to be picked.

    >>> import numpy as np
    >>> ax = attention_map(np.ones((1, 8, 7, 7)), np.full(8, 0.5))
    >>> ax.images[-1].get_array().max()
    np.float64(1.0)
    """
    features, factors = as_array(feature_map), as_array(weights)
    if features.ndim == 4:
        index = _example(features, batch)
        if factors.ndim in (2, 4) and len(factors) == len(features):
            factors = factors[index]
        elif factors.ndim == 4 and len(factors) == 1:
            factors = factors[0]
        features = features[index]
    elif batch is not None:
        raise ValueError(f"batch={batch} was given, and a feature map of shape {features.shape} has no batch axis")
    return _draw(
        formulas.attention_map(features, factors),
        image,
        ax,
        "attention",
        options | {"title": title_of(feature_map, options.get("title"))},
    )


def grad_cam(
    feature_map: Plottable,
    gradient: Plottable | None = None,
    image: Any = None,
    *,
    batch: int | None = None,
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
    """Draw Grad-CAM, which tells which part of an image speaks for a class, see `formulas.grad_cam`.

    Args:
        feature_map: (channels, rows, columns), or with a batch axis before: a tensor, an array, or `Records` of
            one value.
        gradient: of the class's score with respect to the feature map, in its shape. It may be left out where
            `feature_map` is `Records`, or a `Record`, captured with ``grad=True``, and ``score.backward()`` has
            been called.
        image: what to draw it over; the map alone if left out.
        batch, ax, options: as for `attention_map`.

    Raises:
        ValueError: other shapes, an example that does not exist or has to be picked, or no gradient.

    >>> import numpy as np
    >>> ax = grad_cam(np.ones((8, 7, 7)), np.full((8, 7, 7), 0.5), np.zeros((28, 28)), title="a cat")
    >>> ax.get_title(), ax.images[-1].get_array().max()
    ('a cat', np.float64(4.0))
    """
    if gradient is None:
        gradient = _captured_gradient(feature_map)
    features, slope = as_array(feature_map), as_array(gradient)
    if features.ndim == 4 and features.shape == slope.shape:
        index = _example(features, batch)
        features, slope = features[index], slope[index]
    elif batch is not None and features.ndim == 3:
        raise ValueError(f"batch={batch} was given, and a feature map of shape {features.shape} has no batch axis")
    return _draw(
        formulas.grad_cam(features, slope),
        image,
        ax,
        "Grad-CAM",
        options | {"title": title_of(feature_map, options.get("title"))},
    )


def _captured_gradient(feature_map: Any) -> Any:
    record = only_record(feature_map) if isinstance(feature_map, Records) else feature_map
    if isinstance(record, Record):
        gradient = record.grad
        if gradient is not None:
            return gradient
        raise ValueError(
            "the feature map has no gradient: capture it with install(..., grad=True) and call score.backward() "
            "before drawing, or pass gradient="
        )
    raise ValueError("grad_cam needs the gradient of the score with respect to the feature map: pass gradient=")


def _example(features: FloatArray, batch: int | None) -> int:
    count = len(features)
    if batch is None and count == 1:
        return 0
    if batch is None:
        raise ValueError(
            f"a feature map of shape {features.shape} has {count} along its batch axis: pick one, "
            f"batch=0 to batch={count - 1}"
        )
    if not -count <= batch < count:
        raise ValueError(
            f"batch={batch} is outside a feature map of shape {features.shape}: batch goes from 0 to {count - 1}"
        )
    return batch


def _draw(values: FloatArray, image: Any, ax: Axes | None, label: str, options: dict[str, Any]) -> Axes:
    if image is not None:
        return overlay(values, image, ax=ax, **{"label": label, **options})
    title, label = options.pop("title", None), options.pop("label", label)
    colorbar = options.pop("colorbar", True)
    colours = choose_colours(values, **options)
    if ax is None:
        ax = new_axes(4.6, 3.8)
    ax.imshow(values, cmap=colours.cmap, norm=colours.norm)
    ax.set_axis_off()
    if title is not None:
        ax.set_title(title)
    if colorbar:
        draw_colour_bar([ax], colours, values, label=label)
    return ax
