"""`forward`: one batch through a net, with the model file's pre_process and post_process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any

import numpy as np

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.torch_net.load import Net

_DEPTH = 2  # of values in values that are looked through for a tensor


def forward(
    net: Net,
    run: Any,
    batch: Any,
    look: Callable[[Any], None] = lambda output: None,
) -> Any:
    """The output tensor, as the net or its `post_process` returns it.

    run: computes the output; `net.module`, or what it was rewritten to.
    batch: float32 nczyx, on the device of the net. If the net takes a larger batch only, zeros are
        added, and their outputs are dropped. A flat net gets it without its z axis, of one section,
        and its output gets one.
    look: called with the output of the net, before one of several is taken.

    Raises ModelError unless the result is a tensor of real numbers.
    """
    torch = needs("torch", extra="torch")
    whole = run(given(net, batch))
    look(whole)
    output = net.post_process(_in_float32(whole)) if net.post_process else _first(whole)
    if isinstance(output, np.ndarray):
        output = torch.from_numpy(output)
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"the net returned {_word(output)}, and a tensor (n, channels, z, y, x) is needed"
            f"\n    {_way(net, whole)}"
        )
    if output.is_complex():
        raise ModelError(
            "the net returned complex numbers\n    take their size in the model file: "
            "def post_process(output): return output.abs()"
        )
    if net.flat and output.ndim == 4:
        output = output.unsqueeze(2)
    missing = _missing(net, batch)
    return output[: len(output) - missing] if missing else output


def given(net: Net, batch: Any) -> Any:
    """What the net gets for a batch: mostly a tensor of float32."""
    torch, device = needs("torch", extra="torch"), batch.device
    if missing := _missing(net, batch):
        batch = torch.cat([batch, batch.new_zeros((missing, *batch.shape[1:]))])
    inputs = net.pre_process(batch.cpu().numpy()) if net.pre_process else batch
    if isinstance(inputs, np.ndarray):
        inputs = torch.from_numpy(inputs)
    if isinstance(inputs, torch.Tensor):
        kind = torch.float32 if inputs.dtype == torch.float64 else inputs.dtype
        inputs = inputs.to(device, kind)
        if net.flat and inputs.ndim == 5:
            inputs = inputs.squeeze(2)
    return inputs


def _missing(net: Net, batch: Any) -> int:
    """How many patches the batch lacks for the batch size of the net."""
    return 0 if net.batch is None else net.batch - len(batch)


def named_outputs(output: Any) -> dict[str, Any]:
    """What a net returned, by the index or key that takes it; empty for a single value."""
    if isinstance(output, dict):
        return {repr(key): value for key, value in output.items()}
    if isinstance(output, list | tuple):
        return {str(index): value for index, value in enumerate(output)}
    return {}


def _way(net: Net, output: Any) -> str:
    if net.post_process:
        return "let post_process of the model file return it"
    return f"write in the model file: def post_process(output){_tensor_in(output)}"


def _tensor_in(output: Any) -> str:
    """What `post_process` returns to take the first tensor of several outputs."""
    place = next(_places(output, "output", _DEPTH), None)
    return f": return {place}" if place else ""


def _places(output: Any, place: str, depth: int) -> Iterator[str]:
    """Expressions for the tensors in what a net returned, those in its other values last."""
    torch = needs("torch", extra="torch")
    values = {f"{place}[{name}]": value for name, value in named_outputs(output).items()}
    if not _holds_items(output):
        values = {f"{place}.{name}": value for name, value in _attributes(output).items()}
    yield from (at for at, value in values.items() if isinstance(value, torch.Tensor))
    for at, value in values.items() if depth else ():
        if not isinstance(value, torch.Tensor):
            yield from _places(value, at, depth - 1)


def _attributes(output: Any) -> dict[str, Any]:
    return getattr(output, "__dict__", {})


def _first(output: Any) -> Any:
    """The first item of what the net returned; None if there is none."""
    return next(iter(named_outputs(output).values()), None) if _holds_items(output) else output


def _holds_items(output: Any) -> bool:
    return isinstance(output, dict | list | tuple)


def _word(output: Any) -> str:
    """What a value is, for a message."""
    if output is None:
        return "nothing"
    if isinstance(output, str):
        return "text"
    if isinstance(output, int | float):
        return "a number"
    if _holds_items(output):
        return "several values in one"
    return "something else"


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
