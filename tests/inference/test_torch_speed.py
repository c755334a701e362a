"""What is done to a net for speed leaves its answer alone; and what can't be done to it leaves the net alone."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from chunkflow_worker.bbox import Vec3
from chunkflow_worker.inference.torch_speed import fastest, in_precision, streamlined, with_layout

SIZE = Vec3(4, 8, 8)
WIDTH = 3


def settled(net: nn.Module) -> nn.Module:
    """In evaluation mode, with batch norms of running statistics that matter."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.uniform_(module.bias, -1, 1)
    return net.eval()


def kinds(net: nn.Module) -> set[type[nn.Module]]:
    return {type(module) for module in net.modules()}


@torch.no_grad()
def assert_same_answer(net: nn.Module, changed: nn.Module, batch: int = 2) -> None:
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
    """A net of random steps. Each takes values made before and makes one more; the answer is the sum of all that are left."""

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
            return nn.Conv3d(WIDTH, WIDTH, step["width"], padding=step["width"] // 2, bias=step["bias"])
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
            # Most steps take what was made last, as layers do; some reach back.
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
                *["conv", "norm", "conv", "norm", "add", "up", "torch.add", "constant", "slice", "view"],
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


@settings(max_examples=60)
@given(st.lists(STEP, min_size=1, max_size=9), st.integers(0, 3))
def test_streamlined_nets_give_the_same_answer(steps: list[dict[str, Any]], seed: int) -> None:
    """Nets of one's own that change a value in place while it is used elsewhere are included."""
    torch.manual_seed(seed)
    net = settled(Recipe(steps))
    before = deepcopy(net.state_dict())
    changed = streamlined(net)
    assert isinstance(changed, torch.fx.GraphModule)
    assert_same_answer(net, changed)
    assert_same_answer(net, with_layout(changed, torch.channels_last_3d))
    after = net.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "the net that was given stays as it was"


def test_batch_norms_are_folded_and_activations_reuse_memory() -> None:
    net = settled(nn.Sequential(nn.Conv3d(1, WIDTH, 3, padding=1), nn.BatchNorm3d(WIDTH), nn.ELU(), nn.Conv3d(WIDTH, 1, 1)))
    changed = streamlined(net)
    assert nn.BatchNorm3d not in kinds(changed)
    assert [module.inplace for module in changed.modules() if isinstance(module, nn.ELU)] == [True]
    assert [module.inplace for module in net.modules() if isinstance(module, nn.ELU)] == [False]
    assert_same_answer(net, changed)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv3d(1, WIDTH, 1), nn.Conv3d(WIDTH, WIDTH, 3, padding=1)
        self.norm, self.act = nn.BatchNorm3d(WIDTH), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = self.a(x)
        return self.act(self.norm(self.b(kept)) + kept)


def test_residual_sums_reuse_the_memory_of_the_layer_alone() -> None:
    net = settled(Residual())
    changed = streamlined(net)
    assert nn.BatchNorm3d not in kinds(changed)
    assert "_add_into" in changed.code
    assert changed.act.inplace
    assert_same_answer(net, changed)


class Unlike(nn.Module):
    """Sums of values of unlike shapes, the smaller one first: over the batch, and over the patch."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 1, *SIZE))
        self.of_place, self.of_mean, self.conv = nn.Conv3d(1, 1, 1), nn.Conv3d(1, 1, 1), nn.Conv3d(1, 1, 1)
        self.norm = nn.BatchNorm3d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.of_place(self.place) + self.norm(self.conv(x))
        return self.of_mean(x.mean((2, 3, 4), keepdim=True)) + y


@pytest.mark.parametrize("batch", [1, 3])
def test_sums_of_unlike_shapes_stay_sums(batch: int) -> None:
    net = settled(Unlike())
    changed = streamlined(net)
    assert nn.BatchNorm3d not in kinds(changed)
    assert_same_answer(net, changed, batch)


def test_layers_with_hooks_are_left_alone() -> None:
    net = settled(nn.Sequential(nn.Conv3d(1, WIDTH, 1), nn.BatchNorm3d(WIDTH), nn.ReLU(), nn.Conv3d(WIDTH, 1, 1)))
    net[0].register_forward_hook(lambda module, given, output: output * 2)
    net[3].register_forward_pre_hook(lambda module, given: (given[0] + 1,))
    changed = streamlined(net)
    assert nn.BatchNorm3d in kinds(changed)
    assert_same_answer(net, changed)


def test_layers_that_insist_on_training_are_left_alone() -> None:
    """As those of nets that keep their batch norms in training mode whatever they are told."""

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


def test_weights_of_two_layers_that_are_one_tensor_fold_apart() -> None:
    net = nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1), nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1))
    net[2].weight = net[0].weight
    assert_same_answer(settled(net), streamlined(net))


class Shared(nn.Module):
    """One convolution, called twice, before two batch norms; and two convolutions before one batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv3d(1, 1, 3, padding=1), nn.Conv3d(1, 1, 1)
        self.a, self.b = nn.BatchNorm3d(1), nn.BatchNorm3d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.other(self.b(self.conv(self.a(self.conv(x))))))


def test_layers_that_are_called_twice_are_left_alone() -> None:
    net = settled(Shared())
    changed = streamlined(net)
    assert sum(isinstance(module, nn.BatchNorm3d) for module in changed.modules()) == 2
    assert_same_answer(net, changed)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norms_of_the_batch_itself_are_left_alone(affine: bool) -> None:
    """Without running statistics they take those of each batch."""
    net = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2, affine=affine, track_running_stats=False)).eval()
    changed = streamlined(net)
    assert nn.BatchNorm3d in kinds(changed)
    assert_same_answer(net, changed)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        return y if float(y.mean()) > 0 else -y


def test_a_net_whose_graph_cant_be_read_is_returned_as_it_is() -> None:
    net = settled(Branching())
    assert streamlined(net) is net


def test_precision_is_set_on_all_that_floats() -> None:
    net = nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1))
    assert {p.dtype for p in in_precision(deepcopy(net), "bfloat16").parameters()} == {torch.bfloat16}
    assert {p.dtype for p in in_precision(deepcopy(net), "tf32").parameters()} == {torch.float32}


def test_only_weights_of_3d_convolutions_are_laid_out() -> None:
    net = nn.Sequential(nn.Conv3d(2, 4, 3), nn.ConvTranspose3d(4, 2, 3), nn.Conv2d(2, 4, 3), nn.Linear(2, 2), nn.BatchNorm3d(4))
    changed = with_layout(net, torch.channels_last_3d)
    assert changed[0].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert changed[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert changed[2].weight.is_contiguous()
    again = with_layout(changed, torch.contiguous_format)
    assert again[0].weight.is_contiguous()


def test_the_fastest_is_found_by_time_after_one_call_to_warm_up() -> None:
    clock, calls = 0.0, {"slow at first": 0, "slow": 0}

    def work(name: str) -> None:
        nonlocal clock
        calls[name] += 1
        clock += 100 if name == "slow at first" and calls[name] == 1 else 3 if name == "slow" else 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chunkflow_worker.inference.torch_speed.perf_counter", lambda: clock)
        synchronized: list[int] = []
        found = fastest({name: lambda name=name: work(name) for name in calls}, lambda: synchronized.append(1), repeats=2)
    assert found == "slow at first"
    assert calls == {"slow at first": 3, "slow": 3}
    assert len(synchronized) == 4
