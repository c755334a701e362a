"""Added channels do not change the output, and are added wherever possible."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from chunkflow_worker.inference.torch_net.layout import with_layout
from chunkflow_worker.inference.torch_net.streamline import streamlined
from chunkflow_worker.inference.torch_net.width import widened
from tests.support.random_nets import SIZE, STEP, Recipe, assert_same_output, in_eval_mode

TRIAL = torch.zeros(1, 1, *SIZE)


def widths(net: nn.Module) -> dict[str, tuple[int, int]]:
    """Input and output channels of each convolution."""
    found = {
        name: m for name, m in net.named_modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)
    }
    return {name: (module.in_channels, module.out_channels) for name, module in found.items()}


@settings(max_examples=60)
@given(st.lists(STEP, min_size=1, max_size=9), st.integers(0, 3), st.sampled_from([2, 8]))
def test_widened_nets_give_the_same_output(
    steps: list[dict[str, Any]], seed: int, multiple: int
) -> None:
    torch.manual_seed(seed)
    net = in_eval_mode(Recipe(steps))
    lean = streamlined(net)
    before = widths(lean)
    changed = widened(lean, TRIAL, multiple)
    assert_same_output(net, changed)
    assert_same_output(net, with_layout(changed, torch.channels_last_3d))
    assert widths(lean) == before, "the given net is not changed"


class UNet(nn.Module):
    """Its two branches are added, or concatenated along the channels."""

    def __init__(self, joined: bool):
        super().__init__()
        self.joined = joined
        self.enter, self.norm = nn.Conv3d(1, 5, 3, padding=1), nn.BatchNorm3d(5)
        self.pool, self.down = nn.MaxPool3d((1, 2, 2)), nn.Conv3d(5, 9, 3, padding=1)
        self.narrow, self.act = nn.ConvTranspose3d(9, 5, 3, padding=1), nn.ELU()
        self.merge, self.after = (
            nn.Conv3d(10 if joined else 5, 7, 3, padding=1),
            nn.BatchNorm3d(10 if joined else 5),
        )
        self.leave = nn.Conv3d(7, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = self.act(self.norm(self.enter(x)))
        deep = self.narrow(self.act(self.down(self.pool(side))))
        deep = nn.functional.interpolate(deep, size=side.shape[2:], mode="nearest")
        both = self.after(torch.cat([deep, side], dim=1) if self.joined else deep + side)
        return torch.sigmoid(self.leave(self.act(self.merge(both))))


@pytest.mark.parametrize("joined", [True, False])
def test_all_channels_but_those_of_input_and_output_are_widened(joined: bool) -> None:
    torch.manual_seed(0)
    net = in_eval_mode(UNet(joined))
    changed = widened(streamlined(net), TRIAL, 8)
    both = 16 if joined else 8
    assert widths(changed) == {
        "0.enter": (1, 8),
        "0.down": (8, 16),
        "0.narrow": (16, 8),
        "0.merge": (both, 8),
        "0.leave": (8, 3),
    }
    assert_same_output(net, changed)


def test_values_that_meet_an_unknown_operation_keep_their_channels() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv3d(1, 3, 1), nn.Conv3d(3, 3, 1), nn.Conv3d(3, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            return self.c(self.b(y) / y.amax(1, keepdim=True))

    net = Net().eval()
    lean = streamlined(net)
    changed = widened(lean, TRIAL, 8)
    assert widths(changed) == widths(lean)
    assert_same_output(net, changed)


def test_layers_with_hooks_keep_their_channels() -> None:
    net = nn.Sequential(
        nn.Conv3d(1, 3, 1), nn.ReLU(), nn.Conv3d(3, 3, 1), nn.Conv3d(3, 1, 1)
    ).eval()
    net[1].register_forward_hook(lambda module, given, output: output[:, [2, 1, 0]])
    changed = widened(streamlined(net), TRIAL, 8)
    assert widths(changed) == {"0.0": (1, 3), "0.2": (3, 8), "0.3": (8, 1)}
    assert_same_output(net, changed)
