"""The PyTorch engine: a net from a Python file, TorchScript or torch.export."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.inference.arrays import Arrays
from chunkflow_worker.inference.engine import Answers, EngineClass, EngineSpec
from chunkflow_worker.inference.net_shapes import LARGEST, check_output, middle
from chunkflow_worker.inference.torch_net.acceleration import accelerated
from chunkflow_worker.inference.torch_net.arrays import TorchArrays, memory_guard
from chunkflow_worker.inference.torch_net.forward import forward
from chunkflow_worker.inference.torch_net.load import load_net
from chunkflow_worker.inference.torch_net.outputs import check_choice, declared_sizes
from chunkflow_worker.inference.torch_net.prepare import prepare
from chunkflow_worker.machine.cpu import cpu_name, thread_count

FRAMEWORKS = {"pytorch": "a net in a Python, TorchScript or torch.export file"}
READS = {"defines": ("load_model", "InstantiatedModel"), "starts": (b"PK\x03\x04", b"\x80")}

log = logging.getLogger(__name__)


class TorchEngine:
    """A net on the first visible GPU, or on the CPU. See `load_net` for the files that it loads.

    If the net returns a tuple, list or dict, the first item is taken, unless the model file has a
    ``post_process``; see `check_choice`. The weighted mean over patches is always float32.

    precision: see `prepare`. With auto, the engine switches to float32 when outputs are not finite.
    acceleration: see `prepare` and `accelerated`.
    """

    def __init__(self, spec: EngineSpec):
        self._torch = torch = needs("torch", extra="torch")
        self._spec = spec
        self._target = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self._target.type == "cpu":  # a container may have fewer processors than the machine
            torch.set_num_threads(min(torch.get_num_threads(), thread_count()))
        self.device = self.device_name()
        self.channels = spec.most_channels
        self.arrays: Arrays = TorchArrays(self._target)
        loaded = load_net(spec.model_path, spec.weight_path, spec.trust_weights, spec.weight_key)
        shape = (1, spec.input_channels, *spec.input_size)
        prepared = prepare(loaded, shape, spec.precision, self._target, spec.acceleration)
        self._net, self._float32, self._trial = prepared.net, prepared.float32, prepared.trial
        self._layout, self.precision = prepared.layout, prepared.precision
        self._run = accelerated(prepared.run, spec.acceleration, self._target)
        if prepared.library:
            self.device += f" by {prepared.library}"
        # Kept on the device: reading it after each batch would make the device wait.
        self._finite: Any = torch.ones((), dtype=torch.bool, device=self._target)
        self._may_overflow = spec.precision == "auto" and self.precision != "float32"
        self._check_output()

    @classmethod
    def device_name(cls) -> str:
        torch = needs("torch", extra="torch")
        return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else cpu_name()

    def answers(self, spec: EngineSpec) -> Answers:
        """Runs the net, as it was loaded, on the small patches that it was tried on."""
        return self._trial.answers()

    def overflowed(self) -> bool:
        if not self._may_overflow or bool(self._finite):
            return False
        log.warning(
            "the net gives values that are not finite in %s: from here on it runs in float32",
            self.precision,
        )
        self._run = accelerated(self._float32, self._spec.acceleration, self._target)
        self.device, self.precision = self.device_name(), "float32"
        self._may_overflow = False
        return True

    def memory_peak(self) -> int:
        if self._target.type == "cpu":
            return 0
        peak = int(self._torch.cuda.max_memory_allocated(self._target))
        self._torch.cuda.reset_peak_memory_stats(self._target)
        return peak

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        """The net's own batch size if it has one; else 1 on CPUs, which one patch keeps busy.

        On GPUs as many patches as fit in four fifths of the free memory, but at most 8.
        """
        torch = self._torch
        if self._net.batch is not None:
            return self._net.batch
        if self._target.type == "cpu":
            return 1
        patch = torch.zeros(input_shape, dtype=torch.float32, device=self._target)
        torch.cuda.reset_peak_memory_stats(self._target)
        before = torch.cuda.memory_allocated(self._target)
        self.predict([patch])
        needed = torch.cuda.max_memory_allocated(self._target) - before
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info(self._target)
        return max(1, min(8, int(0.8 * free / max(1, needed))))

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        torch = self._torch
        with memory_guard(torch), torch.inference_mode():
            batch = self.arrays.unit_range(torch.stack(list(patches)))
            batch = batch.contiguous(memory_format=self._layout)
            outputs = self._outputs(batch)
        outputs = middle(outputs, batch.shape[2:], self._spec.output_size)
        source = f"for input {list(batch.shape)} the net"
        check_output(source, tuple(outputs.shape), self._spec, len(patches))
        kept = outputs[:, : self.channels].to(self._target, torch.float32).contiguous()
        if self._may_overflow:
            self._finite &= kept.isfinite().all()
        result: Sequence[Any] = kept.clamp(-LARGEST, LARGEST).unbind()
        return result

    def _check_output(self) -> None:
        """Raises ModelError unless the output of the trial, and so of patches, is as declared."""
        spec, trial = self._spec, self._trial
        check_choice(trial, spec)
        shape = tuple(trial.expected.shape)
        if shape[2:] in declared_sizes(trial, spec):
            check_output("the net", (*shape[:2], *spec.output_size), spec, len(trial.noise))
        else:  # a whole patch shows what it is
            patch = self._torch.zeros((spec.input_channels, *spec.input_size))
            self.predict([patch.to(self._target)])

    def _outputs(self, batch: Any) -> Any:
        """Outputs of the net for a batch nczyx, in parts of the net's own batch size."""
        limit = self._net.batch
        if limit is None or len(batch) == limit:
            return forward(self._net, self._run, batch)
        # Cloned, because a net may use the memory of its output again for the next part.
        parts = (forward(self._net, self._run, part).clone() for part in batch.split(limit))
        return self._torch.cat(list(parts))


ENGINE: EngineClass = TorchEngine
