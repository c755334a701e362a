"""`Compiled`: a net compiled by OpenVINO, which runs it on the CPU."""

from __future__ import annotations

import logging
import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import install_line, needs
from chunkflow_worker.errors import OutOfMemory
from chunkflow_worker.inference.engine import Acceleration
from chunkflow_worker.inference.same_output import Unsuited, reason
from chunkflow_worker.machine.cpu import thread_count

log = logging.getLogger(__name__)

_TYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def is_wanted(acceleration: Acceleration) -> bool:
    """Whether OpenVINO is to run nets on CPUs. Raises ConfigError if it must, and is missing."""
    if acceleration == "openvino":
        openvino()
        return True
    if acceleration == "auto" and not find_spec("openvino"):
        log.info("OpenVINO would run nets faster on this CPU: %s", install_line("openvino"))
        return False
    return acceleration == "auto"


@cache
def openvino() -> Any:
    """The library. Raises ConfigError, with the extra to install, if it is missing.

    OpenVINO tells its makers over the internet that it is imported and what it converts, by another
    package. That package is hidden from it: a worker tells nobody what it runs.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return needs("openvino", extra="openvino")


@cache
def _core() -> Any:
    return openvino().Core()


class Compiled:
    """A net for inputs of one shape. One thread at a time may call it.

    model: openvino.Model with one input; it is given the shape.
    precision: of the arithmetic; inputs are float32.

    Raises Unsuited.
    """

    def __init__(self, model: Any, shape: tuple[int, ...], precision: str):
        self.shape, self.precision = shape, precision
        options = {
            "INFERENCE_PRECISION_HINT": _TYPES[precision],
            "INFERENCE_NUM_THREADS": thread_count(),
            "NUM_STREAMS": 1,
            # Several workers on a machine would all be pinned to its first processors.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model.reshape({model.inputs[0]: list(shape)})
            compiled = _core().compile_model(model, "CPU", options)
            used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise Unsuited(f"it can't be compiled: {reason(error)}") from error
        if used != _TYPES[precision]:
            raise Unsuited(f"this CPU has no instructions for {precision}")

    def __call__(self, array: NDArray[np.float32]) -> list[NDArray[Any]]:
        """All outputs, which the next call overwrites. Raises OutOfMemory."""
        try:
            self._request.infer([array], share_inputs=True)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "alloc" in str(error):
                raise OutOfMemory(f"OpenVINO: {reason(error)}") from error
            raise
        return [tensor.data for tensor in self._request.output_tensors]


def read_model(path: str) -> Any:
    """openvino.Model of an .onnx file. Raises Unsuited."""
    try:
        return _core().read_model(path)
    except RuntimeError as error:
        raise Unsuited(f"it can't be read: {reason(error)}") from error
