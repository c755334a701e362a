"""`Trial`: which nets get one patch at a time, and which changes are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from chunkflow_worker.errors import ModelError, OutOfMemory
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.trial import Trial

SHAPE = (1, 1, 4, 96, 96)
CPU = torch.device("cpu")
FIRST = torch.contiguous_format


class Does(nn.Module):
    """A net that applies a function, and keeps the shapes that it was called with."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]):
        super().__init__()
        self.function, self.shapes = function, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(x.shape))
        return self.function(x)


def trial_of(function: Callable[[torch.Tensor], torch.Tensor], **options: Any) -> Trial:
    return Trial.of(Net(Does(function), **options), SHAPE, CPU)


def only(*shapes: tuple[int, ...]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A net that fails for patches of other shapes."""

    def function(x: torch.Tensor) -> torch.Tensor:
        if tuple(x.shape) not in shapes:
            raise RuntimeError(f"size {list(x.shape)} does not fit\nand more")
        return 2 * x

    return function


def test_a_net_is_tried_on_two_small_patches() -> None:
    trial = trial_of(lambda x: 2 * x)
    assert trial.noise.shape == (2, 1, 4, 64, 64)
    assert torch.equal(trial.expected, 2 * trial.noise)
    assert trial.net.batch is None


@pytest.mark.parametrize(
    ("accepted", "noise", "batch"),
    [
        ([(1, 1, 4, 64, 64)], (1, 1, 4, 64, 64), 1),
        ([(2, 1, 4, 96, 96), (1, 1, 4, 96, 96)], (2, 1, 4, 96, 96), None),
        ([(1, 1, 4, 96, 96)], (1, 1, 4, 96, 96), 1),
    ],
)
def test_a_net_that_does_not_take_these_gets_fewer_or_larger_ones(
    accepted: list[tuple[int, ...]], noise: tuple[int, ...], batch: int | None
) -> None:
    trial = trial_of(only(*accepted))
    assert (tuple(trial.noise.shape), trial.net.batch) == (noise, batch)


def test_a_net_whose_output_depends_on_the_other_patch_gets_one_at_a_time() -> None:
    trial = trial_of(lambda x: x - x.mean())
    assert (len(trial.noise), trial.net.batch) == (1, 1)


def test_a_fixed_batch_size_is_kept() -> None:
    assert trial_of(lambda x: 2 * x, batch=2).net.batch == 2


def test_a_net_that_takes_no_patch_is_an_error_with_its_reason_in_one_line() -> None:
    with pytest.raises(ModelError) as error:
        trial_of(only())
    assert str(error.value) == (
        "the net fails on a patch of [1, 1, 4, 96, 96] (nczyx): "
        "RuntimeError: size [1, 1, 4, 96, 96] does not fit"
    )


def test_out_of_memory_is_not_an_error_of_the_net() -> None:
    def full(x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(OutOfMemory, match="full"):
        trial_of(full)
    trial = trial_of(lambda x: x)
    with pytest.raises(OutOfMemory, match="full"):
        trial.changed("the net", lambda run: full, FIRST)


def test_the_trial_does_not_change_the_noise_and_not_the_net() -> None:
    """Some nets change their input in place; editable ones run as copies."""
    trial = trial_of(lambda x: x.mul_(2), editable=True)
    assert torch.equal(trial.expected, 2 * trial.noise)
    assert trial.net.module.shapes == []


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda x: 2 * x, True),
        (lambda x: 2 * x + 1e-6, True),
        (lambda x: 2 * x + 1e-3, False),
        (lambda x: 2 * x[:1], False),
        (lambda x: x * float("nan"), False),
        (lambda x: x.view(3, 5, 7), False),
    ],
    ids=["same", "rounded", "different", "shape", "nan", "fails"],
)
def test_a_change_is_kept_if_the_output_is_the_same(change: Any, kept: bool) -> None:
    trial, candidate = trial_of(lambda x: 2 * x), Does(change)
    assert trial.changed("the net", lambda run: candidate, FIRST) is (
        candidate if kept else "the net"
    )


def test_a_change_that_can_not_be_made_is_not_kept() -> None:
    def fails(run: Any) -> Any:
        raise NotImplementedError

    assert trial_of(lambda x: x).changed("the net", fails, FIRST) == "the net"


def test_a_change_gets_the_noise_in_its_memory_format() -> None:
    seen = []

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.is_contiguous(memory_format=torch.channels_last_3d))
        return 2 * x

    trial = Trial.of(Net(Does(lambda x: 2 * x)), (1, 3, 4, 8, 8), CPU)
    trial.changed("the net", lambda run: look, torch.channels_last_3d)
    trial.changed("the net", lambda run: look, FIRST)
    assert seen == [True, False]


def test_the_output_in_a_reduced_precision() -> None:
    trial = trial_of(lambda x: 2 * x)
    output = trial.output(trial.net.module, "bfloat16")
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, 2 * trial.noise.bfloat16())
