"""A small vision transformer (Dosovitskiy et al., https://arxiv.org/abs/2010.11929) in plain PyTorch.

Its attention weights are a local variable of `Attention.forward`, which does not return or store them. The only line
about astcapture is the marker `@capture("attn")`, which has no effect until capturing is on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from astcapture import capture


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.project = nn.Linear(dim, dim)

    @capture("attn")
    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attn = (q @ k.mT * self.scale).softmax(dim=-1)  # (batch, heads, tokens, tokens)
        x = (attn @ v).transpose(1, 2).reshape(batch, tokens, dim)
        return self.project(x)


class Block(nn.Module):
    """One layer: attention, then a two-layer perceptron, each on the normalised residual stream."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attn(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    """Images (batch, 1, image_size, image_size) to class scores (batch, classes).

    Token 0 is CLS; token 1 + i is patch i, counted row by row from the top left.
    """

    def __init__(
        self,
        image_size: int = 8,
        patch_size: int = 2,
        classes: int = 10,
        dim: int = 64,
        depth: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        patches = (image_size // patch_size) ** 2
        self.embed = nn.Conv2d(1, dim, kernel_size=patch_size, stride=patch_size)
        self.cls = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, 1 + patches, dim) * 0.02)
        self.blocks = nn.Sequential(*[Block(dim, heads, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.classify = nn.Linear(dim, classes)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.embed(images).flatten(2).transpose(1, 2)  # (batch, patches, dim)
        tokens = torch.cat([self.cls.expand(len(images), -1, -1), patches], dim=1) + self.positions
        return self.classify(self.norm(self.blocks(tokens))[:, 0])
