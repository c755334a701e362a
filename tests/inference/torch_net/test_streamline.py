"""A streamlined net gives the same output; a net that can't be streamlined is not changed."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from chunkflow_worker.inference.torch_net.layout import with_layout
from chunkflow_worker.inference.torch_net.streamline import streamlined
from tests.support.random_nets import SIZE, STEP, WIDTH, Recipe, assert_same_output, in_eval_mode


def kinds(net: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in net.modules()}


@settings(max_examples=60)
@given(st.lists(STEP, min_size=1, max_size=9), st.integers(0, 3))
def test_streamlined_nets_give_the_same_output(steps: list[dict[str, Any]], seed: int) -> None:
    """Also for nets that themselves change a value in place while it is used elsewhere."""
    torch.manual_seed(seed)
    net = in_eval_mode(Recipe(steps))
    before = deepcopy(net.state_dict())
    changed = streamlined(net)
    assert isinstance(changed, torch.fx.GraphModule)
    assert_same_output(net, changed)
    assert_same_output(net, with_layout(changed, torch.channels_last_3d))
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), (
        "the given net is not changed"
    )


def test_batch_norms_are_folded_and_activations_reuse_memory() -> None:
    net = in_eval_mode(
        nn.Sequential(
            nn.Conv3d(1, WIDTH, 3, padding=1),
            nn.BatchNorm3d(WIDTH),
            nn.ELU(),
            nn.Conv3d(WIDTH, 1, 1),
        )
    )
    changed = streamlined(net)
    assert nn.BatchNorm3d not in kinds(changed)
    assert [module.inplace for module in changed.modules() if isinstance(module, nn.ELU)] == [True]
    assert [module.inplace for module in net.modules() if isinstance(module, nn.ELU)] == [False]
    assert_same_output(net, changed)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv3d(1, WIDTH, 1), nn.Conv3d(WIDTH, WIDTH, 3, padding=1)
        self.norm, self.act = nn.BatchNorm3d(WIDTH), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.a(x)
        return self.act(self.norm(self.b(kept)) + kept)


def test_residual_sums_reuse_only_the_memory_of_the_layer() -> None:
    net = in_eval_mode(Residual())
    changed = streamlined(net)
    assert nn.BatchNorm3d not in kinds(changed)
    assert "add_into" in changed.code
    assert changed.get_submodule("0.act").inplace
    assert_same_output(net, changed)


class DifferentShapes(nn.Module):
    """Sums of different shapes, the smaller one first: along the batch, and in the patch."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 1, *SIZE))
        self.of_place, self.of_mean, self.conv = (
            nn.Conv3d(1, 1, 1),
            nn.Conv3d(1, 1, 1),
            nn.Conv3d(1, 1, 1),
        )
        self.norm = nn.BatchNorm3d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.of_place(self.place) + self.norm(self.conv(x))
        return self.of_mean(x.mean((2, 3, 4), keepdim=True)) + y


@pytest.mark.parametrize("batch", [1, 3])
def test_sums_of_different_shapes_are_not_changed(batch: int) -> None:
    net = in_eval_mode(DifferentShapes())
    changed = streamlined(net)
    assert nn.BatchNorm3d not in kinds(changed)
    assert_same_output(net, changed, batch)


def test_layers_with_hooks_are_not_changed() -> None:
    net = in_eval_mode(
        nn.Sequential(
            nn.Conv3d(1, WIDTH, 1), nn.BatchNorm3d(WIDTH), nn.ReLU(), nn.Conv3d(WIDTH, 1, 1)
        )
    )
    net[0].register_forward_hook(lambda module, given, output: output * 2)
    net[3].register_forward_pre_hook(lambda module, given: (given[0] + 1,))
    changed = streamlined(net)
    assert nn.BatchNorm3d in kinds(changed)
    assert_same_output(net, changed)


def test_layers_in_training_mode_are_not_changed() -> None:
    """Some nets keep their batch norms in training mode, even after eval()."""

    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1)

        def train(self, mode: bool = True) -> nn.Module:
            super().train(mode)
            self.norm.train()
            return self

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(x))

    net = Stubborn().eval()
    assert nn.BatchNorm3d in kinds(streamlined(net))


def test_two_layers_that_share_their_weights_are_folded_separately() -> None:
    net = nn.Sequential(
        nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1), nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1)
    )
    net[2].weight = net[0].weight
    assert_same_output(in_eval_mode(net), streamlined(net))


class Shared(nn.Module):
    """One convolution before two batch norms, and two convolutions before one batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv3d(1, 1, 3, padding=1), nn.Conv3d(1, 1, 1)
        self.a, self.b = nn.BatchNorm3d(1), nn.BatchNorm3d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.other(self.b(self.conv(self.a(self.conv(x))))))


def test_layers_that_are_called_twice_are_not_changed() -> None:
    net = in_eval_mode(Shared())
    changed = streamlined(net)
    assert sum(isinstance(module, nn.BatchNorm3d) for module in changed.modules()) == 2
    assert_same_output(net, changed)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norms_without_running_statistics_are_not_changed(affine: bool) -> None:
    """They use the statistics of each batch."""
    net = nn.Sequential(
        nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2, affine=affine, track_running_stats=False)
    ).eval()
    changed = streamlined(net)
    assert nn.BatchNorm3d in kinds(changed)
    assert_same_output(net, changed)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        return y if float(y.mean()) > 0 else -y


def test_a_net_whose_graph_cant_be_read_is_returned() -> None:
    net = in_eval_mode(Branching())
    assert streamlined(net) is net


def test_optional_arguments_of_a_net_keep_their_defaults() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv3d(1, WIDTH, 1), nn.BatchNorm3d(WIDTH)

        def forward(
            self, x: torch.Tensor, mask: torch.Tensor | None = None, scale: float = 0.5
        ) -> torch.Tensor:
            y = self.norm(self.conv(x)) * scale
            return y if mask is None else y * mask

    net = in_eval_mode(Masked())
    changed = streamlined(net)
    assert nn.BatchNorm3d not in kinds(changed)
    assert_same_output(net, changed)
