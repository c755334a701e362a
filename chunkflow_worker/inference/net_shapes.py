"""What goes into a net and comes out of it, checked against the sizes of an `EngineSpec`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ModelError
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.report.once import warn_once

log = logging.getLogger(__name__)

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
        raise ModelError(
            f"{source} input {list(taken)} (nczyx); the options declare {shape}"
            + _lines(_input_cure(taken, declared))
        )


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
    source: str,
    shape: Sequence[int],
    spec: EngineSpec,
    patches: int | None = None,
    place: str = "post_process",
) -> None:
    """Raises ModelError unless an output of `shape`, nczyx, is what `spec` declares.

    Warns if channels are left out and the user did not say how many to keep.

    source: what returned it, for example "the net".
    patches: how many there must be; None if any number will do.
    place: where its user can change the output.
    """
    fits = (
        len(shape) == 5
        and tuple(shape[2:]) == tuple(spec.output_size)
        and shape[1] >= spec.least_channels
        and patches in (None, shape[0])
    )
    if not fits:
        least = spec.least_channels
        raise ModelError(
            f"{source} returned shape {list(shape)} (n, channels, z, y, x); the options declare "
            f"at least {least} channel{'s' if least > 1 else ''} of {list(spec.output_size)}"
            + _lines(_output_cure(tuple(shape), spec, patches, place))
        )
    if spec.channels is None and shape[1] > spec.most_channels:
        warn_once(
            log,
            f"the net returns {shape[1]} channels, and the first {spec.most_channels} are kept: "
            "--num-output-channels (-c) says how many",
        )


def checked_output(
    output: Any, spec: EngineSpec, source: str, place: str = "post_process"
) -> NDArray[np.float32]:
    """Output patches nczyx as an engine returns them: float32, finite or NaN, and the channels that
    `spec` keeps.

    Raises ModelError if the net returned something else than `spec` declares.
    """
    if isinstance(output, dict) or (isinstance(output, list | tuple) and len(output) > 1):
        raise ModelError(f"{source} returned {len(output)} values; one array nczyx is needed")
    try:
        # Tensors of torch may be on a GPU, or keep track of gradients.
        array = np.asarray(output.detach().cpu() if hasattr(output, "detach") else output)
    except Exception:
        array = np.empty((), object)
    if array.dtype.kind not in "fiub":
        numbers = "complex numbers" if array.dtype.kind == "c" else "no array"
        raise ModelError(f"{source} returned {numbers}; an array nczyx of floats is needed")
    check_output(source, array.shape, spec, place=place)
    kept = array[:, : spec.most_channels].astype(np.float32, copy=False)
    return np.clip(kept, -LARGEST, LARGEST)  # a copy: some nets use the array again


def _input_cure(taken: Sequence[Any], declared: tuple[int, ...]) -> str:
    """The options that declare what the net takes; empty if it takes no nczyx."""
    if len(taken) != 5:
        return ""
    wanted = [n if isinstance(n, int) else d for n, d in zip(taken[1:], declared, strict=True)]
    options = []
    if wanted[1:] != list(declared[1:]):
        options.append(f"--input-patch-size {_text(wanted[1:])}")
    if wanted[0] != declared[0]:
        options.append(f"--num-input-channels {wanted[0]}")
    return f"give {' and '.join(options)}"


def _output_cure(shape: tuple[int, ...], spec: EngineSpec, patches: int | None, place: str) -> str:
    """What makes an output of that shape the declared one; empty if that is not clear."""
    given, declared = tuple(spec.input_size), tuple(spec.output_size)
    sizes = (given, declared)
    if len(shape) == 5:
        if patches not in (None, shape[0]):
            return f"it must return one output for each of {patches} patches"
        if shape[2:] in sizes and shape[1] < spec.least_channels:
            return f"give --num-output-channels {shape[1]}"
        if shape[1:4] in sizes:
            return f"its channels are last: {_returning('output.movedim(-1, 1)', place)}"
        rest = [n - m for n, m in zip(given, shape[2:], strict=True)]
        if min(rest) < 0:
            return f"it is larger than the input patch: cut or downsample it in {place}"
        if any(n % 2 for n in rest):
            return (
                "it can't lie in the middle of the input patch: "
                f"make it smaller by an even number on each axis, in {place}"
            )
        if any(rest):
            return f"give --output-patch-size {_text(shape[2:])} (-z), if it lies in the middle"
    if len(shape) == 6 and shape[3:] in sizes:
        return f"it holds {shape[1]} outputs: {_returning('output[:, 0]', place)}"
    if len(shape) == 4 and shape[1:] in sizes:
        # Nets keep the batch, but argmax(1) and squeeze(1) drop the channels.
        axis = 1 if shape[0] == (patches or 1) else 0
        missing, cure = ("channels", "output[:, None]") if axis else ("batch", "output[None]")
        return f"the axis of {missing} is missing: {_returning(cure, place)}"
    if len(shape) == 3 and shape in sizes:
        return f"two axes are missing: {_returning('output[None, None]', place)}"
    return ""


def _returning(expression: str, place: str) -> str:
    """How to return something else than the output: a tensor in `post_process`, else an array."""
    if place == "post_process":
        return f"write in its file: def post_process(output): return {expression}"
    return f"let {place} return {expression.replace('output.movedim(', 'np.moveaxis(output, ')}"


def _lines(cure: str) -> str:
    return f"\n    {cure}" if cure else ""


def _text(size: Sequence[int]) -> str:
    return " ".join(map(str, size))
