"""A ConvNet with known output, in a model file like those of users."""

from __future__ import annotations

import torch
from torch import nn


class Sevens(nn.Module):
    """Output channels: the input, its double, and 7. In training mode it returns zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = torch.cat([x * self.scale, 2 * x * self.scale, torch.full_like(x, 7)], dim=1)
        return out * 0 if self.training else out


def load_model(weight_path: str | None) -> nn.Module:
    net = Sevens()
    if weight_path:
        net.load_state_dict(torch.load(weight_path, weights_only=True))
    return net
