"""inference"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.image.chunk import Chunk
    from chunkflow_worker.inference.engine import Engine
    from chunkflow_worker.inference.lattice import Lattice, LatticeKind, PatchShape
    from chunkflow_worker.inference.plan import Memory


class Inference(Operator):
    """Run a ConvNet over a chunk in overlapping patches and blend them.

    The output is a map, czyx. Integer input is scaled to [0, 1] by its type's largest value; float input is taken as
    it is. What the net needs around the task's box is read by itself. Where the box is not known (a lone file), the output
    is smaller than the chunk by the overlap on each side, as in chunkflow 1.2.0, unless --mask-output-chunk.

    Patches whose input is all zero, or whose output lies where the mask is zero, are not run and give zeros; the task's record
    counts them. It also names the device and the precision that were used.
    """

    group: ClassVar[str] = "Inference"
    example: ClassVar[str] = r"""
        chunkflow generate-tasks -v file://em -c 64 512 512 \
            load-precomputed -v file://em \
            inference -f pytorch -m net.py -w net.pt -s 16 128 128 -v 4 32 32 -c 1 -d uint8 \
            save-precomputed -v file://membranes
    """
    differs: ClassVar[str] = (
        "Nets run in evaluation mode, in batches, on the GPU if there is one. Flips of --augment are "
        "undone correctly. Outputs may have any value. An output patch smaller than the input patch "
        "works with --mask-output-chunk."
    )
    other_volumes: ClassVar[tuple[str, ...]] = ("mask_volume_path",)
    op: Literal["inference"] = "inference"
    convnet_model: str | None = field(
        None,
        flag="-m",
        help="The net: a Python file, or one of TorchScript, torch.export, ONNX or PZNet with its weights.",
    )
    convnet_weight_path: str | None = field(
        None, flag="-w", help="File with the trained weights, for a Python file."
    )
    trust_weights: bool = field(
        False,
        help="Let the weights' file run code: only for pickles of whole objects that you trust.",
    )
    input_patch_size: Vec3 = field(flag="-s", help="Size of the patch that the net takes.")
    output_patch_size: Vec3 | None = field(
        None,
        flag="-z",
        help="Size of the patch that the net returns, or of the middle to keep of it; the input's when not given.",
    )
    output_patch_overlap: Vec3 = field(
        Vec3(4, 64, 64), flag="-v", help="Overlap of neighbouring output patches."
    )
    output_crop_margin: Vec3 | None = field(
        None,
        help="Voxels computed around the output and cut off; the overlap when not given, 0 with --mask-output-chunk.",
    )
    patch_num: Vec3 | None = field(
        None,
        flag="-n",
        help="Kept for old command lines: the number of patches follows from the box.",
    )
    num_input_channels: int = field(1, ge=1, help="Channels that the net takes.")
    num_output_channels: int = field(
        3, flag="-c", ge=1, help="Channels to keep of what the net returns."
    )
    dtype: Literal["float32", "float16", "uint8"] = field(
        "float32",
        flag="-d",
        help="Type of the output; uint8 maps [0, 1] to [0, 255], saturating, on the device.",
    )
    framework: Literal["universal", "identity", "pytorch", "onnx", "pznet"] = field(
        "universal",
        flag="-f",
        help="What computes: a PatchInferencer file, nothing (returns its input), or a library.",
    )
    precision: Literal["auto", "float32", "tf32", "bfloat16", "float16"] = field(
        "auto",
        help="Of the net's arithmetic, with pytorch; auto takes what the device does fast without harm.",
    )
    acceleration: Literal["none", "compile", "graph"] = field(
        "none",
        help="With pytorch: torch.compile, which takes minutes at the start, or one CUDA graph on GPUs.",
    )
    batch_size: int | None = field(
        None,
        flag="-b",
        ge=1,
        help="Patches computed at once; chosen from the free memory when not given.",
    )
    bump: Literal["wu", "zung", "linear"] = field(
        "wu", help="Function that weights a patch's voxels in the blending."
    )
    lattice: Literal["chunk", "global"] = field(
        "chunk",
        help="Where patches lie: from the box's start (cheapest), or anchored globally (no seams between boxes).",
    )
    border: Literal["inward", "reflect", "zeros"] = field(
        "inward",
        help="At the image's border: move patches inward, or extend the image by reflection or zeros.",
    )
    mask_output_chunk: bool = field(
        False, help="Compute nothing around the output: any chunk size, whole output."
    )
    mask_myelin_threshold: float | None = field(
        None,
        flag="-y",
        help="The last channel is a myelin map: zero the others where it is above this, and drop it.",
    )
    mask_volume_path: str | None = field(
        None, help="Precomputed volume; patches whose output lies where it is zero are not run."
    )
    mask_mip: int = field(5, ge=0, help="Mip level of the mask.")
    mask_inverse: bool = field(False, help="Run the patches where the mask is zero, instead.")
    augment: bool = field(
        False, help="Average over flips of y and x and their transposition: eight times the work."
    )
    augment_z: bool = field(False, help="Average over flips of z as well: twice the work again.")
    affinity_offsets: str | None = field(
        None,
        help="For augment: the first output channels are affinities; z,y,x from a voxel to its partner for each, for example "
        "'0,0,-1 0,-1,0 -1,0,0', which is xyz for short; zyx is the reverse.",
    )
    input_chunk_name: str = field("chunk", flag="-i", help="Chunk to read.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Inference:
        output = self.output_patch_size or self.input_patch_size
        if min(self.input_patch_size) < 1 or min(output) < 1:
            raise ValueError("patch sizes are whole numbers from 1 on")
        if not output.fits_in(self.input_patch_size) or any((self.input_patch_size - output) % 2):
            raise ValueError(
                f"output patch {list(output)} must be centred in input patch {list(self.input_patch_size)}: "
                "smaller by an even number on each axis"
            )
        if min(self.output_patch_overlap) < 0 or not all(
            o < s for o, s in zip(self.output_patch_overlap, output, strict=True)
        ):
            raise ValueError(
                f"output_patch_overlap {list(self.output_patch_overlap)} must be at least 0 and smaller than the output "
                f"patch {list(output)} on each axis"
            )
        if self.framework != "identity" and not self.convnet_model:
            raise ValueError(
                f"framework {self.framework} needs convnet_model, the Python file that defines the net"
            )
        if self.augment and (
            self.input_patch_size.y != self.input_patch_size.x or output.y != output.x
        ):
            raise ValueError("augment transposes y and x: the patch must be as wide as it is high")
        if self.augment_z and not self.augment:
            raise ValueError("augment_z belongs to augment: give both")
        self._check_offsets()
        return self

    def _check_offsets(self) -> None:
        from chunkflow_worker.inference.augment import orientations, sources

        offsets = self._offsets
        if len(offsets) > self.num_output_channels:
            raise ValueError(
                f"affinity_offsets has {len(offsets)} channels, and num_output_channels is {self.num_output_channels}"
            )
        if len(set(offsets)) < len(offsets):
            raise ValueError(f"affinity_offsets names an offset twice: {self.affinity_offsets}")
        for orientation in orientations(self.augment_z):
            try:
                sources(orientation, offsets)
            except KeyError as error:
                missing = list(error.args[0])
                raise ValueError(
                    f"affinity_offsets: {missing} has no partner under the transposition: name that too"
                ) from None

    @property
    def _offsets(self) -> tuple[Vec3, ...]:
        known = {"xyz": "0,0,-1 0,-1,0 -1,0,0", "zyx": "-1,0,0 0,-1,0 0,0,-1"}
        text = self.affinity_offsets or ""
        try:
            return tuple(
                Vec3.of(int(n) for n in part.split(",")) for part in known.get(text, text).split()
            )
        except (ValueError, TypeError):
            raise ValueError(
                f"affinity_offsets: {text!r} is not a list of z,y,x such as '0,0,-1 0,-1,0 -1,0,0'"
            ) from None

    @property
    def _shape(self) -> PatchShape:
        from chunkflow_worker.inference.lattice import PatchShape

        return PatchShape(
            self.input_patch_size,
            self.output_patch_size or self.input_patch_size,
            self.output_patch_overlap,
        )

    @property
    def _rim(self) -> Vec3:
        if self.output_crop_margin is not None:
            return self.output_crop_margin
        return Vec3(0, 0, 0) if self.mask_output_chunk else self.output_patch_overlap

    def input_box(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        inside = box if bounds is None else box.clip(bounds) or box
        needed = self._lattice(inside, bounds).input_box
        return needed if bounds is None else needed.clip(bounds) or needed

    def output_bounds(self, bounds: BoundingBox) -> BoundingBox:
        crop = self._shape.crop
        if self.border != "inward" or not all(
            2 * c < n for c, n in zip(crop, bounds.size, strict=True)
        ):
            return bounds
        return bounds.grow(-crop)

    def plan(self, size: Vec3, image_type: str, unit: Vec3) -> list[str]:
        from chunkflow_worker.inference.plan import better_sizes, price

        shape = self._shape
        lines: list[str] = []
        kinds: tuple[LatticeKind, ...] = ("chunk", "global")
        for kind in kinds:
            cost = price(kind, size, shape, self._rim)
            used = " (used here)" if kind == self.lattice else ""
            lines.append(
                f"{kind} lattice{used}: {cost.patches:.4g} patches per task, voxel utilization {cost.utilization:.0%} "
                f"({size.product / 1e6:.4g} Mvoxel out of {cost.patches * shape.output.product / 1e6:.4g})"
            )
        sizes = [
            f"{list(s)} {cost.utilization:.0%}"
            for s, cost in better_sizes(self.lattice, size, shape, self._rim, unit)
        ]
        lines.append("nearby chunk sizes that do better: " + (", ".join(sizes) or "none"))
        needed = self._memory(size, image_type)
        lines.append(
            f"memory of a task {needed.total / 1e9:.2f} GB: image {needed.image / 1e9:.2f} ({image_type}), "
            f"output {needed.output / 1e9:.2f}, slabs {needed.slabs / 1e9:.2f}, patch {needed.patch / 1e9:.2f}; "
            f"of each further one in flight {max(needed.image, needed.output) / 1e9:.2f}"
        )
        return lines

    def task_bytes(self, size: Vec3, image_type: str) -> int:
        return self._memory(size, image_type).total

    def _memory(self, size: Vec3, image_type: str) -> Memory:
        from chunkflow_worker.inference.plan import memory

        lattice = self._lattice(BoundingBox.sized((0, 0, 0), size), None)
        dtype = self.dtype if self.mask_myelin_threshold is None else "float32"
        return memory(lattice, self.num_input_channels, self.num_output_channels, image_type, dtype)

    def rehearsal(self) -> Task:
        import numpy as np

        from chunkflow_worker.image.chunk import Chunk

        shape = self._shape
        channels = (self.num_input_channels,) if self.num_input_channels > 1 else ()
        noise = np.random.default_rng(0).integers(1, 255, (*channels, *shape.input), np.uint8)
        chunk = Chunk(noise, bounds=BoundingBox.sized((0, 0, 0), shape.input))
        return Task(bbox=chunk.bbox.grow(-shape.crop), values={self.input_chunk_name: chunk})

    def device(self) -> str:
        from chunkflow_worker.machine.cpu import cpu_name

        if self.framework != "pytorch":
            return cpu_name()
        from chunkflow_worker.inference.engines.torch import device_name

        return device_name()

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        from chunkflow_worker.image.chunk import convert
        from chunkflow_worker.inference.blending import Batch, infer
        from chunkflow_worker.inference.weights import patch_weights

        engine = self._engine()
        weights = engine.arrays.put(patch_weights(self._shape.output, self.bump).astype(np.float32))
        batch, device = Batch(self.batch_size), Lock()
        mask = self._mask()
        # Thresholds on the myelin channel are for the net's own values.
        dtype = "float32" if self.mask_myelin_threshold is not None else self.dtype

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            if chunk.channels != self.num_input_channels:
                name, takes = self.input_chunk_name, self.num_input_channels
                raise ChunkMismatch(
                    f"{name!r} has {chunk.channels} channels, and the net takes {takes}: see --num-input-channels"
                )
            task.device, task.precision = engine.device, engine.precision
            box = self._output_box(task, run, chunk)
            image, lattice = self._prepare(chunk, box)
            wanted = mask(lattice, chunk)
            tell = lambda done: task.progress(f"patch {done} of {lattice.count}")  # noqa: E731
            # One task at a time has the device, and its memory; the others load and save meanwhile.
            with task.waiting_for(device):
                blended = infer(
                    image,
                    lattice.input_box.start,
                    lattice,
                    weights,
                    engine,
                    batch,
                    dtype,
                    wanted,
                    tell,
                )
                if engine.overflowed():
                    task.precision = engine.precision
                    blended = infer(
                        image,
                        lattice.input_box.start,
                        lattice,
                        weights,
                        engine,
                        batch,
                        dtype,
                        wanted,
                        tell,
                    )
            task.patches += blended.run
            task.patches_skipped += blended.skipped
            array = blended.array
            if self.mask_myelin_threshold is not None:
                array = convert(array[:-1] * (array[-1:] <= self.mask_myelin_threshold), self.dtype)
            bounds = self.output_bounds(chunk.bounds) if chunk.bounds else None
            task.values[self.output_chunk_name] = chunk.with_array(
                array, voxel_offset=box.start, layer_type="image", bounds=bounds
            )

        yield step

    def _engine(self) -> Engine:
        engine = self._single_engine()
        if self.augment:
            from chunkflow_worker.inference.augment import Augmented

            return Augmented(engine, self.augment_z, self._offsets)
        return engine

    def _single_engine(self) -> Engine:
        channels, shape, model, weights = (
            self.num_output_channels,
            self._shape,
            str(self.convnet_model),
            self.convnet_weight_path,
        )
        if self.framework == "identity":
            from chunkflow_worker.inference.engines.identity import IdentityEngine

            return IdentityEngine(channels, shape.crop)
        if self.framework == "universal":
            from chunkflow_worker.inference.engines.universal import UniversalEngine

            return UniversalEngine(model, weights, channels, shape.output)
        if self.framework == "onnx":
            from chunkflow_worker.inference.engines.onnx import OnnxEngine

            return OnnxEngine(model, channels, shape.input, shape.output, self.num_input_channels)
        if self.framework == "pznet":
            from chunkflow_worker.inference.engines.pznet import PznetEngine

            return PznetEngine(model, channels, shape.input, shape.output, self.num_input_channels)
        from chunkflow_worker.inference.engines.torch import TorchEngine

        return TorchEngine(
            model,
            weights,
            channels,
            shape.input,
            shape.output,
            input_channels=self.num_input_channels,
            precision=self.precision,
            acceleration=self.acceleration,
            trust_weights=self.trust_weights,
        )

    def _mask(self) -> Callable[[Lattice, Chunk], Callable[[BoundingBox], bool]]:
        """Makes the test whether a patch is wanted, for the lattice of one task."""
        if self.mask_volume_path is None:
            return lambda lattice, chunk: lambda patch: True
        from chunkflow_worker.storage.mask import CoarseMask
        from chunkflow_worker.storage.precomputed import PrecomputedVolume

        volume = PrecomputedVolume(self.mask_volume_path, self.mask_mip)
        return lambda lattice, chunk: (
            CoarseMask.read(volume, lattice.covered, chunk.voxel_size, self.mask_inverse).any
        )

    def _lattice(self, box: BoundingBox, bounds: BoundingBox | None) -> Lattice:
        from chunkflow_worker.inference.lattice import make_lattice

        return make_lattice(
            self.lattice, box, self._shape, bounds if self.border == "inward" else None, self._rim
        )

    def _output_box(self, task: Task, run: Run, chunk: Chunk) -> BoundingBox:
        """The box to compute: what the task needs, or, where no box is known, the chunk without its rim."""
        asked = task.box_of(chunk)
        if asked is None:
            cut = self._shape.crop + self._rim
            if not all(2 * c < n for c, n in zip(cut, chunk.bbox.size, strict=True)):
                raise ChunkMismatch(
                    f"cutting {list(cut)} voxels from each side of {list(chunk.bbox.size)} leaves nothing: give a larger chunk"
                    + (", or mask_output_chunk to keep its rim" if any(self._rim) else "")
                )
            return chunk.bbox.grow(-cut)
        needed = run.needed_box(asked, self.output_bounds(chunk.bounds) if chunk.bounds else None)
        box = needed.clip(chunk.bbox)
        if box is None:
            raise ChunkMismatch(f"chunk {chunk.bbox} has no voxel of the box {needed} to compute")
        return box

    def _prepare(self, chunk: Chunk, box: BoundingBox) -> tuple[NDArray[Any], Lattice]:
        """The patches' positions, and the image that they read: cut from the chunk, or extended over its border."""
        import numpy as np

        bounds = chunk.bounds or chunk.bbox
        lattice = self._lattice(box, bounds)
        wanted = lattice.input_box
        if not chunk.bbox.contains(wanted):
            # Less context was read than is there (an explicit margin, or none): the chunk's edge counts as the border.
            lattice = self._lattice(box, chunk.bbox)
            wanted = lattice.input_box
        available = wanted.clip(chunk.bbox)
        if available is None:
            raise ChunkMismatch(
                f"chunk {chunk.bbox} has no voxel of {wanted}, which the patches read"
            )
        image = chunk.cutout(available).czyx
        if available == wanted:
            return image, lattice
        before, after = available.start - wanted.start, wanted.stop - available.stop
        widths = [(0, 0), *zip(before, after, strict=True)]
        return np.pad(
            image, widths, mode="reflect" if self.border == "reflect" else "constant"
        ), lattice
