"""Ten experiments of interpretability papers on a model whose workings are known: block 0 attends to the word before,
block 1 is an induction head. Each edit agrees bit for bit with the source edited by hand, and gives the known answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import induction_model
import numpy as np
import pytest
import torch
from by_hand import by_hand
from induction import behind_earlier_copies, to_the_word_before, to_words_behind_earlier_copies
from torch import Tensor
from torch.nn.functional import cross_entropy

import astcapture
from astcapture.edits import Site, add, mean, noise, patch, zero

pytestmark = [
    pytest.mark.slow,
    # The model is one for all files.
    pytest.mark.all_objects,
    # Of the places that are tried one by one, some hold the same in both rows.
    pytest.mark.filterwarnings("ignore:.* changed nothing"),
]

PERIOD, PLACE = 20, 7
ANSWER = PERIOD + PLACE  # here the word at PLACE comes again, and the one after it is the answer
ATTENTION, BLOCK = "induction_model:Attention.forward", "induction_model:Block.forward"
Z, Z_LINE = f"{ATTENTION}=z", "z = attn @ v"
ATTN_LINE = "attn = scores.softmax(dim=-1)"
BLOCK_LINE = "x = x + self.attn(self.norm(x))"
EMBED_LINE = "x = self.embed(words)"
SPLIT = "view(batch, length, self.heads, -1).transpose(1, 2)"
BLOCK_0, BLOCK_1 = "blocks.0.attn", "blocks.1.attn"


def with_edits(model: Any, words: Tensor, edits: list[astcapture.Edit]) -> Tensor:
    """The model's scores with the edits; each must have fired and have changed something."""
    with ExitStack() as stack:
        for edit in edits:
            stack.enter_context(edit)
        scores = model(words)
    assert all(receipt.fired == 1 and receipt.changed for edit in edits for receipt in edit.receipts.values())
    return scores


def agreed(model: Any, words: Tensor, lines: dict[str, str], edits: list[astcapture.Edit], **names: Any) -> Tensor:
    """The scores with the edits, which are those of the model whose source was edited by hand."""
    scores = with_edits(model, words, edits)
    assert torch.equal(scores, by_hand(model, lines, **names)(words))
    return scores


def captured(model: Any, words: Tensor, target: str) -> astcapture.Records:
    """A local's value on each block."""
    with astcapture.install(target), astcapture.recording() as values:
        model(words)
    return values[target.partition("=")[0]]


def loss(scores: Tensor, words: Tensor) -> float:
    return cross_entropy(scores[:, PERIOD:-1].flatten(0, 1), words[:, PERIOD + 1 :].flatten()).item()


@pytest.fixture(scope="module")
def random() -> torch.Generator:
    return torch.Generator().manual_seed(1)


@pytest.fixture(scope="module")
def words(random: torch.Generator) -> Tensor:
    return induction_model.rows(256, PERIOD, random)


@pytest.fixture(autouse=True, scope="module")
def _rewritten() -> Iterator[None]:
    """The functions stay rewritten, so that installing the next edit takes no time."""
    with ExitStack() as stack:
        for target in (Z, f"{BLOCK}=x", f"{BLOCK}=x@enter"):
            stack.enter_context(astcapture.Edit(target, lambda value: value, strict=False))
        yield


class Pair(NamedTuple):
    """Two copies of each row, and the same with one word of the first replaced by a foreign one.

    With the word replaced, the model cannot know the answer.
    """

    intact: Tensor
    replaced: Tensor
    best: float
    worst: float

    def log_probability(self, scores: Tensor) -> float:
        answers = self.intact[:, ANSWER + 1 :][:, :1]
        return scores[:, ANSWER].log_softmax(-1).gather(1, answers).mean().item()

    def recovered(self, scores: Tensor) -> float:
        """The share of the answer's log-probability that is back: 0 with the word replaced, 1 for the intact row."""
        return (self.log_probability(scores) - self.worst) / (self.best - self.worst)


@pytest.fixture(scope="module")
def pair(model: Any, random: torch.Generator) -> Pair:
    intact = induction_model.rows(64, PERIOD, random)[:, : 2 * PERIOD]
    foreign = torch.ones(64, induction_model.WORDS).scatter(1, intact, 0).argmax(1)
    replaced = intact.clone()
    replaced[:, PLACE] = foreign
    without = Pair(intact, replaced, 0, 0)
    return without._replace(best=without.log_probability(model(intact)), worst=without.log_probability(model(replaced)))


def test_the_model_continues_a_repeated_row_and_one_block_alone_does_not(model: Any, words: Tensor) -> None:
    error, accuracy = induction_model.loss_and_accuracy(model, words, PERIOD)
    assert accuracy >= 0.99 and error <= 0.15
    first = cross_entropy(model(words)[:, : PERIOD - 1].flatten(0, 1), words[:, 1:PERIOD].flatten()).item()
    assert first == pytest.approx(np.log(64), abs=0.2)  # what cannot be known


def test_the_heads_attend_to_the_word_before_and_to_the_words_behind_earlier_copies(model: Any, words: Tensor) -> None:
    first, second = captured(model, words, f"{ATTENTION}=attn")
    assert to_the_word_before(first).mean() >= 0.85
    assert to_words_behind_earlier_copies(second, words).mean() >= 0.9
    uniform = torch.ones(64, 64).tril() / torch.arange(1, 65)[:, None]
    assert to_words_behind_earlier_copies(uniform, words).mean() < 0.05
    offsets = torch.stack([second[:, 0, 40].flip(-1)[:, 63 - 40 + back].mean() for back in range(40)])
    assert offsets.topk(2).indices.sort().values.tolist() == [PERIOD - 1, 2 * PERIOD - 1]


@pytest.mark.parametrize(("number", "least"), [(0, 4), (1, 4.3)])
def test_without_either_head_nothing_is_left_of_what_was_learnt(
    model: Any, words: Tensor, number: int, least: float
) -> None:
    lines = {Z_LINE: f"{Z_LINE}\nif self.layer == {number}:\n    z = z.clone()\n    z[:, 0] = 0"}
    edit = astcapture.Edit(Z, zero(heads=[0]), layer=f"blocks.{number}.attn")
    assert loss(agreed(model, words, lines, [edit]), words) > least


def test_the_mean_in_place_of_what_a_head_read_destroys_as_much(model: Any, words: Tensor) -> None:
    lines = {Z_LINE: f"{Z_LINE}\nif self.layer == 1:\n    z = z.mean((0, 2), keepdim=True).expand_as(z)"}
    edit = astcapture.Edit(Z, mean(), layer=BLOCK_1)
    assert 4.3 < loss(agreed(model, words, lines, [edit]), words) < 5


@pytest.mark.long
def test_of_four_heads_each_alone_can_be_missed_and_all_together_cannot(four_heads: Any, words: Tensor) -> None:
    for head in range(4):
        lines = {Z_LINE: f"{Z_LINE}\nif self.layer == 1:\n    z = z.clone()\n    z[:, {head}] = 0"}
        edit = astcapture.Edit(Z, zero(heads=[head]), layer=BLOCK_1)
        assert loss(agreed(four_heads, words, lines, [edit]), words) < 2.5
    edits = [astcapture.Edit(Z, zero(heads=[head]), layer=BLOCK_1) for head in range(4)]
    lines = {Z_LINE: f"{Z_LINE}\nif self.layer == 1:\n    z = z * 0"}
    assert loss(agreed(four_heads, words, lines, edits), words) > 4.3


@pytest.mark.long
def test_what_the_heads_of_the_intact_row_read_brings_the_answer_back_at_two_places_alone(
    model: Any, pair: Pair
) -> None:
    intact = captured(model, pair.intact, Z)
    back = torch.zeros(2, 2 * PERIOD)
    for number in range(2):
        for place in range(2 * PERIOD):
            index = np.s_[:, :, place]
            lines = {Z_LINE: f"{Z_LINE}\nif self.layer == {number}:\n    z = z.clone()\n    z[index] = new"}
            with astcapture.Edit(Z, patch(intact, tokens=place), layer=f"blocks.{number}.attn"):
                scores = model(pair.replaced)
            if place % 5 == 2:  # the two places among them
                new = {"index": index, "new": intact[number][index]}
                assert torch.equal(scores, by_hand(model, lines, **new)(pair.replaced))
            back[number, place] = pair.recovered(scores)
    assert back[0, PLACE + 1] == pytest.approx(1, abs=0.01) and back[1, ANSWER] == pytest.approx(1, abs=0.01)
    back[0, PLACE + 1] = back[1, ANSWER] = 0
    assert back.abs().max() < 0.01


def test_block_0_reaches_the_answer_through_the_keys_of_block_1_alone(model: Any, pair: Pair) -> None:
    """Path patching: what block 1 makes of block 0's intact output goes into one of q, k and v."""
    intact = captured(model, pair.intact, Z)
    replaced = captured(model, pair.replaced, Z)
    from_intact = astcapture.Edit(Z, patch(intact), layer=BLOCK_0)
    back = {}
    for name in ("q", "k", "v"):
        line = next(one for one in lines_of_attention() if one.startswith(f"{name} = "))
        with from_intact:
            values = captured(model, pair.replaced, f"{ATTENTION}={name}")
        lines = {line: f"{line}\nif self.layer == 1:\n    {name} = new"}
        edit = astcapture.Edit(f"{ATTENTION}={name}", patch(values), layer=BLOCK_1)
        back[name] = pair.recovered(agreed(model, pair.replaced, lines, [edit], new=values[1]))
    lines = {Z_LINE: f"{Z_LINE}\nz = new[self.layer]"}
    edits = [from_intact, astcapture.Edit(Z, patch(replaced), layer=BLOCK_1)]
    back["direct"] = pair.recovered(agreed(model, pair.replaced, lines, edits, new=[intact[0], replaced[1]]))
    assert back.pop("k") >= 0.93
    assert all(abs(share) < 0.01 for share in back.values()), back


def lines_of_attention() -> list[str]:
    text = (by_hand.__globals__["EXAMPLES"] / "induction_model.py").read_text(encoding="utf-8")
    return [line.partition("  #")[0].strip() for line in text.splitlines()]


def test_a_step_from_one_word_to_another_makes_the_model_continue_the_other(model: Any, words: Tensor) -> None:
    place, random = 50, torch.Generator().manual_seed(2)
    rows = torch.arange(len(words))
    other = (place + torch.randint(1, PERIOD, (len(words),), generator=random)) % PERIOD
    embedding = model.embed.weight
    step = embedding[words[rows, other]] - embedding[words[:, place]]
    anywhere = torch.nn.functional.normalize(torch.randn(step.shape, generator=random), dim=1)
    anywhere *= step.norm(dim=1, keepdim=True)

    def followed(amount: float, direction: Tensor) -> float:
        more = amount * direction
        lines = {BLOCK_LINE: f"if self.layer == 1:\n    x = x.clone()\n    x[:, {place}] += more\n{BLOCK_LINE}"}
        edit = astcapture.Edit(f"{BLOCK}=x@enter", add(more[:, None], tokens=place), layer="blocks.1")
        scores = agreed(model, words, lines, [edit] if amount else [], more=more)
        return (scores[:, place].argmax(-1) == words[rows, other + 1]).float().mean().item()

    assert followed(0, step) == 0
    assert followed(1, step) >= 0.97
    assert followed(1, anywhere) <= 0.03


def test_the_answer_is_in_the_residual_after_block_1_and_not_before(model: Any, words: Tensor) -> None:
    """The logit lens, which edits nothing."""
    probabilities = [
        model.unembed(model.norm(x)).softmax(-1)[:, PERIOD:-1] for x in captured(model, words, f"{BLOCK}=x")
    ]
    answers = words[:, PERIOD + 1 :, None]
    before, after = (one.gather(-1, answers) for one in probabilities)
    rank = (probabilities[0] > before).sum(-1).float().mean().item()
    assert before.mean().item() == pytest.approx(1 / 64, abs=0.005) and 25 < rank < 37
    assert after.mean() > 0.8 and (probabilities[1].argmax(-1) == answers[..., 0]).float().mean() > 0.99
    assert torch.equal(probabilities[1], model(words).softmax(-1)[:, PERIOD:-1])


def test_the_weights_on_words_behind_earlier_copies_are_what_the_head_needs(model: Any, words: Tensor) -> None:
    cells = behind_earlier_copies(words)
    allowed = torch.ones_like(cells).tril() & ~cells
    drawn = torch.rand(cells.shape, generator=torch.Generator().manual_seed(3)).masked_fill(~allowed, 2)
    others = drawn.argsort(-1).argsort(-1) < cells.sum(-1, keepdim=True)  # as many in each row

    def without(cells: Tensor) -> float:
        lines = {ATTN_LINE: f"{ATTN_LINE}\nif self.layer == 1:\n    attn = attn.masked_fill(cells[:, None], 0)"}
        edit = astcapture.Edit(f"{ATTENTION}=attn", lambda attn: attn.masked_fill(cells[:, None], 0), layer=BLOCK_1)
        return loss(agreed(model, words, lines, [edit], cells=cells), words)

    assert without(cells) > 4.2
    assert without(others) == pytest.approx(loss(model(words), words), abs=0.005)


@pytest.mark.long
def test_after_noise_on_a_word_the_residual_brings_the_answer_back_along_one_path(model: Any, pair: Pair) -> None:
    """Causal tracing: the stages are the embedding, and the residual after each block."""
    add_noise = noise(3 * model.embed.weight.std(), seed=4, tokens=PLACE)
    drawn = add_noise(torch.zeros(*pair.intact.shape, 64), Site("blocks.0", None, "x", 0))[:, PLACE]
    assert drawn.std() == pytest.approx(3 * model.embed.weight.std().item(), rel=0.05)
    residuals = {
        "x@enter": captured(model, pair.intact, f"{BLOCK}=x@enter"),
        "x": captured(model, pair.intact, f"{BLOCK}=x"),
    }
    noisy = f"{EMBED_LINE}\nx = x.clone()\nx[:, {PLACE}] += drawn"
    noised = astcapture.Edit(f"{BLOCK}=x@enter", add_noise, layer="blocks.0")
    worst = pair.log_probability(agreed(model, pair.intact, {EMBED_LINE: noisy}, [noised], drawn=drawn))
    assert worst < pair.best - 1
    back = torch.zeros(3, 2 * PERIOD)
    for stage, (name, number) in enumerate((("x@enter", 0), ("x", 0), ("x", 1))):
        for place in (*range(PLACE - 2, PLACE + 4), *range(ANSWER - 2, ANSWER + 3)):
            new = residuals[name][number][:, place]
            put = f"x[:, {place}] = new"
            if name == "x":
                restored = f"{BLOCK_LINE}\nif self.layer == {number}:\n    x = x.clone()\n    {put}"
                lines = {EMBED_LINE: noisy, BLOCK_LINE: restored}
            else:
                lines = {EMBED_LINE: f"{noisy}\n{put}"}
            restore = astcapture.Edit(f"{BLOCK}={name}", patch(residuals[name], tokens=place), layer=f"blocks.{number}")
            with noised, restore:
                scores = model(pair.intact)
            assert torch.equal(scores, by_hand(model, lines, drawn=drawn, new=new)(pair.intact))
            back[stage, place] = (pair.log_probability(scores) - worst) / (pair.best - worst)
    path = (0, PLACE), (1, PLACE + 1), (2, ANSWER)
    for cell in path:
        assert back[cell] == pytest.approx(1, abs=0.02)
        back[cell] = 0
    assert back.max() < 0.05
