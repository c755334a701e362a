"""The memory layout of weights, and norms that are inexact in one layout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from chunkflow_worker.inference.torch_net.layout import sums_over_space, with_layout


def test_only_weights_of_3d_convolutions_change_their_layout() -> None:
    net = nn.Sequential(
        nn.Conv3d(2, 4, 3),
        nn.ConvTranspose3d(4, 2, 3),
        nn.Conv2d(2, 4, 3),
        nn.Linear(2, 2),
        nn.BatchNorm3d(4),
    )
    changed = with_layout(net, torch.channels_last_3d)
    assert changed[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert changed[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert changed[2].weight.is_contiguous()
    again = with_layout(changed, torch.contiguous_format)
    assert again[0].weight.is_contiguous()


@pytest.mark.parametrize(
    ("norm", "sums"),
    [
        (nn.GroupNorm(2, 4), True),
        (nn.BatchNorm3d(4, track_running_stats=False), True),
        (nn.BatchNorm3d(4), False),
        (nn.InstanceNorm3d(4), False),
        (nn.Identity(), False),
    ],
)
def test_norms_over_the_voxels_of_a_patch_are_recognized(norm: nn.Module, sums: bool) -> None:
    assert sums_over_space(nn.Sequential(nn.Conv3d(1, 4, 1), nn.Sequential(norm))) is sums
