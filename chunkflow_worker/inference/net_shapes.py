"""What goes into a net and comes out of it, checked against the sizes of an `EngineSpec`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import EngineSpec

LARGEST = float(np.finfo(np.float32).max)
"""Replaces infinite outputs, since the mean of two infinities would be computed as NaN."""


def check_input(source: str, taken: Sequence[Any], spec: EngineSpec) -> None:
    """Raises ModelError unless the net takes the patches of `spec`.

    source: how the message begins, for example "net.onnx takes".
    taken: the net's input shape, nczyx. Entries that are not integers stand for any size.
    """
    declared = (spec.input_channels, *spec.input_size)
    differs = (isinstance(n, int) and n != d for n, d in zip(taken[1:], declared, strict=True))
    if len(taken) != 5 or any(differs):
        shape = f"[n, {', '.join(map(str, declared))}]"
        raise ModelError(f"{source} input {list(taken)} (nczyx); the options declare {shape}")


def middle(output: Any, input_size: Sequence[int], output_size: Vec3) -> Any:
    """The middle, of `output_size`, of an output nczyx that is as large as the input.

    Nets with padding return such outputs. An output of another size is returned unchanged.
    """
    if tuple(output.shape[-3:]) != tuple(input_size):
        return output
    z, y, x = (
        slice((n - m) // 2, (n + m) // 2) for n, m in zip(input_size, output_size, strict=True)
    )
    return output[..., z, y, x]


def check_output(
    source: str, shape: Sequence[int], spec: EngineSpec, patches: int | None = None
) -> None:
    """Raises ModelError unless an output of `shape`, nczyx, is what `spec` declares.

    source: what returned it, for example "the net".
    patches: how many there must be; None if any number will do.
    """
    fits = (
        len(shape) == 5
        and tuple(shape[2:]) == tuple(spec.output_size)
        and shape[1] >= spec.channels
        and patches in (None, shape[0])
    )
    if not fits:
        raise ModelError(
            f"{source} returned shape {list(shape)} (n, channels, z, y, x); the options declare "
            f"at least {spec.channels} channels of {list(spec.output_size)}"
        )


def checked_output(output: Any, spec: EngineSpec, source: str) -> NDArray[np.float32]:
    """Output patches nczyx as an engine returns them: float32, finite or NaN, `spec.channels`.

    Raises ModelError if the net returned something else than `spec` declares.
    """
    array = np.asarray(output)
    check_output(source, array.shape, spec)
    return np.clip(array[:, : spec.channels].astype(np.float32, copy=False), -LARGEST, LARGEST)
