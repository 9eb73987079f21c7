"""A transformer of two blocks that learns to continue a repeated sequence, and the data that it learns from.

A row repeats a few random words: `d h a k d h a k d h ...`. From the second time on, the next word is known: find the
place where the current word stood before, and say what came after it. A head that does this is an *induction head*
(Olsson et al., https://arxiv.org/abs/2209.11895). It takes two blocks: the first writes to each place which word stood
before it, the second looks for the places behind the current word.

This is plain PyTorch, without a word about capturing or editing. The values of interest are the local variables
`q, k, v, scores, attn, z` of `Attention.forward`, and the residual stream `x` of `Block.forward`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

WORDS = 64
LENGTH = 64  # words in a row


class Attention(nn.Module):
    """Causal self-attention. Positions are added for the queries and keys only: the values hold no position."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.position = nn.Embedding(LENGTH, dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.register_buffer("future", torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, dim = x.shape
        placed = x + self.position.weight[:length]
        q = self.query(placed).view(batch, length, self.heads, -1).transpose(1, 2)  # (batch, heads, length, size)
        k = self.key(placed).view(batch, length, self.heads, -1).transpose(1, 2)
        v = self.value(x).view(batch, length, self.heads, -1).transpose(1, 2)
        scores = (q @ k.mT * self.scale).masked_fill(self.future[:length, :length], float("-inf"))
        attn = scores.softmax(dim=-1)  # (batch, heads, queries, keys)
        z = attn @ v  # what each head read: (batch, heads, length, size)
        return self.out(z.transpose(1, 2).reshape(batch, length, dim))


class Block(nn.Module):
    """Add to each place what its attention read. There is no perceptron: attention alone solves the task."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm(x))
        return x  # noqa: RET504  # by its name, `x` after the block can be captured and edited


class Model(nn.Module):
    """Words (batch, length) to scores for the next word (batch, length, WORDS)."""

    def __init__(self, heads: int = 1, depth: int = 2, dim: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.unembed = nn.Linear(dim, WORDS, bias=False)

    def forward(self, words: Tensor) -> Tensor:
        x = self.embed(words)
        for block in self.blocks:
            x = block(x)
        return self.unembed(self.norm(x))


def rows(count: int, period: int | None = None, generator: torch.Generator | None = None) -> Tensor:
    """`count` rows of LENGTH words: `period` different random words, repeated (None: 16 to 32, anew in each row)."""
    words = torch.rand(count, WORDS, generator=generator).argsort(dim=1)  # a random order of all words
    if period is None:
        periods = torch.randint(16, 33, (count, 1), generator=generator)
    else:
        periods = torch.full((count, 1), period)
    return words.gather(1, torch.arange(LENGTH) % periods)


def train(seed: int = 0, heads: int = 1, depth: int = 2, steps: int = 800, period: int | None = None) -> Model:
    """Train a model from nothing: 15 seconds on one thread."""
    torch.manual_seed(seed)
    model = Model(heads, depth)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    warm_up = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 50))
    for _ in range(steps):
        words = rows(32, period)
        loss = cross_entropy(model(words)[:, :-1].flatten(0, 1), words[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        warm_up.step()
    return model.eval()


@torch.no_grad()
def loss_and_accuracy(model: Model, words: Tensor, period: int) -> tuple[float, float]:
    """The loss and the share of right answers where the answer is known: from the second time on."""
    scores, answers = model(words)[:, period:-1].flatten(0, 1), words[:, period + 1 :].flatten()
    return cross_entropy(scores, answers).item(), (scores.argmax(1) == answers).float().mean().item()
