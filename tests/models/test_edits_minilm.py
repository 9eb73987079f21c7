"""Edits of a pretrained BERT, all-MiniLM: identities that must hold whatever the weights are, and known effects."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import astcapture

SENTENCES = [
    "The cat that chased the mice was tired.",
    "The bank raised its rates.",
    "The river burst its bank.",
    "A small dog sleeps under the old wooden table.",
    "She reads a book about the history of mathematics.",
    "It rained all night, and the streets were empty.",
    "Two plus two is four.",
    "We opened the window because the room was hot.",
]
ATTENTION = "transformers.models.bert.modeling_bert:eager_attention_forward"
WEIGHTS, READ = f"{ATTENTION}=attn_weights", f"{ATTENTION}=attn_output"
LAYERS, HEADS, SIZE = 6, 12, 32
WEIGHTS_LINE = "attn_weights = nn.functional.dropout("
SCORES_LINE = "attn_weights = attn_weights + attention_mask"
READ_LINE = "attn_output = torch.matmul("


class Switch:
    """The change of an edit that is installed once: what it does, and where, is switched. Installing takes a second."""

    def __init__(self) -> None:
        self.now: tuple[str, int, Callable[[Tensor], Tensor]] | None = None

    def __call__(self, value: Tensor, site: Any) -> Tensor:
        if self.now is None or self.now[:2] != (site.layer, site.lineno):
            return value
        return self.now[2](value)

    @contextmanager
    def on(self, number: int, start: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        self.now = layer(number), line(start), change
        yield
        self.now = None


class Encoder(NamedTuple):
    """MiniLM, its inputs of the eight sentences, which tokens are no padding, and edits of each attention."""

    model: Any
    inputs: dict[str, Tensor]
    words: Tensor
    weights: Switch
    read: Switch

    def states(self) -> Tensor:
        """The last states of all tokens but the padding: (tokens, 384)."""
        with torch.no_grad():
            return self.model(**self.inputs).last_hidden_state[self.words]

    def embeddings(self) -> Tensor:
        """The mean state of each sentence, of length 1."""
        with torch.no_grad():
            states = self.model(**self.inputs).last_hidden_state
        means = (states * self.words[..., None]).sum(1) / self.words.sum(1, keepdim=True)
        return torch.nn.functional.normalize(means, dim=1)


@pytest.fixture(scope="module")
def encoder(minilm: str) -> Iterator[Encoder]:
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(minilm)(SENTENCES, return_tensors="pt", padding=True)
    model = AutoModel.from_pretrained(minilm, attn_implementation="eager").eval().requires_grad_(False)
    weights, read = Switch(), Switch()
    with astcapture.pause(), astcapture.Edit(WEIGHTS, weights), astcapture.Edit(READ, read):
        yield Encoder(model, dict(inputs), inputs["attention_mask"].bool(), weights, read)


def line(start: str) -> int:
    """The number of a line in the source of BERT's attention."""
    from transformers.models.bert.modeling_bert import eager_attention_forward

    lines, first = inspect.getsourcelines(inspect.unwrap(eager_attention_forward))
    (number,) = [number for number, text in enumerate(lines) if text.strip().startswith(start)]
    return first + number


def at(start: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """A change at one of the bindings of a name, which is bound more than once."""
    number = line(start)
    return lambda value, site: change(value) if site.lineno == number else value


def put(index: Any, new: float) -> Callable[[Tensor], Tensor]:
    """A change that puts a number in at an index."""

    def change(value: Tensor) -> Tensor:
        value = value.clone()
        value[index] = new
        return value

    return change


def layer(number: int) -> str:
    return f"encoder.layer.{number}.attention.self"


def renormalised(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True)


@pytest.mark.slow
@pytest.mark.long
def test_no_weights_nothing_read_and_no_output_projection_are_the_same_for_every_head(encoder: Encoder) -> None:
    plain = encoder.states()
    for number in range(LAYERS):
        projection = encoder.model.encoder.layer[number].attention.output.dense.weight
        for head in (*range(HEADS), slice(None)):
            index = np.s_[:, head]
            columns = np.s_[:] if isinstance(head, slice) else np.s_[head * SIZE : (head + 1) * SIZE]
            with encoder.weights.on(number, WEIGHTS_LINE, put(index, 0)):
                without_weights = encoder.states()
            with encoder.read.on(number, READ_LINE, put(index, 0)):
                nothing_read = encoder.states()
            kept = projection.clone()
            projection[:, columns] = 0
            without_projection = encoder.states()
            projection.copy_(kept)
            assert torch.equal(without_weights, nothing_read)
            assert torch.equal(nothing_read, without_projection)
            assert not torch.equal(nothing_read, plain)


@pytest.mark.parametrize("token", [0, 3])
def test_minus_infinity_before_softmax_is_zero_and_rows_that_sum_to_one_after_it(encoder: Encoder, token: int) -> None:
    index = np.s_[..., token]
    for number in range(LAYERS):
        with encoder.weights.on(number, SCORES_LINE, put(index, float("-inf"))):
            before = encoder.embeddings()
        with encoder.weights.on(number, WEIGHTS_LINE, lambda weights: renormalised(put(index, 0)(weights))):
            after = encoder.embeddings()
        assert torch.allclose(before, after, rtol=0, atol=1e-6)


def test_zero_on_padding_changes_nothing_and_a_warning_says_so(encoder: Encoder) -> None:
    plain = encoder.states()
    padding = ~encoder.words[:, None, None, :]
    edit = astcapture.edit(WEIGHTS, at(WEIGHTS_LINE, lambda weights: weights.masked_fill(padding, 0)))
    states = encoder.states()
    with pytest.warns(astcapture.CaptureWarning, match=r"changed nothing: each value already was"):
        edit.uninstall()
    assert torch.equal(states, plain)


def test_most_heads_can_be_missed(encoder: Encoder) -> None:
    plain = encoder.embeddings()
    cosines = torch.zeros(LAYERS, HEADS)
    for number in range(LAYERS):
        for head in range(HEADS):
            with encoder.read.on(number, READ_LINE, put(np.s_[:, head], 0)):
                cosines[number, head] = (encoder.embeddings() * plain).sum(1).mean()
    assert (cosines >= 0.99).sum() > 50 and (cosines >= 0.93).all()


def test_heads_of_one_layer_are_switched_off_in_one_forward_as_in_one_for_each(encoder: Encoder) -> None:
    many = Encoder(
        encoder.model,
        {name: tensor.repeat(HEADS, 1) for name, tensor in encoder.inputs.items()},
        encoder.words.repeat(HEADS, 1),
        *encoder[3:],
    )

    def each_its_head(read: Tensor) -> Tensor:
        read = read.clone()
        for head in range(HEADS):
            read[head * len(SENTENCES) : (head + 1) * len(SENTENCES), head] = 0
        return read

    with encoder.read.on(2, READ_LINE, each_its_head):
        together = many.states().chunk(HEADS)
    for head in range(HEADS):
        with encoder.read.on(2, READ_LINE, put(np.s_[:, head], 0)):
            assert torch.allclose(encoder.states(), together[head], atol=1e-5)


@pytest.mark.parametrize(("token", "renormalise", "cosine"), [(0, False, 0.998), (0, True, 0.56), (3, True, 0.985)])
def test_the_first_token_draws_attention_that_reads_nothing(
    encoder: Encoder, token: int, renormalise: bool, cosine: float
) -> None:
    """[CLS] as a sink: its column can be missed, but the weight that it draws may not go elsewhere (Xiao 2023)."""
    plain = encoder.embeddings()
    zero = put(np.s_[..., token], 0)
    change = (lambda weights: renormalised(zero(weights))) if renormalise else zero
    with astcapture.Edit(WEIGHTS, at(WEIGHTS_LINE, change), layer=[layer(number) for number in range(1, 5)]):
        without = encoder.embeddings()
    assert (without * plain).sum(1).mean().item() == pytest.approx(cosine, abs=0.02)
