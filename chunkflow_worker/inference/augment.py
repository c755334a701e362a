"""Test-time augmentation: the mean over flips of y and x and their transposition, each undone on the output."""

from __future__ import annotations

from typing import Any

from numpy.typing import DTypeLike, NDArray

from chunkflow_worker.inference.engine import Engine

_Y, _X = -2, -1


class Augmented:
    """An engine that runs each patch in its eight orientations within a section."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self.device, self.channels, self.precision = engine.device, engine.channels, engine.precision

    def put(self, array: NDArray[Any]) -> Any:
        return self._engine.put(array)

    def zeros(self, shape: tuple[int, ...]) -> Any:
        return self._engine.zeros(shape)

    def fetch(self, array: Any, dtype: DTypeLike) -> NDArray[Any]:
        return self._engine.fetch(array, dtype)

    def predict(self, patches: list[Any]) -> Any:
        total: Any = 0
        for transposed in (False, True):
            for axes in ((), (_Y,), (_X,), (_Y, _X)):
                turned = [_flip(p, axes) for p in patches]
                if transposed:
                    turned = [p.swapaxes(_Y, _X) for p in turned]
                output = self._engine.predict(turned)
                if transposed:
                    output = output.swapaxes(_Y, _X)
                total = total + _flip(output, axes)
        return total / 8


def _flip(array: Any, axes: tuple[int, ...]) -> Any:
    if not axes:
        return array
    if hasattr(array, "flip"):
        return array.flip(axes)
    import numpy as np

    return np.flip(array, axes)
