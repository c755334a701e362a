"""`forward`: one batch through a net, with the model file's pre_process and post_process."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.torch_net.load import Net


def forward(net: Net, run: Any, batch: Any, precision: str) -> Any:
    """The output tensor, as the net or its `post_process` returns it.

    run: computes the output; `net.module`, or what it was rewritten to.
    batch: float32 nczyx, on the device of the net. If the net takes a larger batch only, zeros are
        added, and their outputs are dropped.
    precision: in which floating point inputs are given to the net.

    Raises ModelError unless the result is a tensor.
    """
    torch, device = needs("torch", extra="torch"), batch.device
    missing = 0 if net.batch is None else net.batch - len(batch)
    if missing:
        batch = torch.cat([batch, batch.new_zeros((missing, *batch.shape[1:]))])
    inputs = net.pre_process(batch.cpu().numpy()) if net.pre_process else batch
    if isinstance(inputs, np.ndarray):
        inputs = torch.from_numpy(inputs)
    if isinstance(inputs, torch.Tensor):
        reduced = inputs.is_floating_point() and precision in ("bfloat16", "float16")
        inputs = inputs.to(device, getattr(torch, precision) if reduced else inputs.dtype)
    output = run(inputs)
    output = net.post_process(_in_float32(output)) if net.post_process else _first(output)
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"the net returned a {type(output).__name__}, and a tensor nczyx is needed: "
            "see post_process"
        )
    return output[: len(output) - missing] if missing else output


def _first(output: Any) -> Any:
    """The first item of what the net returned; None if there is none."""
    if isinstance(output, dict):
        return next(iter(output.values()), None)
    return (output[0] if output else None) if isinstance(output, list | tuple) else output


def _in_float32(output: Any) -> Any:
    """What the net returned, with all floating point tensors in it as float32.

    `post_process` was written for float32, and the net may run in another precision.
    """
    torch = needs("torch", extra="torch")
    if isinstance(output, torch.Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        converted = copy(output)  # keeps the type: some dicts have attributes
        for key, value in output.items():
            converted[key] = _in_float32(value)
        return converted
    if isinstance(output, list | tuple):
        make = getattr(output, "_make", type(output))  # of a namedtuple
        return make(_in_float32(value) for value in output)
    return output
