"""Nets that give two answers for one input: what is told, for which differences."""

from __future__ import annotations

import numpy as np
import pytest

from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.engine import Answers
from chunkflow_worker.inference.steady import check_steady

SHAPE = (1, 2, 4, 16, 16)


def output(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def check(
    first: np.ndarray, second: np.ndarray, changed: str = "", precision: str = "float32"
) -> None:
    check_steady(Answers(first, second, changed), "net.py", precision, allow_random=False)


@pytest.mark.parametrize("precision", ["float32", "tf32", "float16", "bfloat16"])
def test_the_same_answer_passes(precision: str) -> None:
    check(output(), output(), precision=precision)
    check(np.zeros(SHAPE), np.zeros(SHAPE), precision=precision)


@pytest.mark.parametrize(
    ("precision", "relative"), [("float32", 1e-6), ("tf32", 1e-5), ("bfloat16", 4e-3)]
)
def test_the_rounding_of_gpus_passes(precision: str, relative: float) -> None:
    noise = np.random.default_rng(1).uniform(-relative, relative, SHAPE)
    check(output(), output() + noise * np.abs(output()).max(), precision=precision)


def test_a_few_voxels_across_a_threshold_pass() -> None:
    binary = (output() > 0).astype(np.float32)
    flipped = binary.copy()
    flipped.flat[7] = 1 - flipped.flat[7]
    large = np.tile(binary, (8, 1, 1, 1, 1)), np.concatenate([flipped, *[binary] * 7])
    check(*large)
    with pytest.raises(ModelError, match="two answers"):
        check(binary, flipped)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_net_that_gives_nan_for_noise_is_told(
    caplog: pytest.LogCaptureFixture, value: float
) -> None:
    special = output()
    special[:, 0] = value
    check(special, special.copy())
    assert "net.py gives NaN or infinite values for noise from 0 to 1 (50% of" in caplog.text


def test_values_that_are_not_finite_pass_if_both_have_them() -> None:
    special = output()
    special.flat[:3] = np.nan, np.inf, -np.inf
    check(special, special.copy())
    with pytest.raises(ModelError, match="two answers"):
        check(special, output())


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (output(1), "100% of its values differ, by up to"),
        (np.where(output(1) > 0, 0, output()), "49% of its values differ, by up to"),
        (output() + np.float32(0.01), "100% of its values differ, by up to 0.01"),
        (output()[:, :, :2], "[1, 2, 4, 16, 16] and [1, 2, 2, 16, 16]"),
    ],
    ids=["noise", "dropout", "shift", "shape"],
)
def test_two_answers_are_refused_or_told(
    caplog: pytest.LogCaptureFixture, second: np.ndarray, told: str
) -> None:
    with pytest.raises(ModelError) as error:
        check(output(), second)
    first, *cures = str(error.value).splitlines()
    assert first.startswith("net.py gives two answers for one input: ")
    assert told in first
    assert "net.eval()" in cures[0]
    assert cures[1:] == ["    or give --allow-random to run it as it is"]
    for _ in range(2):
        check_steady(Answers(output(), second), "net.py", "float32", allow_random=True)
    (record,) = caplog.records
    assert record.getMessage() == f"{first}; it runs because of --allow-random"


def test_a_net_that_changes_itself_is_refused_or_told(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ModelError, match=r"net\.py changes itself .*: norm\.running_mean\n"):
        check(output(), output(), "norm.running_mean")
    answers = Answers(output(), output(), "norm.running_mean")
    check_steady(answers, "net.py", "float32", allow_random=True)
    assert len(caplog.records) == 1
