"""The PyTorch engine."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ModelError, OutOfMemory
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.inference.arrays import Arrays
from chunkflow_worker.inference.engine import LARGEST, middle
from chunkflow_worker.inference.torch_net.arrays import TorchArrays, memory_guard
from chunkflow_worker.inference.torch_net.load import load_net
from chunkflow_worker.inference.torch_net.sections import in_sections
from chunkflow_worker.inference.torch_net.speed import (
    Acceleration,
    GraphReplay,
    Precision,
    cpu_has,
    fast_precision,
    in_precision,
    streamlined,
    sums_over_space,
    with_layout,
)
from chunkflow_worker.inference.torch_net.width import widened
from chunkflow_worker.machine.cpu import cpu_name

log = logging.getLogger(__name__)

# How far the rewritten net may be from the one given, in float32, relative to the output's range.
_SAME = 1e-4


class TorchEngine:
    """A ConvNet on the first visible GPU, or on the CPU. See `load_net` for what it loads.

    Of a net that returns a tuple, list or dict the first item is taken, unless the model file has a ``post_process``. The
    first `channels` output channels are kept.

    precision: auto takes what `fast_precision` says, or float32 when the net can't run in that or gives what is not finite, be
        it later on.
        The weighted mean over patches is float32 in any case.
    acceleration: compile fuses the net's operations by torch.compile, which takes tens of seconds at the first patch; graph
        records the net as one CUDA graph, so that many small operations start as one.
    """

    def __init__(
        self,
        model_path: str,
        weight_path: str | None,
        channels: int,
        input_size: Vec3,
        output_size: Vec3,
        input_channels: int = 1,
        precision: Precision = "auto",
        acceleration: Acceleration = "none",
        trust_weights: bool = False,
    ):
        self._torch = torch = needs("torch", extra="torch")
        self._target = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.device = device_name()
        self.channels = channels
        self._output_size = output_size
        self.arrays: Arrays = TorchArrays(self._target)
        self._net = load_net(model_path, weight_path, trust_weights)
        self._acceleration = acceleration
        self._float32, run, self.precision = self._prepare(
            (1, input_channels, *input_size), precision
        )
        self._run = self._accelerated(run)
        # Told on the device, since asking after each batch would keep it waiting.
        self._finite: Any = torch.ones((), dtype=torch.bool, device=self._target)
        self._may_overflow = precision == "auto" and self.precision != "float32"

    def _accelerated(self, run: Any) -> Any:
        if self._acceleration == "compile":
            return self._torch.compile(run, dynamic=False)
        return (
            GraphReplay(run)
            if self._acceleration == "graph" and self._target.type == "cuda"
            else run
        )

    def overflowed(self) -> bool:
        if not self._may_overflow or bool(self._finite):
            return False
        log.warning(
            "the net gives values that are not finite in %s: from here on it runs in float32",
            self.precision,
        )
        self._run, self.precision, self._may_overflow = (
            self._accelerated(self._float32),
            "float32",
            False,
        )
        return True

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        """1 on CPUs, which a single patch keeps busy; on GPUs what fits four fifths of the free memory, 8 at most."""
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
        torch, limit = self._torch, self._net.batch
        with memory_guard(torch), torch.inference_mode():
            batch = self.arrays.unit_range(torch.stack(list(patches))).contiguous(
                memory_format=self._layout
            )
            if limit is None or len(batch) == limit:
                outputs = self._forward(self._run, batch, self.precision)
            else:
                outputs = torch.cat(
                    [
                        self._forward(self._run, part, self.precision).clone()
                        for part in batch.split(limit)
                    ]
                )
        outputs = middle(outputs, batch.shape[2:], self._output_size)
        wanted = (len(patches), *self._output_size)
        if (
            outputs.ndim != 5
            or (outputs.shape[0], *outputs.shape[2:]) != wanted
            or outputs.shape[1] < self.channels
        ):
            raise ModelError(
                f"the net returned shape {list(outputs.shape)} (n, channels, z, y, x) for input {list(batch.shape)}; the options "
                f"declare at least {self.channels} channels of {list(self._output_size)}"
            )
        kept = outputs[:, : self.channels].to(self._target, torch.float32).contiguous()
        if self._may_overflow:
            self._finite &= kept.isfinite().all()
        result: Sequence[Any] = kept.clamp(-LARGEST, LARGEST).unbind()
        return result

    def _forward(self, run: Any, batch: Any, precision: str) -> Any:
        """Output of the net for a float32 batch nczyx of its device, as the net or `post_process` gives it."""
        torch, missing = self._torch, 0
        if self._net.batch is not None:
            missing = self._net.batch - len(batch)
            batch = (
                torch.cat([batch, batch.new_zeros((missing, *batch.shape[1:]))])
                if missing
                else batch
            )
        inputs = self._net.pre_process(batch.cpu().numpy()) if self._net.pre_process else batch
        if isinstance(inputs, np.ndarray):
            inputs = torch.from_numpy(inputs)
        if isinstance(inputs, torch.Tensor):
            floating = inputs.is_floating_point() and precision in ("bfloat16", "float16")
            inputs = inputs.to(
                self._target, getattr(torch, precision) if floating else inputs.dtype
            )
        output = run(inputs)
        output = (
            self._net.post_process(_cast(torch, output))
            if self._net.post_process
            else _first(output)
        )
        if not isinstance(output, torch.Tensor):
            raise ModelError(
                f"the net returned a {type(output).__name__}, and a tensor nczyx is needed: see post_process"
            )
        return output[: len(output) - missing] if missing else output

    def _prepare(self, shape: tuple[int, ...], asked: Precision) -> tuple[Any, Any, str]:
        """The net in float32 and as it will run, on its device, and its precision; tried on a patch of noise."""
        torch, net = self._torch, self._net
        precision = fast_precision(self._target) if asked == "auto" else asked
        if precision == "tf32" and self._target.type == "cpu":
            precision = "float32"
        if self._target.type == "cuda":
            torch.backends.cudnn.benchmark = True
        _allow_tf32(torch, False)
        with memory_guard(torch), torch.inference_mode():
            self._layout = torch.contiguous_format
            plain = net.module.to(self._target)
            trial, expected = self._expected(plain, shape)
            if not net.editable:
                run = wide = plain
            else:
                run, wide = self._rewritten(plain, precision, trial, expected)
            if precision in ("bfloat16", "float16"):
                reduced = self._reduced(wide, precision, trial, expected, asked)
                if reduced is not None:
                    return run, reduced, precision
                return self._prepare(shape, "float32")
            _allow_tf32(torch, precision == "tf32")
        return run, run, precision

    def _rewritten(self, plain: Any, precision: str, trial: Any, expected: Any) -> tuple[Any, Any]:
        """The net as it is fastest in float32, and what it is to be reduced from; each as it is where it can't be changed.

        Channels lie last wherever matrix instructions are used, and on CPUs.
        """
        torch = self._torch
        on_cpu = self._target.type == "cpu"
        run = self._changed(plain, streamlined, trial, expected)
        if precision == "float32" and (not on_cpu or sums_over_space(run)):
            return run, run
        last = trial.contiguous(memory_format=torch.channels_last_3d)
        laid_out = self._changed(
            run,
            lambda net: with_layout(in_sections(deepcopy(net)), torch.channels_last_3d),
            last,
            expected,
        )
        if laid_out is run:
            return run, run
        self._layout = torch.channels_last_3d
        if precision not in ("bfloat16", "float16") or not isinstance(run, torch.fx.GraphModule):
            return laid_out, laid_out

        def widen(net: Any) -> Any:
            return with_layout(
                in_sections(widened(net, trial, 16 if on_cpu else 8)), torch.channels_last_3d
            )

        wide = self._changed(run, widen, last, expected)
        return laid_out, laid_out if wide is run else wide

    def _expected(self, run: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """A batch of noise and the output for it: of small patches, since CPUs are slow, unless the net does not take them; of
        two, since some rewriting shows in batches alone.

        A net that does not take two, or looks from one at the other, is given one at a time from here on.
        """
        torch = self._torch
        generator = torch.Generator().manual_seed(0)
        small = (shape[1], shape[2], min(shape[3], 64), min(shape[4], 64))
        problem: Exception | None = None
        for count, *size in ((2, *small), (1, *small), (2, *shape[1:]), shape):
            trial = torch.rand((count, *size), generator=generator).to(self._target)
            try:
                expected = self._answer(run, trial, "float32")
                if count == 1:
                    self._net = replace(self._net, batch=self._net.batch or 1)
                    return trial, expected
                if _distance(self._answer(run, trial[:1], "float32"), expected[:1]) <= _SAME:
                    return trial, expected
            except ModelError:
                raise
            except Exception as error:
                problem = error
        if isinstance(problem, OutOfMemory):
            raise problem
        reason = f"{type(problem).__name__}: {str(problem).partition(chr(10))[0]}"
        raise ModelError(
            f"the net fails on a patch of {list(shape)} (nczyx): {reason}"
        ) from problem

    def _answer(self, run: Any, trial: Any, precision: str) -> Any:
        """Output for a copy of the trial, since a net or its `pre_process` may change its input; where it can be, by a copy of
        the net, which may keep what it made for its first input.
        """
        with memory_guard(self._torch):
            return self._forward(
                _copied(run) if self._net.editable else run, trial.clone(), precision
            ).to(self._target)

    def _changed(self, net: Any, change: Callable[[Any], Any], trial: Any, expected: Any) -> Any:
        """The changed net, when it gives what the plain one gives; else the net."""
        try:
            changed = change(net)
            found = self._answer(changed, trial, "float32")
        except OutOfMemory:
            raise
        except Exception as error:
            log.debug("the changed net fails: %s", error)
            return net
        if found.shape == expected.shape and _distance(found, expected) <= _SAME:
            return changed
        log.info("the net runs as it is: rewriting it for speed would change its answer")
        return net

    def _reduced(
        self, run: Any, precision: str, trial: Any, expected: Any, asked: Precision
    ) -> Any | None:
        """The net in a reduced precision; None when `auto` can't have it. Raises ModelError when it was asked for."""
        if self._target.type == "cpu" and not cpu_has(precision):
            log.warning(
                "this CPU has no instructions for %s, which is far slower here than float32",
                precision,
            )
        try:
            with warnings.catch_warnings():
                # What torch says of its own modules when the copy of an exported program is made.
                warnings.filterwarnings(
                    "ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning
                )
                reduced = in_precision(deepcopy(run), precision)
            found = self._answer(reduced, trial, precision).float()
            problem = (
                ""
                if bool(self._torch.isfinite(found).all())
                else "gives values that are not finite"
            )
        except OutOfMemory:
            raise
        except Exception as error:
            problem = f"does not run: {str(error).partition(chr(10))[0]}"
        if not problem:
            log.info(
                "net in %s: on noise, at most %.2g from float32",
                precision,
                float((found - expected.float()).abs().max()),
            )
            return reduced
        if asked == "auto":
            log.warning("the net %s in %s, so it runs in float32", problem, precision)
            return None
        raise ModelError(f"the net {problem} in {precision}: take precision float32")


def device_name() -> str:
    """Name of the GPU that is used, else of the CPU."""
    torch = needs("torch", extra="torch")
    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else cpu_name()


def _allow_tf32(torch: Any, allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cuda.matmul.allow_tf32 = allowed


def _distance(found: Any, expected: Any) -> float:
    """Largest difference, relative to the largest expected value; not a number where something is not finite."""
    return float(
        (found.float() - expected.float()).abs().max()
        / expected.float().abs().max().clamp(min=1e-6)
    )


def _copied(net: Any) -> Any:
    """A copy of the net; the net itself where torch can't copy it, as before the first call of some layers."""
    try:
        return deepcopy(net)
    except (RuntimeError, ValueError, TypeError):
        return net


def _first(output: Any) -> Any:
    if isinstance(output, dict):
        return next(iter(output.values()), None)
    return (output[0] if output else None) if isinstance(output, list | tuple) else output


def _cast(torch: Any, output: Any) -> Any:
    """Tensors in float32 wherever they are in what a net returned, so that `post_process` meets what it was written for."""
    if isinstance(output, torch.Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        cast = copy(output)  # of the same type: some dicts have attributes
        for key, value in output.items():
            cast[key] = _cast(torch, value)
        return cast
    if isinstance(output, list | tuple):
        return getattr(output, "_make", type(output))(_cast(torch, value) for value in output)
    return output
