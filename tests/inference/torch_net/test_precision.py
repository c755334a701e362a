"""Which precision a device computes fast, and nets in a reduced one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from chunkflow_worker.inference.torch_net import precision
from chunkflow_worker.inference.torch_net.precision import (
    Reduced,
    allow_tf32,
    cpu_has,
    fast_precision,
)


@pytest.mark.parametrize(
    ("flags", "bfloat16", "float16"),
    [
        ({"avx2", "avx512f"}, False, False),
        ({"avx512_bf16"}, True, False),
        ({"amx_bf16", "amx_fp16"}, True, True),
        ({"avx512_fp16"}, False, True),
    ],
)
def test_cpus_are_known_by_their_instructions(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], bfloat16: bool, float16: bool
) -> None:
    monkeypatch.setattr(precision, "cpu_flags", lambda: frozenset(flags))
    assert (cpu_has("bfloat16"), cpu_has("float16")) == (bfloat16, float16)
    assert fast_precision(torch.device("cpu")) == ("bfloat16" if bfloat16 else "float32")


@pytest.mark.parametrize(
    ("capability", "fast"), [((6, 1), "float32"), ((7, 0), "float16"), ((9, 0), "float16")]
)
def test_gpus_with_tensor_cores_compute_float16_fast(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], fast: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_precision(SimpleNamespace(type="cuda")) == fast


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_reduced_net_and_what_it_is_given_get_the_precision(precision: str) -> None:
    seen = []
    net = nn.Sequential(nn.Conv3d(1, 1, 1), nn.BatchNorm3d(1))
    net.register_forward_pre_hook(lambda module, given: seen.append(given[0].dtype))
    reduced, kind = Reduced(net, precision), getattr(torch, precision)
    assert {p.dtype for p in reduced.parameters()} == {kind}
    assert reduced(torch.rand(2, 1, 2, 3, 4)).dtype == kind
    assert seen == [kind]


def test_a_reduced_net_keeps_integers_and_other_inputs() -> None:
    reduced = Reduced(nn.Identity(), "bfloat16")
    assert reduced(torch.arange(3)).dtype == torch.int64
    assert reduced({"a": 1}) == {"a": 1}


def test_tf32_is_a_mode_of_the_process() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        for allowed in (True, False):
            allow_tf32(allowed)
            assert torch.backends.cuda.matmul.allow_tf32 is allowed
            assert torch.backends.cudnn.allow_tf32 is allowed
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
