"""`Shading`: how an image looks in Neuroglancer, told by its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Look = Literal["image", "map"]

GREY = """#uicontrol invlerp normalized
void main() {
  emitGrayscale(normalized());
}
"""
# Transparent where the probability is low, so that the layers below remain visible.
PROBABILITY = """#uicontrol vec3 color color(default="#ff8000")
#uicontrol invlerp probability
void main() {
  emitRGBA(vec4(color, probability()));
}
"""
RGB = """#uicontrol invlerp red(channel=0)
#uicontrol invlerp green(channel=1)
#uicontrol invlerp blue(channel=2)
void main() {
  emitRGB(vec3(red(), green(), blue()));
}
"""
_MAX_SAMPLES = 1_000_000  # voxels from which the contrast is computed


@dataclass(frozen=True)
class Shading:
    """What a layer of an image says of its looks.

    limits: the values shown as black and white, or as transparent and full colour.
    controls: the names of the controls that take them.
    """

    shader: str
    controls: tuple[str, ...]
    limits: list[float]
    opacity: float = 1
    is_map: bool = False

    def layer(self) -> dict[str, Any]:
        """The part of the layer's JSON."""
        controls = {control: {"range": self.limits} for control in self.controls}
        return {"shader": self.shader, "shaderControls": controls, "opacity": self.opacity}


def shading_of(array: NDArray[Any], channels: int, look: Look | None = None) -> Shading:
    """How an image looks: grey, in colour over what lies below, or in red, green and blue.

    array: its values, or some of them, in any shape; numbers.
    look: "map" for one that lies over another image. By default, floats from 0 to 1 are a map.
    """
    kind = array.dtype.kind
    in_unit = bool(kind == "f" and array.size and array.min() >= 0 and array.max() <= 1)
    is_map = look == "map" or (look is None and in_unit)
    limits = contrast(array)
    if in_unit and look != "image":
        limits = [0, 1]
    elif is_map:
        limits = _map_range(array)
    if channels == 3:
        return Shading(RGB, ("red", "green", "blue"), limits, opacity=0.5)
    if is_map:
        return Shading(PROBABILITY, ("probability",), limits, is_map=True)
    return Shading(GREY, ("normalized",), limits)


def contrast(array: NDArray[Any]) -> list[float]:
    """The values shown as black and white: the first and the last percentile of a sample."""
    sample = array.reshape(-1)[:: array.size // _MAX_SAMPLES + 1]
    sample = sample[np.isfinite(sample)].astype(np.float64)
    low, high = np.percentile(sample, [1, 99]).tolist() if sample.size else (0.0, 1.0)
    if array.dtype.kind != "f":
        low, high = round(low), round(high)
    return [low, high if high > low else low + 1]


def _map_range(array: NDArray[Any]) -> list[float]:
    """The values shown as transparent and as full colour: those of a map that begins at 0.

    A map of uint8 reaches up to 255, unless it is a mask.
    """
    if array.size == 0:
        return [0, 1]
    highest = contrast(array)[1] if array.dtype.kind == "f" else int(array.max())
    if array.dtype == np.uint8 and highest > 1:
        highest = 255
    return [0, max(highest, 1)]
