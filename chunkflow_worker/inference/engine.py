"""`EngineSpec`: what an engine is asked to run. `Engine`: what computes the patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from chunkflow_worker.image.bbox import Vec3

if TYPE_CHECKING:
    from chunkflow_worker.inference.arrays import Arrays

Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]
Acceleration = Literal["none", "compile", "graph"]


@dataclass(frozen=True)
class EngineSpec:
    """What an engine needs to know. Each engine uses the part that concerns it.

    input_size: of the patch that the net takes, in voxels, zyx.
    output_size: of the patch to return, which lies in the middle of the input patch.
    channels: of the output; the first ones of those that the net returns.
    input_channels: that the net takes.
    model_path: file of the net; empty if the engine needs none.
    weight_path: file with the weights; None if the model file holds them.
    trust_weights: whether the file with the weights may run code.
    precision: of the net's arithmetic.
    acceleration: how the net is started.
    """

    input_size: Vec3
    output_size: Vec3
    channels: int
    input_channels: int = 1
    model_path: str = ""
    weight_path: str | None = None
    trust_weights: bool = False
    precision: Precision = "auto"
    acceleration: Acceleration = "none"


class Engine(Protocol):
    """Runs a net on patches.

    device: name of the CPU or GPU.
    precision: of the arithmetic, for example float32.
    channels: number of output channels.
    arrays: the memory that it takes patches from and returns them in.
    """

    device: str
    precision: str
    channels: int
    arrays: Arrays

    def predict(self, patches: Sequence[Any]) -> Sequence[Any]:
        """Run patches, czyx each, as one batch. Returns their output patches, czyx, float32.

        Integer patches are first scaled to [0, 1] by the largest value of their type. Infinite
        outputs are replaced by the largest finite ones. Raises OutOfMemory and ModelError.
        """

    def overflowed(self) -> bool:
        """Whether a value was too large for the precision that the engine had chosen itself.

        True once: the engine has then switched to a larger type, and the patches must run again.
        """

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        """How many patches of that shape, czyx, run fastest together and fit the free memory."""


class EngineClass(Protocol):
    """The class of an engine."""

    def __call__(self, spec: EngineSpec) -> Engine:
        """Load the net. Raises ConfigError and ModelError."""

    def device_name(self) -> str:
        """Name of the device that the engine will use. Loads no net."""
