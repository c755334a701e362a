"""Nets of random steps, and a check that a changed net gives the same output."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from chunkflow_worker.image.bbox import Vec3

SIZE = Vec3(4, 8, 8)
WIDTH = 3


def in_eval_mode(net: nn.Module) -> nn.Module:
    """The net in evaluation mode, with batch norms that change their input."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.uniform_(module.bias, -1, 1)
    return net.eval()


@torch.no_grad()
def assert_same_output(net: nn.Module, changed: nn.Module, batch: int = 2) -> None:
    patches = torch.randn(batch, 1, *SIZE)
    expected = net(patches.clone())
    found = changed(patches.clone())
    assert found.shape == expected.shape
    scale = max(1.0, float(expected.abs().max()))
    assert float((found - expected).abs().max()) < 1e-4 * scale


ACTIVATIONS = {
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "leaky": lambda inplace: nn.LeakyReLU(0.1, inplace=inplace),
    "silu": nn.SiLU,
    "sigmoid": lambda inplace: nn.Sigmoid(),
}


class Recipe(nn.Module):
    """A net of random steps. Each makes a value of earlier ones; the output is the last two."""

    def __init__(self, steps: list[dict[str, Any]]):
        super().__init__()
        self.steps = steps
        self.first = nn.Conv3d(1, WIDTH, 1)
        self.shared = nn.Conv3d(WIDTH, WIDTH, 3, padding=1)
        self.shared_norm = nn.BatchNorm3d(WIDTH)
        self.shared_elu = nn.ELU()
        self.offset = nn.Parameter(torch.randn(1, WIDTH, 1, 1, 1))
        for i, step in enumerate(steps):
            module = self._module(step)
            if module is not None:
                setattr(self, f"step{i}", module)

    def _module(self, step: dict[str, Any]) -> nn.Module | None:
        kind = step["kind"]
        if kind == "conv":
            return nn.Conv3d(
                WIDTH, WIDTH, step["width"], padding=step["width"] // 2, bias=step["bias"]
            )
        if kind == "up":
            return nn.ConvTranspose3d(WIDTH, WIDTH, 3, padding=1)
        if kind == "norm":
            return nn.BatchNorm3d(WIDTH, affine=step["bias"], track_running_stats=step["tracked"])
        if kind in ACTIVATIONS:
            return ACTIVATIONS[kind](inplace=step["inplace"])
        return None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values = [self.first(x)]
        for i, step in enumerate(self.steps):
            # Most steps take the last value, as layers do; some take an earlier one.
            a, b = values[-1 - step["back"] % len(values)], values[-1 - step["other"] % len(values)]
            kind = step["kind"]
            if kind == "add":
                made = a + b
            elif kind == "torch.add":
                made = torch.add(a, b, alpha=0.5) if step["bias"] else torch.add(a, b)
            elif kind == "constant":
                made = a + self.offset if step["bias"] else self.shared(self.offset) + a
            elif kind == "slice":
                made = torch.cat([a[:, :1], b[:, 1:]], 1)
            elif kind == "view":
                made = a.transpose(-1, -2)
            elif kind.startswith("shared"):
                made = getattr(self, kind)(a)
            else:
                made = getattr(self, f"step{i}")(a)
            values.append(made)
        return torch.cat(values[-2:], 1) if len(values) > 1 else values[0]


STEP = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(
            [
                *[
                    "conv",
                    "norm",
                    "conv",
                    "norm",
                    "add",
                    "up",
                    "torch.add",
                    "constant",
                    "slice",
                    "view",
                ],
                *["shared", "shared_norm", "shared_elu", *ACTIVATIONS],
            ]
        ),
        "back": st.sampled_from([0, 0, 0, 0, 1, 2]),
        "other": st.integers(0, 4),
        "bias": st.booleans(),
        "tracked": st.sampled_from([True, True, True, False]),
        "width": st.sampled_from([1, 3]),
        "inplace": st.booleans(),
    }
)
