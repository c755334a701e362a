"""`Trial`: a batch of noise, to check that a changed net gives the same output."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ModelError, OutOfMemory
from chunkflow_worker.inference.torch_net.arrays import memory_guard
from chunkflow_worker.inference.torch_net.forward import forward
from chunkflow_worker.inference.torch_net.load import Net

log = logging.getLogger(__name__)

# Largest difference between the outputs of a changed net and the given net, in float32, relative to
# the largest value of the output.
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Trial:
    """A net on its device, and its output for noise.

    net: as it was loaded; with a batch size of 1 if the trial showed that it needs that.
    noise: float32 nczyx, on the device.
    expected: the output of the unchanged net in float32.
    """

    net: Net
    noise: Any
    expected: Any

    @classmethod
    def of(cls, net: Net, shape: tuple[int, ...], device: Any) -> Trial:
        """Run the net on noise. `shape`: of a patch, nczyx with n = 1.

        The patches are small, because CPUs are slow, unless the net does not take small ones. There
        are two of them, because some changes show in batches only. If the net does not take two, or
        its output for one depends on the other, it gets one patch at a time from here on.

        Raises ModelError if the net fails, and OutOfMemory.
        """
        torch = needs("torch", extra="torch")
        generator = torch.Generator().manual_seed(0)
        small = (shape[1], shape[2], min(shape[3], 64), min(shape[4], 64))
        problem: Exception | None = None
        for count, *size in ((2, *small), (1, *small), (2, *shape[1:]), shape):
            noise = torch.rand((count, *size), generator=generator).to(device)
            try:
                expected = _output(net, net.module, noise, "float32")
                if count == 1:
                    return cls(replace(net, batch=net.batch or 1), noise, expected)
                alone = _output(net, net.module, noise[:1], "float32")
                if _difference(alone, expected[:1]) <= _TOLERANCE:
                    return cls(net, noise, expected)
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

    def output(self, run: Any, precision: str) -> Any:
        """The output of a changed net for the noise."""
        return _output(self.net, run, self.noise, precision)

    def changed(self, run: Any, change: Callable[[Any], Any], layout: Any) -> Any:
        """`change(run)` if its output, in float32, is the expected one; else `run` itself.

        layout: memory format of the noise. Raises OutOfMemory.
        """
        noise = self.noise.contiguous(memory_format=layout)
        try:
            candidate = change(run)
            found = _output(self.net, candidate, noise, "float32")
        except OutOfMemory:
            raise
        except Exception as error:
            log.debug("the changed net fails: %s", error)
            return run
        if found.shape == self.expected.shape and _difference(found, self.expected) <= _TOLERANCE:
            return candidate
        log.info("the net is not changed: a change for speed would alter its output")
        return run


def _output(net: Net, run: Any, noise: Any, precision: str) -> Any:
    """The output for a copy of the noise, on the device of the noise.

    A net and its `pre_process` may change their input. A net may also keep what it made for its
    first input, so a copy of the net runs if it can be copied.
    """
    with memory_guard(needs("torch", extra="torch")):
        copied = _copied(run) if net.editable else run
        return forward(net, copied, noise.clone(), precision).to(noise.device)


def _copied(net: Any) -> Any:
    """A copy of the net; the net itself if torch can't copy it (some layers before a call)."""
    try:
        return deepcopy(net)
    except (RuntimeError, ValueError, TypeError):
        return net


def _difference(found: Any, expected: Any) -> float:
    """Largest difference, relative to the largest expected value; NaN if a value is not finite."""
    largest = expected.float().abs().max().clamp(min=1e-6)
    return float((found.float() - expected.float()).abs().max() / largest)
