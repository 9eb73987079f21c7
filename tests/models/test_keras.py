"""Layers of Keras on torch: those that a model tracks by itself, and that torch knows under no name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

import astcapture  # noqa: E402

SOURCE = """\
import keras


class Attention(keras.layers.Layer):
    def call(self, x):
        attn = keras.ops.softmax(keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1))))
        return keras.ops.matmul(attn, x)


class Block(keras.layers.Layer):
    def __init__(self, **named):
        super().__init__(**named)
        self.attention = Attention(name="attention")

    def call(self, x):
        return x + self.attention(x)


class Listed(keras.Model):
    def __init__(self, **named):
        super().__init__(**named)
        self.parts = [Block(name="first"), Block(name="second")]

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def functional():
    inputs = keras.Input((3, 4))
    x = Block(name="one")(inputs)
    return keras.Model(inputs, Block(name="two")(x), name="functional_model")


def sequential():
    return keras.Sequential([keras.Input((3, 4)), Block(name="one"), Block(name="two")], name="sequential_model")
"""


@pytest.fixture
def nets(make_package: Callable[..., Path], fresh_imports: Any) -> Any:
    if keras.backend.backend() != "torch":
        pytest.skip("Keras runs on another backend here")
    make_package({"keras_nets.py": SOURCE})
    with astcapture.install("keras_nets:Attention.call=attn"):
        import keras_nets

        yield keras_nets


def layers(model: Any, x: Any) -> list[tuple[str | None, str | None]]:
    model(x)  # the first call builds it, for which Keras calls the layers too
    astcapture.cache.clear()
    model(x)
    return [(record.layer, record.model) for record in astcapture.cache.select(label="attn").records]


X = [[[0.1] * 4] * 3]


@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_layers_of_a_model_are_named_by_the_names_that_keras_gives(nets: Any, kind: str) -> None:
    model = getattr(nets, kind)()
    x = keras.ops.convert_to_tensor(X)
    paths = [layer for layer, _ in layers(model, x)]
    assert paths == ["one.attention", "two.attention"]
    assert [layer for layer, _ in layers(model, x)] == paths
    (name,) = {name for _, name in layers(model, x)}
    assert name.partition("#")[0] == type(model).__name__
    # Each alone has the place that it has in the model.
    block = model.get_layer("two")
    assert [layer for layer, _ in layers(block, x)] == ["two.attention"]


def test_layers_in_a_list_are_named_by_keras_too(nets: Any) -> None:
    model = nets.Listed()
    x = keras.ops.convert_to_tensor(X)
    assert layers(model, x) == [("first.attention", "Listed"), ("second.attention", "Listed")]
    assert layers(model, x) == [("first.attention", "Listed"), ("second.attention", "Listed")]


def test_a_model_in_a_model_is_a_part_of_its_path(nets: Any) -> None:
    inner = nets.sequential()
    inputs = keras.Input((3, 4))
    outer = keras.Model(inputs, inner(inputs), name="outer")
    x = keras.ops.convert_to_tensor(X)
    found = [layer for layer, _ in layers(outer, x)]
    assert found == ["sequential_model.one.attention", "sequential_model.two.attention"]
