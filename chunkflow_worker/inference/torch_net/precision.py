"""Which number types a device computes fast, and a net in one of them."""

from __future__ import annotations

from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.machine.cpu import cpu_flags

torch: Any = needs("torch", extra="torch")

REDUCED = ("bfloat16", "float16")
"""Precisions that the net's weights and inputs are converted to."""


def fast_precision(device: Any) -> str:
    """float16 on GPUs with tensor cores, bfloat16 on CPUs that multiply it, else float32.

    float16 is eight times finer than bfloat16, but its values end at 65504.
    """
    if device.type == "cuda":
        return "float16" if torch.cuda.get_device_capability(device) >= (7, 0) else "float32"
    return "bfloat16" if cpu_has("bfloat16") else "float32"


def cpu_has(precision: str) -> bool:
    """Whether the CPU has instructions that multiply matrices of bfloat16 or float16."""
    wanted = {"bfloat16": {"amx_bf16", "avx512_bf16"}, "float16": {"amx_fp16", "avx512_fp16"}}
    return bool(cpu_flags() & wanted[precision])


class Reduced(torch.nn.Module):  # type: ignore[misc]
    """A net with all its floating point numbers, and those given to it, in a reduced precision.

    Changes the net that it is made of.
    """

    def __init__(self, net: Any, precision: str):
        super().__init__()
        self._kind = getattr(torch, precision)
        self.net = net.to(self._kind)

    def forward(self, inputs: Any) -> Any:
        is_float = isinstance(inputs, torch.Tensor) and inputs.is_floating_point()
        return self.net(inputs.to(self._kind) if is_float else inputs)


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs may multiply float32 in tf32, in this process."""
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed
