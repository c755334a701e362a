"""Nets of several outputs: which is taken, and what is told."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch

from chunkflow_worker.errors import ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.outputs import check_choice
from chunkflow_worker.inference.torch_net.trial import Trial

SIZE = Vec3(4, 8, 8)
CPU = torch.device("cpu")
Named = namedtuple("Named", "aux out")


def check(
    function: Callable[[Any], Any], output_size: Vec3 = SIZE, channels: int = 1, **net: Any
) -> None:
    spec = EngineSpec(SIZE, output_size, channels)
    trial = Trial.of(Net(function, path="net.py", **net), (1, 1, *SIZE), CPU)
    check_choice(trial, spec)


@pytest.fixture(autouse=True)
def _plain_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nets of this file are functions, which have no layers and no weights."""
    module = "chunkflow_worker.inference.torch_net.trial"
    monkeypatch.setattr(f"{module}._other_types", lambda net: "")


def half(x: Any) -> Any:
    return x[..., ::2, ::2]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x,
        lambda x: [x],
        lambda x: (x, half(x), half(half(x))),  # deep supervision
        lambda x: {"out": x, "features": x.mean((2, 3, 4))},
        lambda x: (x, 3, None, "note"),
    ],
)
def test_the_only_output_that_fits_is_taken_without_a_word(
    caplog: pytest.LogCaptureFixture, function: Callable[[Any], Any]
) -> None:
    check(function)
    assert not caplog.records


@pytest.mark.parametrize(
    ("function", "choice"),
    [
        (lambda x: (x, x + 1), "output[1]"),
        (lambda x: {"affinity": x, "mask": x}, "output['mask']"),
        (lambda x: [x, half(x), x], "output[2]"),
        (lambda x: Named(x, x), "output[1]"),
    ],
)
def test_that_the_first_of_several_is_taken_is_told(
    caplog: pytest.LogCaptureFixture, function: Callable[[Any], Any], choice: str
) -> None:
    check(function)
    (record,) = caplog.records
    text = record.getMessage()
    assert "outputs, and the first is taken (" in text
    assert text.endswith(f"write in net.py: def post_process(output): return {choice}")


@pytest.mark.parametrize(
    ("function", "choice"),
    [
        (lambda x: {"aux": half(x), "out": x}, "output['out']"),
        (lambda x: [half(half(x)), half(x), x], "output[2]"),
        (lambda x: Named(half(x), x), "output[1]"),
        (lambda x: (x[:, 0], x), "output[1]"),
    ],
)
def test_if_another_than_the_first_fits_post_process_is_named(
    function: Callable[[Any], Any], choice: str
) -> None:
    with pytest.raises(ModelError) as error:
        check(function)
    first, second = str(error.value).splitlines()
    assert "the first does not have the declared size" in first
    assert f"write in net.py: def post_process(output): return {choice}" in second


def test_a_file_without_python_is_told_how_to_get_one() -> None:
    with pytest.raises(ModelError, match=r"give a Python file with load_model\(path\)"):
        check(lambda x: (half(x), x), is_python=False)


def test_the_output_of_valid_convolutions_fits() -> None:
    with pytest.raises(ModelError, match=r"return output\[1\]"):
        check(lambda x: (half(x), x[..., 1:-1, 1:-1, 1:-1]), Vec3(2, 6, 6))


def test_fewer_channels_than_declared_do_not_fit() -> None:
    with pytest.raises(ModelError, match=r"return output\[1\]"):
        check(lambda x: (x, torch.cat([x, x], 1)), channels=2)


def test_post_process_decides(caplog: pytest.LogCaptureFixture) -> None:
    check(lambda x: (half(x), x), post_process=lambda output: output[1])
    assert not caplog.records
