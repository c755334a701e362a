"""inference"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.engine import (
    MOST_CHANNELS,
    Acceleration,
    EngineSpec,
    Precision,
)
from chunkflow_worker.inference.engines import device_name, frameworks, open_engine
from chunkflow_worker.inference.lattice import LatticeKind, PatchShape
from chunkflow_worker.inference.patching import Border, Patching
from chunkflow_worker.inference.reduction import MOST_CLASSES, Reduction
from chunkflow_worker.job.clipped import Clipped
from chunkflow_worker.pipeline.converter import note_clipped
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import Chunk, LayerType
    from chunkflow_worker.image.conversion import Tally
    from chunkflow_worker.inference.engine import Engine
    from chunkflow_worker.inference.lattice import Lattice
    from chunkflow_worker.inference.plan import Memory

    Framework = str
else:
    Framework = Literal[tuple(frameworks())]

_OVERLAP = Vec3(4, 64, 64)
_CLIPPED = {
    "uint8": "the net's values are not from 0 to 1, which become 0 to 255: let the net end in a "
    "sigmoid, or take --dtype float32",
    "float16": "the net's values do not fit float16: take --dtype float32",
}
_ENGINES = "; ".join(f"{f.name}: {f.summary}" for f in frameworks().values())


class Inference(Operator):
    """Run a ConvNet over a chunk in overlapping patches and blend them.

    The output is a map, czyx. Integer input is scaled to [0, 1] by the largest value of its type;
    float input is not scaled. The voxels that the net needs around the task's box are read
    automatically. If the box is not known (a single file), the output is smaller than the chunk by
    the overlap on each side, as in chunkflow 1.2.0, unless --mask-output-chunk is given.

    Patches whose input is all zero, or whose output lies where the mask is zero, are not run and
    give zeros. The record of the task counts them, and names the device and the precision.
    """

    group: ClassVar[str] = "Inference"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            load-precomputed -v file://em \
            inference -f pytorch -m net.py -w net.pt -s 16 128 128 -v 4 32 32 -c 1 -d uint8 \
            save-precomputed -v file://membranes
    """
    differs: ClassVar[str] = (
        "Nets run in evaluation mode, in batches, and on a GPU if there is one. --augment undoes "
        "its flips correctly. Outputs may have any value. An output patch that is smaller than the "
        "input patch works with --mask-output-chunk. The weights of --bump zung are those of its "
        "formula, also far from the middle of a patch. A net that gives two answers for one input "
        "is refused. The framework, the number of channels and the overlap follow from the net and "
        "the patch where they are not given."
    )
    other_volumes: ClassVar[tuple[str, ...]] = ("mask_volume_path",)
    models: ClassVar[tuple[str, ...]] = ("convnet_model", "convnet_weight_path")
    reads_files: ClassVar[tuple[str, ...]] = ("convnet_model", "convnet_weight_path")
    renamed: ClassVar[Mapping[str, str]] = {
        "--patch-size": "--input-patch-size",
        "--patch-overlap": "--output-patch-overlap",
        "-f general, --framework general": "--framework universal",
        "-f pytorch-multitask, --framework pytorch-multitask": "--framework pytorch",
    }
    removed: ClassVar[Mapping[str, str]] = {
        "--output-key, --original-num-output-channels": (
            "leave it out: `post_process` of the model's file chooses among the net's "
            "outputs, and the first `--num-output-channels` are kept"
        ),
        "-u, --output-chunk-start-offset": "give `--output-crop-margin`",
    }
    op: Literal["inference"] = "inference"
    framework: Framework | None = field(
        None,
        flag="-f",
        help=f"The engine that runs the net; default: the one for the model file. {_ENGINES}.",
    )
    convnet_model: str | None = field(
        None,
        flag="-m",
        help="File that defines the net, of a kind that the framework reads.",
    )
    convnet_weight_path: str | None = field(
        None,
        flag="-w",
        help="File with the trained weights, for a net in a Python file: a state dict, or a "
        "checkpoint that holds it.",
    )
    input_patch_size: Vec3 = field(
        flag="-s", help="Size of the patch that the net takes; 1 Y X for a net in 2D."
    )
    output_patch_size: Vec3 | None = field(
        None,
        flag="-z",
        help="Size of the patch that the net returns, or of its middle part to keep; default: the "
        "input patch size.",
    )
    output_patch_overlap: Vec3 | None = field(
        None,
        flag="-v",
        help="Overlap of neighbouring output patches; default: 4 64 64, or half of the output "
        "patch on the axes where it is not larger than that.",
    )
    output_crop_margin: Vec3 | None = field(
        None,
        help="Voxels computed around the output and cut off; "
        "default: the overlap, or 0 with --mask-output-chunk.",
    )
    patch_num: Vec3 | None = field(
        None,
        flag="-n",
        help="Accepted for compatibility with chunkflow 1.2.0; has no effect. "
        "The number of patches follows from the box.",
    )
    num_input_channels: int = field(1, ge=1, help="Number of channels that the net takes.")
    num_output_channels: int | None = field(
        None,
        flag="-c",
        ge=1,
        help="Number of the net's output channels to keep; default: all, but at most "
        f"{MOST_CHANNELS}.",
    )
    weight_key: str | None = field(
        None,
        help="Which weights of a checkpoint to load, if several fit the net: the name of an entry "
        "or a prefix, for example ema.",
    )
    trust_weights: bool = field(
        False,
        help="Let the net's files run code, which TorchScript, torch.export, PZNet and pickles of "
        "objects can; only for files of people that you trust.",
    )
    allow_random: bool = field(
        False, help="Run a net that gives two answers for one input; by default, it is refused."
    )
    dtype: Literal["float32", "float16", "uint8"] = field(
        "float32",
        flag="-d",
        help="Type of the output; uint8 maps [0, 1] to [0, 255] and saturates, on the device.",
    )
    reduce: str | None = field(
        None,
        help="What the blended channels become on the device, in uint8, before they leave it: "
        "threshold or threshold:0.3 (1 above it; 0.5 by default), argmax (the number of the "
        "channel with the highest value, from 0), or max (the highest value of all channels).",
    )
    precision: Precision = field(
        "auto",
        help="Precision of the net's arithmetic, with pytorch; "
        "auto takes what the device computes fast, or float32 if the net needs it.",
    )
    acceleration: Acceleration = field(
        "auto",
        help="What runs the net, with pytorch and onnx. auto: OpenVINO on CPUs, if it is installed "
        "and gives the same output; none: PyTorch or onnxruntime; openvino: refuse nets that it "
        "can't run on CPUs. With pytorch, tensorrt uses TensorRT on GPUs if it gives the same "
        "output, compile torch.compile, which takes minutes at the start, and graph one CUDA graph "
        "on GPUs.",
    )
    batch_size: int | None = field(
        None,
        flag="-b",
        ge=1,
        help="Patches computed at once; default: chosen from the free memory.",
    )
    bump: Literal["wu", "zung", "linear"] = field(
        "wu", help="Function that weights the voxels of a patch for blending."
    )
    lattice: LatticeKind = field(
        "chunk",
        help="Where patches are placed: chunk starts at the box and needs the fewest patches; "
        "global is anchored at the origin, so there are no seams between boxes.",
    )
    border: Border = field(
        "inward",
        help="What to do at the image's border: move patches inward, or extend the image by "
        "reflection or by zeros.",
    )
    mask_output_chunk: bool = field(
        False,
        help="Compute no voxels around the output: any chunk size works, and the output is whole.",
    )
    mask_myelin_threshold: float | None = field(
        None,
        flag="-y",
        help="The last channel is a myelin map: set the others to zero where it is above this "
        "value, and drop it.",
    )
    mask_volume_path: str | None = field(
        None, help="Precomputed volume; patches whose output lies where it is zero are not run."
    )
    mask_mip: int = field(5, ge=0, help="Mip level of the mask.")
    mask_inverse: bool = field(False, help="Run the patches where the mask is zero instead.")
    augment: bool = field(
        False,
        help="Average over flips of y and x and their transposition; takes eight times as long.",
    )
    augment_z: bool = field(
        False, help="With --augment: average over flips of z as well; takes twice as long again."
    )
    affinity_offsets: str | None = field(
        None,
        help="With --augment, if the first output channels are affinities: for each, z,y,x from a "
        "voxel to its partner, for example '0,0,-1 0,-1,0 -1,0,0'. "
        "xyz is short for these, and zyx for the reverse order.",
    )
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    @field_validator("reduce")
    @classmethod
    def _is_reduction(cls, text: str | None) -> str | None:
        if text is not None:
            Reduction.parse(text)
        return text

    @model_validator(mode="after")
    def _options_fit(self) -> Inference:
        shape = self._shape
        if min(shape.input) < 1 or min(shape.output) < 1:
            raise ValueError("patch sizes must be at least 1 on each axis")
        shape.check_sizes()
        shape.check_within_output("output_patch_overlap", shape.overlap)
        self._check_model()
        if self.augment and (shape.input.y != shape.input.x or shape.output.y != shape.output.x):
            raise ValueError("augment transposes y and x: the patch must be as wide as it is high")
        if self.augment_z and not self.augment:
            raise ValueError("augment_z has an effect only with augment: give both")
        if self.reduce is not None:
            if self.mask_myelin_threshold is not None:
                raise ValueError("mask_myelin_threshold needs the channels that reduce drops")
            if "dtype" in self.model_fields_set and self.dtype != "uint8":
                raise ValueError(f"reduce gives uint8, and dtype is {self.dtype}: leave one out")
        if self.affinity_offsets is not None:
            from chunkflow_worker.inference.augment import check_offsets

            check_offsets(self._offsets, self._most_channels, self.augment_z)
        return self

    def _check_model(self) -> None:
        """Raises ValueError if there is no model file, and a framework needs one."""
        if self.convnet_model:
            return
        if self.framework is None:
            others = (f"--framework {f.name}" for f in frameworks().values() if not f.needs_model)
            raise ValueError(
                "needs convnet_model (-m), the file that defines the net, "
                f"or {' or '.join(others)} to try a chain without one"
            )
        if frameworks()[self.framework].needs_model:
            raise ValueError(
                f"framework {self.framework} needs convnet_model, the file that defines the net"
            )

    @property
    def _shape(self) -> PatchShape:
        output = self.output_patch_size or self.input_patch_size
        halves = (n if n < m else m // 2 for n, m in zip(_OVERLAP, output, strict=True))
        overlap = self.output_patch_overlap or Vec3.of(halves)
        return PatchShape(self.input_patch_size, output, overlap)

    @property
    def _patching(self) -> Patching:
        margin = self.output_crop_margin
        if margin is None:
            margin = Vec3(0, 0, 0) if self.mask_output_chunk else self._shape.overlap
        return Patching(self.lattice, self._shape, margin, self.border)

    @property
    def _most_channels(self) -> int:
        return self.num_output_channels or MOST_CHANNELS

    @property
    def _offsets(self) -> tuple[Vec3, ...]:
        from chunkflow_worker.inference.augment import parse_offsets

        return parse_offsets(self.affinity_offsets or "")

    @property
    def _reduction(self) -> Reduction | None:
        return None if self.reduce is None else Reduction.parse(self.reduce)

    @property
    def _output_dtype(self) -> Literal["float32", "float16", "uint8"]:
        return self.dtype if self.reduce is None else "uint8"

    @property
    def _computed_dtype(self) -> str:
        """Type of what is blended: thresholds on the myelin map are for the net's own values."""
        return self._output_dtype if self.mask_myelin_threshold is None else "float32"

    def input_box(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        return self._patching.input_box(box, bounds)

    def output_bounds(self, bounds: BoundingBox) -> BoundingBox:
        return self._patching.output_bounds(bounds)

    def plan(self, size: Vec3, image_type: str, unit: Vec3) -> list[str]:
        from chunkflow_worker.inference.plan import plan_lines

        needed = self._memory(size, image_type)
        return list(plan_lines(self._patching, size, unit, needed, image_type))

    def task_bytes(self, size: Vec3, image_type: str) -> int:
        return self._memory(size, image_type).total

    def _memory(self, size: Vec3, image_type: str) -> Memory:
        from chunkflow_worker.inference.plan import memory

        lattice = self._patching.lattice(BoundingBox.sized((0, 0, 0), size))
        channels, reduction = self._most_channels, self._reduction
        return memory(
            lattice,
            self.num_input_channels,
            channels,
            image_type,
            self._computed_dtype,
            reduction.channels(channels) if reduction else channels,
        )

    def task_seconds(self, size: Vec3, rehearsed: float) -> float:
        from chunkflow_worker.inference.plan import price

        patching = self._patching
        return rehearsed * price(patching.kind, size, patching.shape, patching.margin).patches

    def patches(self, box: BoundingBox, bounds: BoundingBox | None) -> Vec3:
        return Vec3(*map(len, self._patching.lattice(box, bounds).starts))

    def patch_voxels(self) -> int:
        return self._shape.output.product

    def rehearsal(self) -> Task:
        import numpy as np

        from chunkflow_worker.image.chunk import Chunk

        shape = self._shape
        channels = (self.num_input_channels,) if self.num_input_channels > 1 else ()
        noise = np.random.default_rng(0).integers(1, 255, (*channels, *shape.input), np.uint8)
        chunk = Chunk(noise, bounds=BoundingBox.sized((0, 0, 0), shape.input))
        return Task(bbox=chunk.bbox.grow(-shape.crop), values={self.input_chunk_name: chunk})

    def device(self) -> str:
        return device_name(self.framework, self.convnet_model or "")

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.image.conversion import Tally
        from chunkflow_worker.inference.blending import Batch, infer
        from chunkflow_worker.inference.device_use import DeviceUse
        from chunkflow_worker.inference.weights import Weights
        from chunkflow_worker.machine.nvml import GpuMeter

        patching, engine = self._patching, self._engine()
        weights = Weights(self._shape.output, self.bump, engine.arrays)
        batch, device, meter = Batch(self.batch_size), Lock(), GpuMeter()
        mask, reduction = self._mask(), self._reduction
        is_class = reduction is not None and reduction.kind == "argmax"
        if is_class and engine.channels > MOST_CLASSES:
            problem = f"uint8 counts {MOST_CLASSES} channels, and the net has {engine.channels}"
            raise ConfigError.one(self.label, "reduce", problem, "give --num-output-channels")

        def step(task: Task) -> None:
            chunk = task.image(self.input_chunk_name)
            self._check_channels(chunk)
            task.device, task.precision = engine.device, engine.precision
            box = self._output_box(task, run, chunk)
            image, lattice = patching.cut(chunk, box)
            wanted = mask(lattice, chunk)

            def show_progress(done: int) -> None:
                task.progress(f"patch {done} of {lattice.count}")

            bounds = self.output_bounds(chunk.bounds) if chunk.bounds else None

            def made(array: NDArray[Any]) -> Chunk:
                layer_type: LayerType = "segmentation" if is_class else "image"
                return chunk.with_array(
                    array, voxel_offset=box.start, layer_type=layer_type, bounds=bounds
                )

            def finished(array: NDArray[Any], stop: int, arrive: Callable[[], object]) -> None:
                if task.early and self.mask_myelin_threshold is None:
                    task.early.finished(made(array), stop, arrive)

            place = image, lattice.input_box.start, lattice, weights.on(lattice)
            dtype, told = self._computed_dtype, show_progress
            blend = partial(infer, *place, engine, batch, dtype, wanted, told, reduction, finished)
            # One task at a time uses the device and its memory. The others load and save meanwhile.
            use = DeviceUse()
            with task.waiting_for(device), use.measured(engine, meter):
                blended = blend()
                if engine.overflowed():
                    task.device, task.precision = engine.device, engine.precision
                    blended = blend()
            task.note_device(use.seconds, use.memory_peak, use.utilization)
            task.patches += blended.run
            task.patches_skipped += blended.skipped
            tally = Tally(values=blended.array.size, clipped=blended.clipped)
            array = self._without_myelin(blended.array, tally)
            if self._output_dtype != "float32":
                clipped = Clipped(self.label, tally.clipped, tally.values)
                note_clipped(task, clipped, _CLIPPED[self._output_dtype])
            task.values[self.output_chunk_name] = made(array)

        yield step

    def _engine(self) -> Engine:
        engine = open_engine(
            self.framework,
            EngineSpec(
                input_size=self._shape.input,
                output_size=self._shape.output,
                # Affinities have a channel for each of their offsets.
                channels=self._most_channels if self.affinity_offsets else self.num_output_channels,
                input_channels=self.num_input_channels,
                model_path=self.convnet_model or "",
                weight_path=self.convnet_weight_path,
                trust_weights=self.trust_weights,
                weight_key=self.weight_key,
                precision=self.precision,
                acceleration=self.acceleration,
                allow_random=self.allow_random,
            ),
        )
        if not self.augment:
            return engine
        from chunkflow_worker.inference.augment import Augmented

        return Augmented(engine, self.augment_z, self._offsets)

    def _mask(self) -> Callable[[Lattice, Chunk], Callable[[BoundingBox], bool]]:
        """Makes, for the lattice of a task, a function that says whether a patch is wanted."""
        if self.mask_volume_path is None:
            return lambda lattice, chunk: lambda patch: True
        from chunkflow_worker.volumes.mask import CoarseMask
        from chunkflow_worker.volumes.open_volume import open_volume

        volume = open_volume(self.mask_volume_path, self.mask_mip)
        return lambda lattice, chunk: (
            CoarseMask.read(volume, lattice.covered, chunk.voxel_size, self.mask_inverse).any
        )

    def _check_channels(self, chunk: Chunk) -> None:
        if chunk.channels != self.num_input_channels:
            raise ChunkMismatch(
                f"{self.input_chunk_name!r} has {chunk.channels} channels, and the net takes "
                f"{self.num_input_channels}: see --num-input-channels"
            )

    def _output_box(self, task: Task, run: Run, chunk: Chunk) -> BoundingBox:
        """The box to compute: what the task needs; the chunk without its rim if no box is known."""
        asked = task.box_of(chunk)
        if asked is None:
            return self._patching.without_rim(chunk.bbox)
        needed = run.needed_box(asked, self.output_bounds(chunk.bounds) if chunk.bounds else None)
        box = needed.clip(chunk.bbox)
        if box is None:
            raise ChunkMismatch(f"chunk {chunk.bbox} has no voxel of the box {needed} to compute")
        return box

    def _without_myelin(self, array: NDArray[Any], tally: Tally) -> NDArray[Any]:
        """The output, czyx: zero where the last channel is above the myelin threshold."""
        if self.mask_myelin_threshold is None:
            return array
        from chunkflow_worker.image.conversion import convert

        kept = array[:-1] * (array[-1:] <= self.mask_myelin_threshold)
        tally.values = 0  # the output was not converted yet
        return convert(kept, self.dtype, tally=tally)
