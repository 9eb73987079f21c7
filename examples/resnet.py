"""A small residual network with squeeze-and-excitation in plain PyTorch.

He et al., https://arxiv.org/abs/1512.03385; Hu et al., https://arxiv.org/abs/1709.01507.

Its channel attention is a local variable of `Excite.forward`, which does not return or store it. The only line about
astcapture is the marker `@capture(...)`, which has no effect until capturing is on.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from astcapture import capture


class Block(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        self.past = nn.Conv2d(channels, out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        changed = self.norm2(self.second(relu(self.norm1(self.first(x)))))
        return relu(self.past(x) + changed)


class Excite(nn.Module):
    """Squeeze-and-excitation: scale each channel by a weight computed from the whole image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Sequential(nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels))

    @capture("features", "attention")
    def forward(self, features: Tensor) -> Tensor:
        attention = self.gates(features.mean(dim=(2, 3))).sigmoid()[:, :, None, None]  # (batch, channels, 1, 1)
        return features * attention


class ResNet(nn.Module):
    """Images (batch, 3, height, width) of any size to class scores (batch, classes)."""

    def __init__(self, classes: int, channels: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 5, stride=2, padding=2)
        self.stages = nn.Sequential(
            Block(channels, 2 * channels, stride=2), Block(2 * channels, 4 * channels, stride=1), Excite(4 * channels)
        )
        self.classify = nn.Linear(4 * channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.stages(relu(self.stem(images))).mean(dim=(2, 3)))
