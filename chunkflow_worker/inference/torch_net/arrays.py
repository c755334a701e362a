"""`TorchArrays`: patches blended on the device of a PyTorch net, a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import OutOfMemory
from chunkflow_worker.image.conversion import kept
from chunkflow_worker.inference.host_arrays import HostArrays
from chunkflow_worker.inference.reduction import Reduction

_FLOAT16_MAX = float(np.finfo(np.float16).max)


class TorchArrays:
    """`Arrays` as tensors of one device.

    GPUs work asynchronously. A finished slab is converted on the GPU, copied through pinned memory
    on its own stream, and written to the result by another thread, while the next patches are
    computed.
    """

    def __init__(self, device: Any):
        self._torch = needs("torch", extra="torch")
        self._device = self._torch.device(device)
        self._is_gpu = self._device.type == "cuda"
        self._outward = self._torch.cuda.Stream(self._device) if self._is_gpu else None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="slabs") if self._is_gpu else None

    def put(self, array: NDArray[Any]) -> Any:
        native = np.asarray(array, array.dtype.newbyteorder("="))
        if min(native.strides, default=0) < 0 or not native.flags.writeable:
            native = native.copy()  # torch accepts neither
        with self._guarded():
            return self._torch.from_numpy(native).to(self._device)

    def zeros(self, shape: tuple[int, ...]) -> Any:
        with self._guarded():
            return self._torch.zeros(shape, dtype=self._torch.float32, device=self._device)

    def unit_range(self, array: Any) -> Any:
        floating = array.is_floating_point() or array.dtype == self._torch.bool
        scaled = array.to(self._torch.float32)
        return scaled if floating else scaled.div_(self._torch.iinfo(array.dtype).max)

    def channels(self, array: Any, which: list[int]) -> Any:
        return array.expand(len(which), -1, -1, -1) if len(array) == 1 else array[which]

    def share(self, result: NDArray[Any]) -> Any | None:
        if self._is_gpu or result.dtype != np.float32:
            return None
        return self._torch.from_numpy(result)

    def place(self, values: Any, mean: Any) -> None:
        mean.copy_(values)

    def blend(self, mean: Any, total: Any, values: Any | None, weights: Any) -> None:
        total.add_(weights)
        target = mean.new_zeros(1).expand_as(mean) if values is None else values
        mean.lerp_(target, weights / total)

    def reduced(self, slab: Any, reduction: Reduction) -> Any:
        if reduction.threshold is not None:
            return (slab > reduction.threshold).to(self._torch.uint8)
        if reduction.kind == "argmax":
            return slab.argmax(dim=0, keepdim=True).to(self._torch.uint8)
        return slab.amax(dim=0, keepdim=True)

    def send(self, slab: Any, out: NDArray[Any]) -> Callable[[], int]:
        torch = self._torch
        if self._outward is None or self._writer is None:
            return HostArrays().send(slab.numpy(), out)  # faster than torch
        with self._guarded():
            converted = self._converted(slab, out.dtype).contiguous()
            pinned = torch.empty(converted.shape, dtype=converted.dtype, pin_memory=True)
            lost = self._clipped(slab, out.dtype)
            pinned_lost = torch.empty((), dtype=torch.int64, pin_memory=True)
        self._outward.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._outward):
            pinned.copy_(converted, non_blocking=True)
            converted.record_stream(self._outward)
            pinned_lost.copy_(lost, non_blocking=True)
            lost.record_stream(self._outward)
            sent = self._outward.record_event()

        def write() -> int:
            sent.synchronize()
            torch.from_numpy(out).copy_(pinned)  # torch copies with several threads, numpy with one
            return int(pinned_lost)

        return self._writer.submit(write).result

    def _converted(self, array: Any, dtype: np.dtype[Any]) -> Any:
        """A copy of the array, converted as `conversion.convert` does, on the device."""
        torch = self._torch
        if array.dtype == torch.uint8:  # it is reduced
            return array.clone()
        if dtype == np.uint8:
            return array.mul(255).round_().nan_to_num_(0, 255, 0).clamp_(0, 255).to(torch.uint8)
        if dtype == np.float16:
            return array.clamp(-_FLOAT16_MAX, _FLOAT16_MAX).to(torch.float16)
        return array.clone()

    def _clipped(self, array: Any, dtype: np.dtype[Any]) -> Any:
        """How many values `_converted` clips, on the device."""
        limits = kept(np.dtype(np.float32), dtype)
        if limits is None or not array.is_floating_point():
            return self._torch.zeros((), dtype=self._torch.int64, device=array.device)
        outside = (array < limits[0]) | (array > limits[1])
        if dtype.kind != "f":
            outside |= array.isnan()
        return outside.sum()

    def _guarded(self) -> AbstractContextManager[None]:
        return memory_guard(self._torch)


@contextmanager
def memory_guard(torch: Any) -> Iterator[None]:
    """Raise OutOfMemory in place of the errors of torch about memory, on any device."""
    try:
        yield
    except RuntimeError as error:
        on_cpu = "can't allocate memory" in str(error)
        if not on_cpu and not isinstance(error, torch.OutOfMemoryError):
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(str(error).partition("\n")[0]) from None
