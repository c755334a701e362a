"""`Trial`: which nets get one patch at a time, and which changes are kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from chunkflow_worker.errors import ModelError, OutOfMemory
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.trial import Trial

SHAPE = (1, 1, 4, 128, 128)
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
        ([(2, 1, 4, 128, 128), (1, 1, 4, 128, 128)], (2, 1, 4, 128, 128), None),
        ([(1, 1, 4, 128, 128)], (1, 1, 4, 128, 128), 1),
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
        "the net fails on a patch of [1, 1, 4, 128, 128] (nczyx): "
        "size [1, 1, 4, 128, 128] does not fit and more\n"
        "    see --input-patch-size (-s) and --num-input-channels; try a larger patch"
    )


@pytest.mark.parametrize("error", [TypeError("half() takes 1"), KeyError("out"), NameError("y")])
def test_an_error_of_the_nets_own_code_is_to_be_mended_there(error: Exception) -> None:
    def fails(x: torch.Tensor) -> torch.Tensor:
        raise error

    with pytest.raises(ModelError, match=r"\n    mend it in net\.py$"):
        trial_of(fails, path="net.py")


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


def test_the_output_of_a_changed_net() -> None:
    trial = trial_of(lambda x: 2 * x)
    assert torch.equal(trial.output(lambda x: 3 * x), 3 * trial.noise)


def test_the_first_patch_alone() -> None:
    trial = trial_of(lambda x: 2 * x)
    alone = trial.alone()
    assert (trial.net.batch, alone.net.batch) == (None, 1)
    assert torch.equal(alone.noise, trial.noise[:1])
    assert torch.equal(alone.expected, 2 * alone.noise)
    fixed = replace(trial, net=replace(trial.net, batch=4)).alone()
    assert fixed.net.batch == 4


def test_a_trial_of_another_size() -> None:
    resized = trial_of(lambda x: 2 * x).resized((1, 1, 3, 5, 7))
    assert resized.noise.shape == (1, 1, 3, 5, 7)
    assert torch.equal(resized.expected, 2 * resized.noise)


# --- nets that do not take patches as they are ---


def tried(net: nn.Module, shape: tuple[int, ...] = (1, 1, 1, 16, 16), **options: Any) -> Trial:
    with torch.inference_mode():
        if not isinstance(net, torch.fx.GraphModule):  # exported nets have no modes
            net.eval()
        return Trial.of(Net(net, **options), shape, CPU)


FLAT = {
    "convolution": lambda: nn.Conv2d(1, 2, 3, padding=1),
    "unet": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Upsample(None, 2),
        nn.Conv2d(4, 2, 1),
    ),
    "script": lambda: torch.jit.trace(nn.Conv2d(1, 2, 1), torch.rand(1, 1, 8, 8)),
    "export": lambda: torch.export.export(
        nn.Conv2d(1, 2, 1), (torch.rand(1, 1, 16, 16),)
    ).module(),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch plans to drop TorchScript
@pytest.mark.parametrize("kind", FLAT)
def test_a_net_in_2d_gets_patches_of_one_section(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    trial = tried(FLAT[kind](), batch=1 if kind == "export" else None)
    assert trial.net.flat
    assert trial.expected.shape[1:] == (2, 1, 16, 16)
    told = [r.getMessage() for r in caplog.records if r.name.startswith("chunkflow_worker")]
    assert [text[:14] for text in told] == ["the net is 2D:"]


@pytest.mark.parametrize(
    "net",
    [
        nn.Conv3d(1, 2, (1, 3, 3), padding=(0, 1, 1)),
        nn.Sequential(nn.Flatten(1, 2), nn.Conv2d(1, 2, 1), nn.Unflatten(1, (2, 1))),
        nn.ReLU(),
    ],
    ids=["3D", "makes sections itself", "any"],
)
def test_a_net_that_takes_patches_gets_them(
    net: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    trial = tried(net)
    assert not trial.net.flat
    assert trial.expected.ndim == 5
    assert not caplog.records


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize(
    "layers",
    [
        lambda: nn.Conv3d(1, 2, 3, padding=1),
        lambda: nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2)),
        lambda: nn.Conv2d(1, 2, 1),
    ],
)
def test_a_net_of_another_number_type_runs_in_float32(
    kind: str, layers: Any, caplog: pytest.LogCaptureFixture
) -> None:
    net = layers().to(getattr(torch, kind))
    trial = tried(net)
    assert trial.expected.dtype == torch.float32
    assert {value.dtype for value in net.parameters()} == {torch.float32}
    (told,) = [r.getMessage() for r in caplog.records if "weights" in r.getMessage()]
    assert told.startswith(f"the net's weights are {kind}, and it takes no float32 patches")
    assert ".float()" in told


def test_a_net_that_converts_patches_itself_keeps_its_types(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Converts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv3d(1, 1, 1).half()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.half()).float()

    net = Converts()
    assert tried(net).expected.dtype == torch.float32
    assert net.layer.weight.dtype == torch.float16
    assert not caplog.records


class Constant(nn.Module):
    """Half weights that are no parameters, which `.float()` does not convert."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.kernel = nn.Conv3d(1, 1, 1).half(), torch.ones(1, 1, 1, 1, 1).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv3d(self.layer(x), self.kernel)


class Skip(nn.Module):
    """A U-Net: the sum of a patch and of the same halved and doubled."""

    def __init__(self, levels: int):
        super().__init__()
        self.factor = 2**levels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        small = nn.functional.max_pool3d(x, (1, self.factor, self.factor))
        return x + nn.functional.interpolate(small, scale_factor=(1, self.factor, self.factor))


@pytest.mark.parametrize(
    ("net", "shape", "cure"),
    [
        (nn.Conv2d(1, 2, 1), (1, 1, 8, 16, 24), "the net is 2D: give --input-patch-size 1 16 24;"),
        (
            nn.Conv2d(3, 2, 1),
            (1, 1, 8, 16, 24),
            "takes 3 channels: give --input-patch-size 1 16 24 and --num-input-channels 3",
        ),
        (
            nn.Conv2d(5, 2, 1),
            (1, 1, 5, 16, 16),
            "takes 5 sections as channels: give --output-patch",
        ),
        (nn.Conv2d(3, 1, 1), (1, 1, 1, 16, 16), "give --input-patch-size 1 16 16 and --num-in"),
        (nn.Conv3d(3, 1, 1), (1, 1, 4, 16, 16), "takes 3 channels: give --num-input-channels 3"),
        (nn.Conv3d(1, 1, 1), (1, 2, 4, 16, 16), "takes 1 channels: give --num-input-channels 1"),
        (Skip(2), (1, 1, 3, 18, 16), "multiples of 4: give --input-patch-size 3 20 16"),
        (Skip(4), (1, 1, 3, 100, 200), "multiples of 16: give --input-patch-size 3 112 208"),
        (Constant(), (1, 1, 4, 16, 16), "weights are float16: make it with .float() before"),
        (nn.Conv3d(1, 1, 40), (1, 1, 4, 16, 16), "try a larger patch"),
    ],
)
def test_a_net_that_fails_is_told_with_what_makes_it_run(
    net: nn.Module, shape: tuple[int, ...], cure: str
) -> None:
    with pytest.raises(ModelError) as error:
        tried(net, shape)
    first, *rest = str(error.value).splitlines()
    assert len(rest) in (1, 2)
    assert cure in rest[0]
    told = first.removeprefix(f"the net fails on a patch of {list(shape)} (nczyx)")
    assert bool(told) == (cure == "try a larger patch"), "torch's text, if no cause was found"
    assert "RuntimeError" not in told


def test_pre_process_that_returns_another_type_is_told() -> None:
    with pytest.raises(
        ModelError, match=r"\(nczyx\)\n    let pre_process of net\.py return float32"
    ):
        tried(
            nn.Conv3d(1, 1, 1),
            path="net.py",
            pre_process=lambda patch: (255 * patch).astype("u1"),
        )


def test_pre_process_may_return_float64() -> None:
    trial = tried(nn.Conv3d(1, 1, 1), pre_process=lambda patch: patch / np.float64(2) * np.ones(1))
    assert trial.expected.dtype == torch.float32


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch plans to drop TorchScript
def test_the_error_of_a_script_is_its_last_line() -> None:
    script = torch.jit.trace(nn.Conv3d(1, 1, 40), torch.rand(1, 1, 40, 40, 40))
    with pytest.raises(ModelError, match=r"\(nczyx\): Calculated padded input size"):
        tried(script, (1, 1, 4, 8, 8))


# --- two answers for the same noise ---


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * self.calls


class Trains(nn.Module):
    """A batch norm that stays in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm.train()(x)


def traced(*layers: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch plans to drop TorchScript
        net = nn.Sequential(nn.Conv3d(1, 1, 1), *layers).train()
        return torch.jit.trace(net, torch.rand(1, 1, 4, 8, 8), check_trace=False)


def differ(trial: Trial) -> bool:
    answers = trial.answers()
    return not np.array_equal(answers.first, answers.second)


@pytest.mark.parametrize(
    "net",
    [
        Does(lambda x: nn.functional.dropout(x, 0.5)),
        Does(lambda x: x + torch.rand_like(x)),
        Does(lambda x: x * torch.randint(1, 10**6, ())),
        traced(nn.Dropout(0.3)),
        traced(nn.Conv3d(1, 9, 1), nn.Dropout3d(0.5)),
        Counts(),
    ],
    ids=["F.dropout", "rand", "randint", "traced", "traced 3d", "counts"],
)
@pytest.mark.parametrize("editable", [False, True])
def test_a_random_net_gives_two_answers(net: Any, editable: bool) -> None:
    assert differ(tried(net, (1, 1, 4, 8, 8), editable=editable))


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv3d(1, 4, 1), nn.BatchNorm3d(4), nn.Dropout(0.5)),
        Does(lambda x: nn.functional.dropout(x, 0.5, training=False)),
        Does(lambda x: x - x.mean()),
    ],
)
def test_a_steady_net_gives_one_answer(net: nn.Module) -> None:
    trial = tried(net, (1, 1, 4, 8, 8))
    assert not differ(trial)
    assert trial.answers().changed == ""


@pytest.mark.parametrize("net", [Trains(), traced(nn.BatchNorm3d(1))], ids=["train()", "traced"])
def test_batch_norms_in_training_mode_change_the_net(net: Any) -> None:
    assert "running_mean" in tried(net, (1, 1, 4, 8, 8)).answers().changed


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_answers_may_have_any_number_type(kind: Any) -> None:
    assert not differ(tried(Does(lambda x: (x * 9).to(kind)), (1, 1, 4, 8, 8)))


def test_noise_of_pre_and_post_process_is_found() -> None:
    for name in ("pre_process", "post_process"):
        net = {name: lambda x: torch.as_tensor(x) + torch.rand(x.shape)}
        assert differ(tried(nn.ReLU(), (1, 1, 4, 8, 8), **net))


def test_a_buffer_made_for_a_patch_is_no_change() -> None:
    class Grid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("grid", torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.grid = torch.linspace(0, 1, x.shape[-1])
            return x + self.grid

    assert tried(Grid(), (1, 1, 4, 8, 8)).answers().changed == ""
