"""Layers computed in 2D give the same as in 3D."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from chunkflow_worker.inference.torch_net.layout import with_layout
from chunkflow_worker.inference.torch_net.sections import Sectionwise, in_sections
from chunkflow_worker.inference.torch_net.streamline import streamlined
from tests.support.random_nets import STEP, Recipe, assert_same_output, in_eval_mode

LAST = torch.channels_last_3d


def patches(batch: int = 2, channels: int = 3) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(batch, channels, 4, 9, 10)


@pytest.mark.parametrize(
    ("layer", "flat"),
    [
        (nn.Conv3d(3, 5, (1, 3, 3), padding=(0, 1, 1)), True),
        (
            nn.Conv3d(3, 6, (1, 5, 3), stride=(1, 2, 1), dilation=(1, 1, 2), groups=3, bias=False),
            True,
        ),
        (nn.Conv3d(3, 5, (1, 3, 3), padding="same"), True),
        (nn.Conv3d(3, 5, 1), True),
        (nn.Conv3d(3, 5, (1, 3, 3), padding=(0, 1, 1), padding_mode="reflect"), False),
        (nn.Conv3d(3, 5, (1, 3, 3), padding=1), False),
        (nn.Conv3d(3, 5, (1, 3, 3), stride=(2, 1, 1)), False),
        (nn.Conv3d(3, 5, 3), False),
        (nn.MaxPool3d((1, 2, 2)), True),
        (nn.MaxPool3d((1, 3, 2), stride=(1, 2, 2), padding=(0, 1, 1), ceil_mode=True), True),
        (nn.MaxPool3d(2), False),
        (nn.AvgPool3d((1, 2, 3), ceil_mode=True, count_include_pad=False), True),
        (nn.AvgPool3d((2, 2, 2)), False),
        (nn.Upsample(scale_factor=(1, 2, 2), mode="trilinear"), True),
        (nn.Upsample(scale_factor=(1, 2, 3), mode="trilinear", align_corners=True), True),
        (nn.Upsample(scale_factor=(1, 2, 2), mode="nearest"), True),
        (nn.Upsample(scale_factor=2, mode="trilinear"), False),
        (nn.Upsample(size=(4, 18, 20)), False),
    ],
)
@pytest.mark.parametrize("batch", [1, 2])
@torch.no_grad()
def test_a_layer_in_2d_gives_the_same_as_in_3d(layer: nn.Module, flat: bool, batch: int) -> None:
    changed = in_sections(nn.Sequential(deepcopy(layer)))
    assert isinstance(changed[0], Sectionwise) == flat
    x = patches(batch)
    expected = layer(x)
    for given_x in (x, x.contiguous(memory_format=LAST)):
        assert torch.allclose(changed(given_x), expected, atol=1e-6)
    if flat:
        assert changed(x.contiguous(memory_format=LAST)).is_contiguous(memory_format=LAST)


def test_a_copy_in_another_precision_uses_its_own_weights() -> None:
    net = in_sections(nn.Sequential(nn.Conv3d(3, 5, (1, 3, 3))))
    reduced = deepcopy(net).double()
    assert reduced(patches().double().contiguous(memory_format=LAST)).dtype == torch.float64


@pytest.mark.parametrize(
    "options",
    [
        {"scale_factor": (1, 2, 2)},
        {"scale_factor": (1, 2, 2), "mode": "trilinear", "align_corners": True},
        {"size": (4, 11, 13), "mode": "trilinear"},
        {"size": (4, 11, 13), "mode": "area"},
        {"size": (8, 11, 13)},
        {"size": 8},
        {"scale_factor": 2.0},
    ],
)
def test_resizing_by_a_function(options: dict[str, Any]) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.interpolate(x, **options)

    x = patches().contiguous(memory_format=LAST)
    changed = in_sections(streamlined(Net()))
    assert "functional.interpolate" not in changed.code
    assert torch.allclose(changed(x), Net()(x), atol=1e-6)


def test_layers_with_hooks_are_not_changed() -> None:
    net = nn.Sequential(nn.Conv3d(3, 5, (1, 3, 3)))
    net[0].register_forward_hook(lambda module, given, output: output * 2)
    assert isinstance(in_sections(net)[0], nn.Conv3d)


@settings(max_examples=30)
@given(st.lists(STEP, min_size=1, max_size=9), st.integers(0, 3))
def test_nets_in_sections_give_the_same_output(steps: list[dict[str, Any]], seed: int) -> None:
    torch.manual_seed(seed)
    net = in_eval_mode(Recipe(steps))
    changed = with_layout(in_sections(streamlined(net)), LAST)
    assert_same_output(net, changed)
