"""Nets that write one value everywhere, so that a volume tells which net wrote it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from chunkflow_worker.image.bbox import Vec3

_NET = """\
import torch


class Net(torch.nn.Module):
    def forward(self, x):
        return x * 0 + {value}


def load_model(weight_path):
    return Net()
"""
_DIGITS = 12  # of a net's digest, in records


def write_net(file: Path, value: float) -> None:
    """Write the file of a net, also in the place of another one."""
    file.write_text(_NET.format(value=value))


def digest(file: Path) -> str:
    """The digest of a net's file, as records hold it."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:_DIGITS]


def inference(file: Path, patch: Vec3) -> dict[str, Any]:
    """The step of a chain that runs this net."""
    return {
        "op": "inference",
        "framework": "pytorch",
        "convnet_model": str(file),
        "input_patch_size": list(patch),
        "output_patch_overlap": [0, 0, 0],
        "num_output_channels": 1,
    }
