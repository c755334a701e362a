"""`prepare`: the net that runs, its precision and its layout."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.torch_net import prepare as module
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.prepare import Prepared, prepare
from chunkflow_worker.inference.torch_net.sections import Sectionwise

SHAPE = (1, 1, 4, 8, 8)
CPU = torch.device("cpu")
FIRST, LAST = torch.contiguous_format, torch.channels_last_3d


def convolutions(norm: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(1, 6, (1, 3, 3), padding=(0, 1, 1)),
        norm or nn.BatchNorm3d(6),
        nn.ELU(),
        nn.Conv3d(6, 2, 3, padding=1),
    ).eval()


def prepared(net: nn.Module, precision: Any = "float32", editable: bool = True) -> Prepared:
    return prepare(Net(net, editable=editable), SHAPE, precision, CPU)


def kinds(net: nn.Module) -> set[type[nn.Module]]:
    return {type(part) for part in net.modules()}


@torch.inference_mode()
def assert_same(made: Prepared, net: nn.Module, tolerance: float = 1e-5) -> None:
    patches = torch.rand((2, *SHAPE[1:]), generator=torch.Generator().manual_seed(1))
    given = patches.contiguous(memory_format=made.layout)
    reduced = made.precision in ("bfloat16", "float16")
    found = made.run(given.to(getattr(torch, made.precision)) if reduced else given).float()
    assert (found - net(patches)).abs().max() < tolerance
    assert (made.float32(given) - net(patches)).abs().max() < 1e-5


def test_all_changes_for_speed_are_made_on_a_cpu() -> None:
    net = convolutions()
    made = prepared(net)
    assert (made.precision, made.layout) == ("float32", LAST)
    assert made.run is made.float32
    assert nn.BatchNorm3d not in kinds(made.run)
    assert Sectionwise in kinds(made.run)
    assert made.net.batch is None
    assert_same(made, net)


def test_norms_over_the_voxels_keep_channels_first_in_float32() -> None:
    net = convolutions(nn.GroupNorm(2, 6))
    made = prepared(net)
    assert made.layout is FIRST
    assert Sectionwise not in kinds(made.run)
    assert_same(made, net)
    assert prepared(convolutions(nn.GroupNorm(2, 6)), "bfloat16").layout is LAST


def test_a_net_that_is_not_editable_is_not_changed() -> None:
    net = convolutions()
    made = prepared(net, editable=False)
    assert made.run is net
    assert made.layout is FIRST
    assert_same(made, net)


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_a_reduced_net_is_wider_and_the_float32_one_is_not(
    precision: Any, tolerance: float
) -> None:
    net = convolutions()
    made = prepared(net, precision)
    assert made.precision == precision
    assert {p.dtype for p in made.run.parameters()} == {getattr(torch, precision)}

    def channels(run: Any) -> list[int]:
        return [part.out_channels for part in run.modules() if isinstance(part, nn.Conv3d)]

    assert channels(made.run) == [16, 2]
    assert channels(made.float32) == [6, 2]
    assert_same(made, net, tolerance)


def test_cpus_compute_tf32_as_float32() -> None:
    made = prepared(convolutions(), "tf32")
    assert made.precision == "float32"
    assert not torch.backends.cuda.matmul.allow_tf32


class OnlyFloat32(nn.Module):
    """Fails in a reduced precision, or gives NaN there."""

    def __init__(self, fails: bool):
        super().__init__()
        self.fails = fails

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float32:
            return x
        if self.fails:
            raise RuntimeError("not implemented\nat all")
        return x * float("nan")


@pytest.mark.parametrize(
    ("fails", "problem"),
    [(True, "does not run: not implemented"), (False, "gives values that are not finite")],
)
def test_auto_takes_float32_if_the_fast_precision_does_not_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: bool, problem: str
) -> None:
    monkeypatch.setattr(module, "fast_precision", lambda device: "bfloat16")
    with caplog.at_level(logging.WARNING):
        made = prepared(OnlyFloat32(fails), "auto")
    assert made.precision == "float32"
    assert f"the net {problem} in bfloat16, so it runs in float32" in caplog.text
    with pytest.raises(ModelError) as error:
        prepared(OnlyFloat32(fails), "bfloat16")
    assert str(error.value) == f"the net {problem} in bfloat16: use precision float32"


def test_a_precision_without_instructions_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "cpu_has", lambda precision: False)
    with caplog.at_level(logging.WARNING):
        prepared(convolutions(), "bfloat16")
    assert "this CPU has no instructions for bfloat16" in caplog.text


def test_a_net_that_needs_one_patch_at_a_time_says_so() -> None:
    class Mean(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - x.mean()

    assert prepared(Mean()).net.batch == 1
