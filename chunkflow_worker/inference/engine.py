"""`EngineSpec`: what an engine is asked to run. `Engine`: what computes the patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from chunkflow_worker.image.bbox import Vec3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.inference.arrays import Arrays

Precision = Literal["auto", "float32", "tf32", "bfloat16", "float16"]
Acceleration = Literal["auto", "none", "openvino", "tensorrt", "compile", "graph"]

MOST_CHANNELS = 3
"""How many channels of a net's output are kept if the user does not say, as in chunkflow."""


@dataclass(frozen=True)
class EngineSpec:
    """What an engine needs to know. Each engine uses the part that concerns it.

    input_size: of the patch that the net takes, in voxels, zyx.
    output_size: of the patch to return, which lies in the middle of the input patch.
    channels: of the output; the first ones of those that the net returns. None for as many as it
        returns, but at most `MOST_CHANNELS`.
    input_channels: that the net takes.
    model_path: file of the net; empty if the engine needs none.
    weight_path: file with the weights; None if the model file holds them.
    trust_weights: whether the files of the net may run code.
    weight_key: which weights of a checkpoint to take, if several fit the net.
    precision: of the net's arithmetic.
    acceleration: what runs the net, and how it is started.
    allow_random: whether the net may give two answers for one input.
    """

    input_size: Vec3
    output_size: Vec3
    channels: int | None
    input_channels: int = 1
    model_path: str = ""
    weight_path: str | None = None
    trust_weights: bool = False
    weight_key: str | None = None
    precision: Precision = "auto"
    acceleration: Acceleration = "none"
    allow_random: bool = False

    @property
    def least_channels(self) -> int:
        """How many channels the net must return."""
        return self.channels or 1

    @property
    def most_channels(self) -> int:
        """How many of the channels that the net returns are kept."""
        return self.channels or MOST_CHANNELS


@dataclass(frozen=True)
class Answers:
    """Two outputs of a net for the same patches of noise, one after the other, of one shape.

    changed: what the net changed in itself meanwhile, in a few words; empty if nothing.
    """

    first: NDArray[Any]
    second: NDArray[Any]
    changed: str = ""


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

    def answers(self, spec: EngineSpec) -> Answers:
        """Run the net twice on noise, of the size that `spec` declares or of a smaller one.

        Raises OutOfMemory, and ModelError if the net fails or is not what `spec` declares.
        """

    def overflowed(self) -> bool:
        """Whether a value was too large for the precision that the engine had chosen itself.

        True once: the engine has then switched to a larger type, and the patches must run again.
        """

    def memory_peak(self) -> int:
        """The most bytes of a GPU's memory that the process held since this was last called.

        0 where it is not known, as on the CPU.
        """

    def batch_size(self, input_shape: tuple[int, ...]) -> int:
        """How many patches of that shape, czyx, run fastest together and fit the free memory."""


class EngineClass(Protocol):
    """The class of an engine."""

    def __call__(self, spec: EngineSpec) -> Engine:
        """Load the net. Raises ConfigError and ModelError."""

    def device_name(self) -> str:
        """Name of the device that the engine will use. Loads no net."""
