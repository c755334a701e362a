"""`Arrays`: the memory of the device in which patches are computed and blended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray


class Arrays(Protocol):
    """The memory of a device. Its arrays are indexed, and changed in place, as numpy's are."""

    def put(self, array: NDArray[Any]) -> Any:
        """Bring an array to the device; one that is there already is not copied."""

    def zeros(self, shape: tuple[int, ...]) -> Any:
        """An array of zeros, float32."""

    def unit_range(self, array: Any) -> Any:
        """Integers divided by their type's largest value, floats as they are; as float32."""

    def channels(self, array: Any, which: list[int]) -> Any:
        """These channels of an array czyx; a view where it has one channel only."""

    def share(self, result: NDArray[Any]) -> Any | None:
        """`result` as an array of the device, when it can be blended into as it is; else None."""

    def place(self, values: Any, mean: Any) -> None:
        """Copy the first patch at a place, czyx, into the mean."""

    def blend(self, mean: Any, total: Any, values: Any | None, weights: Any) -> None:
        """Take one patch into a weighted mean, in place.

        mean: czyx, of the patches so far. total: zyx, the sum of their weights. values: the patch, czyx; None for zeros.
        weights: of the patch, zyx.

        The mean moves towards the value by the patch's share of all weights: mean += (value - mean) x weight / total. So the
        weights of all patches sum to one, and patches that agree at a voxel give their value to the last bit.
        """

    def send(self, slab: Any, out: NDArray[Any]) -> Callable[[], None]:
        """Start to bring `slab` into `out` on the host, converted as `chunk.convert` does; the result waits for its end.

        `slab` may be changed at once.
        """
