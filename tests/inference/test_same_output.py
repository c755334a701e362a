"""Outputs of other libraries, compared with those of the net itself."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.same_output import Unsuited, compare, reason, refuse


def noise() -> np.ndarray:
    return np.random.default_rng(0).random((1, 1, 2, 3, 4), np.float32)


def test_an_output_may_differ_by_rounding(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    expected = noise() / noise().max()
    compare(expected + np.float32(5e-5), expected, "float32", "OpenVINO")
    assert (
        "OpenVINO runs the net in float32: for noise, it differs by 5e-05 of the largest value"
        in caplog.text
    )
    compare(expected * np.float32(1.02), expected, "bfloat16", "OpenVINO")


@pytest.mark.parametrize(
    ("change", "precision", "problem"),
    [
        (lambda a: a * 1.001, "float32", r"differs by 0\.001 of its largest value"),
        (lambda a: a * 1.1, "bfloat16", r"differs by 0\.1 of its largest value"),
        (lambda a: a * 1.02, "float16", r"differs by 0\.02 of its largest value"),
        (lambda a: a * np.nan, "float32", "not finite"),
        (lambda a: a[..., :2], "float32", r"is \[1, 1, 2, 3, 2\], not \[1, 1, 2, 3, 4\]"),
    ],
)
def test_another_output_is_unsuited(change: Any, precision: str, problem: str) -> None:
    with pytest.raises(Unsuited, match=problem):
        compare(change(noise()), noise(), precision, "OpenVINO")


def test_the_reason_is_the_line_that_says_most() -> None:
    text = "Exception from src/core.cpp:1:\nCheck 'a' failed at b.cpp:2:\n\nthe shapes differ\nmore"
    assert reason(RuntimeError(text)) == "the shapes differ"
    assert reason(ValueError()) == "ValueError"
    assert reason(ValueError("a" * 300)) == "a" * 200


def test_why_another_library_runs_a_net_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        refuse(Unsuited("it has branches"), "OpenVINO", "torch", asked_for=False)
    assert [record.getMessage() for record in caplog.records] == [
        "torch runs the net, more slowly than OpenVINO would: it has branches; "
        "--acceleration none spares the attempt"
    ]
    with pytest.raises(ModelError, match=r"run the net: it has branches\n.* torch runs it"):
        refuse(Unsuited("it has branches"), "OpenVINO", "torch", asked_for=True)
