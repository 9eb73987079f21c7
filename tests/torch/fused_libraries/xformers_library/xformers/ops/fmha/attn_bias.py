"""Biases as xformers documents them: each gives its dense tensor by ``materialize(shape, dtype, device)``."""

import torch


class AttentionBias:
    def materialize(self, shape, dtype=torch.float32, device="cpu"):
        raise NotImplementedError


class LowerTriangularMask(AttentionBias):
    def materialize(self, shape, dtype=torch.float32, device="cpu"):
        made = torch.zeros(shape, dtype=dtype, device=device)
        for i in range(shape[-2]):
            made[..., i, i + 1 :] = float("-inf")
        return made


class LowerTriangularMaskWithTensorBias(LowerTriangularMask):
    def __init__(self, bias):
        self._bias = bias

    def materialize(self, shape, dtype=torch.float32, device="cpu"):
        return super().materialize(shape, dtype, device) + self._bias


class BlockDiagonalMask(AttentionBias):
    def __init__(self, queries, keys):
        self.queries, self.keys = queries, keys

    def materialize(self, shape, dtype=torch.float32, device="cpu"):
        assert shape[-2:] == (sum(self.queries), sum(self.keys))
        made = torch.full(shape[-2:], float("-inf"), dtype=dtype, device=device)
        row = column = 0
        for queries, keys in zip(self.queries, self.keys, strict=True):
            made[row : row + queries, column : column + keys] = 0
            row, column = row + queries, column + keys
        for _ in shape[:-2]:
            made = made.unsqueeze(0)
        return made.expand(shape)
