"""The ONNX engine: a net in an .onnx file, run by OpenVINO or onnxruntime."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError, ModelError, OutOfMemory
from chunkflow_worker.inference.engine import Answers, EngineClass, EngineSpec
from chunkflow_worker.inference.host_arrays import unit_range
from chunkflow_worker.inference.host_engine import HostEngine, in_batches
from chunkflow_worker.inference.net_shapes import check_input, checked_output, middle
from chunkflow_worker.inference.openvino import Compiled, is_wanted, read_model
from chunkflow_worker.inference.same_output import Unsuited, compare, refuse
from chunkflow_worker.machine.cpu import thread_count
from chunkflow_worker.report.once import warn_once

log = logging.getLogger(__name__)

FRAMEWORKS = {"onnx": "an .onnx file, with OpenVINO or onnxruntime"}
READS = {"endings": (".onnx", ".ort")}

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxEngine(HostEngine):
    """Runs on the first GPU if onnxruntime-gpu is installed, else on the CPU.

    On a CPU, OpenVINO runs the net if it is installed and gives what onnxruntime gives. The net has
    one input, nczyx, or ncyx for patches of one section; its first output is returned. Precision
    and a fixed batch size are those of the file; OpenVINO computes float16 as float32.
    """

    def __init__(self, spec: EngineSpec):
        super().__init__(spec.most_channels)
        self._spec, path = spec, spec.model_path
        self._session: Any = _session(path)
        self._compiled: Compiled | None = None
        on_gpu = self._session.get_providers()[0] == "CUDAExecutionProvider"
        if on_gpu:
            self.device = "CUDA by onnxruntime"
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            given = ", ".join(f"{i.name}: {i.type}" for i in inputs)
            raise ModelError(
                f"{path} takes ({given}); a net with one floating point input nczyx is needed"
            )
        shape = inputs[0].shape
        self._flat = len(shape) == 4
        if self._flat and spec.input_size.z > 1:
            _, y, x = spec.input_size
            more = isinstance(shape[1], int) and shape[1] != spec.input_channels
            raise ModelError(
                f"{path} is 2D: it takes input {shape} (n, channels, y, x)\n    give "
                f"--input-patch-size 1 {y} {x}"
                + (f" and --num-input-channels {shape[1]}" if more else "")
                + ", and it gets one section after the other"
            )
        check_input(f"{path} takes", _with_z(shape) if self._flat else shape, spec)
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._input, self._type = inputs[0].name, _TYPES[inputs[0].type]
        self._batch = shape[0] if isinstance(shape[0], int) else None
        self.precision = np.dtype(self._type).name
        if not on_gpu and is_wanted(spec.acceleration):
            self._use_openvino()

    def _use_openvino(self) -> None:
        """Let OpenVINO run the net, one batch of the file's size at a time, if its output is that
        of onnxruntime."""
        spec, first = self._spec, self._outputs[:1]
        shape = (self._batch or 1, *_shape(spec))
        noise = np.random.default_rng(0).random(shape, np.float32).astype(self._type)
        try:
            if self._type is np.float64:
                raise Unsuited("it computes in float64")
            compiled = Compiled(read_model(spec.model_path), self._taken(noise).shape, "float32")
            (expected,) = self._computed(noise, first)
            self._compiled = compiled
            (found,) = self._computed(noise, first)
            compare(found, expected, self.precision, "OpenVINO")
        except Unsuited as problem:
            self._compiled = None
            asked_for = spec.acceleration == "openvino"
            refuse(problem, "OpenVINO", "onnxruntime", asked_for=asked_for)
            return
        self._session = None  # which frees the memory of onnxruntime
        self._batch, self.precision = shape[0], compiled.precision
        self.device += " by OpenVINO"

    def answers(self, spec: EngineSpec) -> Answers:
        answers = super().answers(spec)
        if len(self._outputs) > 1:
            shapes = self._shapes(np.zeros((self._batch or 1, *_shape(spec)), self._type))
            alike = [shape[2:] for shape in shapes.values()].count(shapes[self._outputs[0]][2:])
            if alike > 1:
                warn_once(
                    log,
                    f"{spec.model_path} has {len(shapes)} outputs ({_listed(shapes)}), and the "
                    f"first is taken; {self._cure()}",
                )
        return answers

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        return self._batch or 1

    def predict(self, patches: Sequence[Any]) -> Sequence[NDArray[np.float32]]:
        batch = np.stack([unit_range(patch) for patch in patches]).astype(self._type, copy=False)
        return in_batches(batch, self._batch or len(batch), self._run)

    def _run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        (output,) = self._computed(batch, self._outputs[:1])
        kept = middle(output, batch.shape[2:], self._spec.output_size)
        try:
            return checked_output(kept, self._spec, "the net", "the net")
        except ModelError as error:
            if len(self._outputs) == 1:
                raise
            shapes = _listed(self._shapes(batch))
            raise ModelError(
                f"{str(error).partition(chr(10))[0]}\n    this is the first of its outputs "
                f"({shapes}); {self._cure()}"
            ) from None

    def _shapes(self, batch: NDArray[Any]) -> dict[str, list[int]]:
        outputs = self._computed(batch, self._outputs)
        return {name: list(a.shape) for name, a in zip(self._outputs, outputs, strict=True)}

    def _cure(self) -> str:
        path, other = self._spec.model_path, self._outputs[1]
        return (
            "to take another, write a file with it alone: "
            f"onnx.utils.extract_model({path!r}, 'one.onnx', [{self._input!r}], [{other!r}])"
        )

    def _computed(self, batch: NDArray[Any], names: list[str]) -> list[NDArray[Any]]:
        """The outputs of these names, nczyx."""
        given = self._taken(batch)
        try:
            if self._compiled:
                found = dict(zip(self._outputs, self._compiled(given), strict=True))
                outputs = [found[name] for name in names]
            else:
                outputs = self._session.run(names, {self._input: given})
        except OutOfMemory:
            raise
        except Exception as error:
            reason = str(error).partition("\n")[0]
            if "allocate memory" in reason:
                raise OutOfMemory(reason) from error
            raise ModelError(
                f"the net fails on input {list(batch.shape)} (nczyx): {reason}"
            ) from error
        return [a[:, :, np.newaxis] if self._flat and a.ndim == 4 else a for a in outputs]

    def _taken(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The batch, nczyx, as the net takes it."""
        return batch.squeeze(2) if self._flat else batch


def _shape(spec: EngineSpec) -> tuple[int, ...]:
    return (spec.input_channels, *spec.input_size)


def _with_z(shape: list[Any]) -> list[Any]:
    """The shape nczyx of sections ncyx."""
    return [*shape[:2], 1, *shape[2:]]


def _listed(shapes: dict[str, list[int]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _session(path: str) -> Any:
    """The net of an .onnx file, loaded. Raises ConfigError and ModelError."""
    runtime = needs("onnxruntime", extra="onnx")
    if not Path(path).is_file():
        raise ConfigError.one(
            "net", "convnet_model", f"{path} is not a file", "give the path of an .onnx file"
        )
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    usable = [name for name in wanted if name in runtime.get_available_providers()]
    options = runtime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    try:
        return runtime.InferenceSession(path, options, providers=usable)
    except Exception as error:
        reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).partition("\n")[0])
        known = "NOT_IMPLEMENTED" in str(error)
        cure = "export the net in float32" if known else "export it, or copy or download it, again"
        if "External data path" in reason:
            cure = "keep the files of its data beside it: a net may not name others"
        raise ModelError(f"loading {path} fails: {reason}\n    {cure}") from error


ENGINE: EngineClass = OnnxEngine
