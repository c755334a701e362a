"""`forward`: batch sizes, types, pre_process and post_process."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.torch_net.forward import forward
from chunkflow_worker.inference.torch_net.load import Net

Both = namedtuple("Both", "a b")


class Recorded(nn.Module):
    """Doubles its input, and keeps what it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Any] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.inputs.append(x)
        return 2 * x


def noise(count: int = 2) -> torch.Tensor:
    return torch.rand((count, 1, 2, 3, 4), generator=torch.Generator().manual_seed(0))


def test_a_net_of_any_batch_size_gets_the_batch() -> None:
    net = Recorded()
    output = forward(Net(net), net, noise(3))
    assert torch.equal(output, 2 * noise(3))
    assert net.inputs[0].shape == (3, 1, 2, 3, 4)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_batch_is_filled_up_to_the_fixed_batch_size_with_zeros(count: int) -> None:
    net = Recorded()
    output = forward(Net(net, batch=4), net, noise(count))
    assert torch.equal(output, 2 * noise(count))
    assert len(net.inputs[0]) == 4
    assert not net.inputs[0][count:].any()


def test_float64_of_pre_process_becomes_float32() -> None:
    net = Recorded()
    forward(Net(net, pre_process=lambda batch: batch.astype(np.float64)), net, noise())
    assert net.inputs[0].dtype == torch.float32


def test_integers_of_pre_process_keep_their_type() -> None:
    net = Recorded()
    labels = Net(net, pre_process=lambda batch: (batch * 100).astype(np.int64))
    forward(labels, net, noise())
    assert net.inputs[0].dtype == torch.int64


@pytest.mark.parametrize("make", [lambda a: a + 1, lambda a: torch.from_numpy(a + 1)])
def test_pre_process_gets_an_array_and_returns_the_input(make: Any) -> None:
    seen = []
    net = Recorded()
    forward(Net(net, pre_process=lambda a: seen.append(a) or make(a)), net, noise())
    assert isinstance(seen[0], np.ndarray)
    assert torch.equal(net.inputs[0], noise() + 1)


def test_pre_process_may_return_what_only_the_net_understands() -> None:
    output = forward(
        Net(None, pre_process=lambda batch: {"image": torch.from_numpy(batch)}),
        lambda inputs: inputs["image"] * 3,
        noise(),
    )
    assert torch.equal(output, 3 * noise())


@pytest.mark.parametrize(
    "wrap",
    [lambda x: (x, x + 9), lambda x: [x, x + 9], lambda x: {"a": x, "b": x + 9}, lambda x: x],
)
def test_the_first_output_is_taken(wrap: Any) -> None:
    assert torch.equal(forward(Net(None), wrap, noise()), noise())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: Both(x.half(), [x.bfloat16(), {"deep": x.half()}]),
        lambda x: {"a": x.half(), "b": (x.bfloat16(), x)},
        lambda x: [x.half(), x.bfloat16()],
    ],
)
def test_post_process_gets_the_same_structure_with_all_tensors_in_float32(wrap: Any) -> None:
    seen = []
    net = Net(None, post_process=lambda output: seen.append(output) or noise())
    forward(net, wrap, noise())
    (given,) = seen
    assert type(given) is type(wrap(noise()))

    def tensors(value: Any) -> list[torch.Tensor]:
        if isinstance(value, torch.Tensor):
            return [value]
        parts = value.values() if isinstance(value, dict) else value
        return [tensor for part in parts for tensor in tensors(part)]

    assert {tensor.dtype for tensor in tensors(given)} == {torch.float32}
    assert len(tensors(given)) == len(tensors(wrap(noise())))


def test_post_process_keeps_integers_and_other_values() -> None:
    net = Net(None, post_process=lambda output: output["labels"])
    output = forward(net, lambda x: {"labels": x.long(), "note": "text"}, noise())
    assert output.dtype == torch.int64


@pytest.mark.parametrize(
    ("returned", "kind"),
    [
        ("x", "text"),
        ([], "nothing"),
        ({}, "nothing"),
        (3.5, "a number"),
        ([[1, 2], 3], "several values in one"),
        (object(), "something else"),
    ],
)
def test_a_result_that_is_not_a_tensor_is_refused(returned: Any, kind: str) -> None:
    with pytest.raises(
        ModelError, match=rf"the net returned {kind}, and a tensor \(n[^\n]*\n.*post_process"
    ):
        forward(Net(None), lambda x: returned, noise())


@pytest.mark.parametrize(
    ("returned", "choice"),
    [
        (lambda x: (None, x), "output[1]"),
        (lambda x: {"note": "a", "out": x}, r"output['out']"),
        (lambda x: [[x], 3, x], "output[2]"),
        (lambda x: {"heads": {"a": x}}, "output['heads']['a']"),
        (lambda x: SimpleNamespace(loss=None, logits=x), "output.logits"),
        (lambda x: {"all": SimpleNamespace(maps=[3, x])}, "output['all'].maps[1]"),
    ],
)
def test_a_tensor_among_several_outputs_is_named(returned: Any, choice: str) -> None:
    with pytest.raises(ModelError) as error:
        forward(Net(None), returned, noise())
    assert str(error.value).endswith(f"def post_process(output): return {choice}")


@pytest.mark.parametrize("post_process", [None, lambda output: output])
def test_complex_numbers_are_refused_with_the_cure(post_process: Any) -> None:
    with pytest.raises(ModelError, match=r"complex numbers\n    .*output\.abs\(\)"):
        forward(Net(None, post_process=post_process), torch.fft.fft, noise())


def test_an_array_is_as_good_as_a_tensor() -> None:
    output = forward(Net(None, post_process=lambda x: x.numpy() + 1), lambda x: x, noise())
    assert torch.equal(output, noise() + 1)


@pytest.mark.parametrize("post_process", [None, lambda output: output + 0])
@pytest.mark.parametrize("pre_process", [None, lambda patch: patch])
def test_a_flat_net_gets_sections_and_returns_them(post_process: Any, pre_process: Any) -> None:
    net = Recorded()
    sections = noise()[:, :, :1]
    flat = Net(net, pre_process, post_process, flat=True)
    assert torch.equal(forward(flat, net, sections), 2 * sections)
    assert net.inputs[0].shape == (2, 1, 3, 4)


def test_a_flat_net_may_return_patches() -> None:
    flat = Net(None, post_process=lambda output: output[:, :, None], flat=True)
    assert forward(flat, lambda x: x, noise()[:, :, :1]).shape == (2, 1, 1, 3, 4)
