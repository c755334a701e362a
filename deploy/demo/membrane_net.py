"""The demo's ConvNet: a small 3D residual U-Net that finds membranes.

Users bring a file like this one. `inference` calls its function `load_model`.

Input (n, 1, z, y, x) float32, grey values / 255. Output of the same shape, float32: the probability
of membrane, 0 to 1.

Sections are thicker than voxels are wide. So half of the kernels are 1x3x3, half are 3x3x3, and
pooling stays within a section.

Inside the net, sections are part of the batch: (n z, channels, y, x). A 3x3x3 kernel is a 3x3
kernel over the channels of three neighbouring sections. The sum is the same, but on a CPU torch
computes it several times faster than a Conv3d with batch size 1.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (8, 16, 24, 32)


def load_model(weight_path: str | Path) -> nn.Module:
    """Return the net with its trained weights, on the CPU and in evaluation mode."""
    net = MembraneNet()
    net.load_state_dict(torch.load(weight_path, map_location="cpu", weights_only=True))
    return net.eval()


class MembraneNet(nn.Module):
    """A U-Net of four levels, joined by sums.

    After training its batch norms are constant, so patches of a batch do not affect each other.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        steps = list(pairwise(widths))
        self.first = _convolve(1, widths[0], 5)
        self.down = nn.ModuleList(Residual(width) for width in widths)
        self.up = nn.ModuleList(Residual(width) for width in widths[:-1])
        self.widen = nn.ModuleList(nn.Conv2d(fine, coarse, 1) for fine, coarse in steps)
        self.narrow = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in steps)
        self.last = nn.Conv2d(widths[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(image))

    def logits(self, image: Tensor) -> Tensor:
        """Return the output before the sigmoid, for training: (n, 1, z, y, x)."""
        n, _, z, y, x = image.shape
        here = self.down[0](self.first(image.reshape(n * z, 1, y, x) - 0.6), z)
        sides = []
        for widen, block in zip(self.widen, self.down[1:], strict=True):
            sides.append(here)
            here = block(widen(functional.max_pool2d(here, 2)), z)
        for narrow, block in zip(reversed(self.narrow), reversed(self.up), strict=True):
            side = sides.pop()
            larger = functional.interpolate(narrow(here), size=side.shape[2:], mode="nearest")
            here = block(side + larger, z)
        return self.last(here).reshape(n, 1, z, y, x)


class Residual(nn.Module):
    """Add to the input a 1x3x3 and then a 3x3x3 convolution of it. `z`: sections of an image."""

    def __init__(self, width: int):
        super().__init__()
        self.within = _convolve(width, width, 3)
        self.across = _convolve(3 * width, width, 3)

    def forward(self, here: Tensor, z: int) -> Tensor:
        return here + self.across(_with_neighbours(self.within(here), z))


def _with_neighbours(here: Tensor, z: int) -> Tensor:
    """Return the channels of each section and its two neighbours; zeros beyond the ends."""
    stack = here.reshape(-1, z, *here.shape[1:])
    padded = functional.pad(stack, (0, 0, 0, 0, 0, 0, 1, 1))
    return torch.cat([padded[:, :-2], stack, padded[:, 2:]], 2).flatten(0, 1)


def _convolve(channels: int, width: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())
