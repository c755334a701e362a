"""`Arrays`: arrays in the memory of the device that computes and blends patches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray

from chunkflow_worker.inference.reduction import Reduction


class Arrays(Protocol):
    """The memory of a device. Its arrays can be indexed and changed in place like numpy's."""

    def put(self, array: NDArray[Any]) -> Any:
        """The array on the device; not copied when it is already there."""

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """A new array of zeros, float32."""

    def unit_range(self, array: Any) -> Any:
        """The array as float32. Integers are divided by the largest value of their type."""

    def channels(self, array: Any, which: list[int]) -> Any:
        """The channels `which` of an array czyx; a view if the array has only one channel."""

    def share(self, result: NDArray[Any]) -> Any | None:
        """`result` as an array of the device that uses the same memory; None if impossible."""

    def place(self, values: Any, mean: Any) -> None:
        """Copy a patch, czyx, into the mean, where no other patch was before."""

    def blend(self, mean: Any, total: Any, values: Any | None, weights: Any) -> None:
        """Add a patch to a weighted mean, in place. All arrays are float32.

        mean: czyx, of the patches so far.
        total: zyx, the sum of their weights.
        values: the patch, czyx; None for zeros.
        weights: of the patch, zyx.

        The mean moves towards the values by the patch's share of the total weight:
        mean += (values - mean) * weights / total. So the shares of all patches sum to one, and
        patches that agree on a voxel keep its value exactly.
        """

    def reduced(self, slab: Any, reduction: Reduction) -> Any:
        """What a slab, czyx, becomes: uint8, but float32 for the highest value."""

    def send(self, slab: Any, out: NDArray[Any]) -> Callable[[], int]:
        """Start copying `slab` to `out` on the host, converted as `conversion.convert` does.

        Returns a function that waits until `out` is complete, and returns the number of values that
        were clipped; several threads may call it. `slab` may be changed at once, and loses its
        values.
        """
