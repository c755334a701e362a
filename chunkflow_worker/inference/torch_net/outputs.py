"""`check_choice`: which of several outputs of a net is taken, and whether that is the right one."""

from __future__ import annotations

import logging

from chunkflow_worker.errors import ModelError
from chunkflow_worker.inference.engine import EngineSpec
from chunkflow_worker.inference.torch_net.load import Net
from chunkflow_worker.inference.torch_net.trial import Trial
from chunkflow_worker.report.once import warn_once

log = logging.getLogger(__name__)


def check_choice(trial: Trial, spec: EngineSpec) -> None:
    """Check the choice of the first of several outputs, if the net's file makes no other.

    Warns if others have the declared size too. Raises ModelError if the first does not have it.
    """
    shapes = trial.shapes
    if trial.net.post_process or len(shapes) < 2:
        return
    sizes = declared_sizes(trial, spec)

    def fits(shape: list[int]) -> bool:
        size = (1, *shape[2:]) if trial.net.flat and len(shape) == 4 else tuple(shape[2:])
        return len(shape) > 1 and size in sizes and shape[1] >= spec.least_channels

    first, *others = shapes
    fitting = [name for name, shape in shapes.items() if fits(shape)]
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if first in fitting and len(fitting) == 1:
        return
    choice = next((name for name in others if name in fitting), others[0])
    cure = _cure(trial.net, choice)
    if first in fitting:
        warn_once(
            log, f"the net returns {len(shapes)} outputs, and the first is taken ({listed}); {cure}"
        )
    elif fitting:
        raise ModelError(
            f"the net returns {len(shapes)} outputs, and the first does not have the declared size "
            f"({listed})\n    {cure}"
        )


def declared_sizes(trial: Trial, spec: EngineSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The sizes zyx that an output of the trial has if patches give what `spec` declares.

    Those of its input, if the engine cuts the middle out; and those of the middle.
    """
    whole = tuple(trial.noise.shape[2:])
    cut = spec.input_size - spec.output_size
    return whole, tuple(n - m for n, m in zip(whole, cut, strict=True))


def _cure(net: Net, name: str) -> str:
    """How to take the output of that index or key."""
    function = f"def post_process(output): return output[{name}]"
    if net.is_python:
        return f"to take another, write in {net.path}: {function}"
    return (
        "to take another, give a Python file with load_model(path), which loads this file by "
        f"torch.jit.load(path) or torch.export.load(path).module(), and {function}"
    )
