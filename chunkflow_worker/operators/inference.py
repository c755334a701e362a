"""inference"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.bbox import BoundingBox, Vec3
from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.operator import Operator, Run, Step
from chunkflow_worker.options import field
from chunkflow_worker.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.chunk import Chunk
    from chunkflow_worker.inference.engine import Engine
    from chunkflow_worker.inference.lattice import Lattice, PatchShape


class Inference(Operator):
    """Run a ConvNet over a chunk in overlapping patches and blend them.

    The output is a float map, czyx. Integer input is scaled to [0, 1] by its type's largest value; float input is taken as
    it is. What the net needs around the task's box is read by itself. Where the box is not known (a lone file), the output
    is smaller than the chunk by the overlap on each side, as in chunkflow 1.2.0, unless --mask-output-chunk.
    """

    group: ClassVar[str] = "Inference"
    op: Literal["inference"] = "inference"
    convnet_model: str | None = field(None, flag="-m", help="Python file that defines the net.")
    convnet_weight_path: str | None = field(None, flag="-w", help="File with the trained weights.")
    input_patch_size: Vec3 = field(flag="-s", help="Size of the patch that the net takes.")
    output_patch_size: Vec3 | None = field(
        None, flag="-z", help="Size of the patch that the net returns, centred; the input's when not given."
    )
    output_patch_overlap: Vec3 = field(Vec3(4, 64, 64), flag="-v", help="Overlap of neighbouring output patches.")
    output_crop_margin: Vec3 | None = field(
        None, help="Voxels computed around the output and cut off; the overlap when not given, 0 with --mask-output-chunk."
    )
    patch_num: Vec3 | None = field(
        None, flag="-n", help="Kept for old command lines: the number of patches follows from the box."
    )
    num_input_channels: int = field(1, ge=1, help="Channels that the net takes.")
    num_output_channels: int = field(3, flag="-c", ge=1, help="Channels to keep of what the net returns.")
    dtype: Literal["float32", "float16"] = field("float32", flag="-d", help="Type of the output.")
    framework: Literal["universal", "identity", "pytorch"] = field(
        "universal", flag="-f", help="What computes: a PatchInferencer file, nothing (returns its input), or PyTorch."
    )
    batch_size: int = field(1, flag="-b", ge=1, help="Patches computed at once.")
    bump: Literal["wu", "zung", "linear"] = field("wu", help="Function that weights a patch's voxels in the blending.")
    lattice: Literal["chunk", "global"] = field(
        "chunk", help="Where patches lie: from the box's start (cheapest), or anchored globally (no seams between boxes)."
    )
    border: Literal["inward", "reflect", "zeros"] = field(
        "inward", help="At the image's border: move patches inward, or extend the image by reflection or zeros."
    )
    mask_output_chunk: bool = field(False, help="Compute nothing around the output: any chunk size, whole output.")
    mask_myelin_threshold: float | None = field(
        None, flag="-y", help="The last channel is a myelin map: zero the others where it is above this, and drop it."
    )
    augment: bool = field(
        False, help="Average over flips of y and x and their transposition; for outputs without direction, so not affinities."
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
        if min(self.output_patch_overlap) < 0 or not all(o < s for o, s in zip(self.output_patch_overlap, output, strict=True)):
            raise ValueError(
                f"output_patch_overlap {list(self.output_patch_overlap)} must be at least 0 and smaller than the output "
                f"patch {list(output)} on each axis"
            )
        if self.framework != "identity" and not self.convnet_model:
            raise ValueError(f"framework {self.framework} needs convnet_model, the Python file that defines the net")
        if self.augment and self.input_patch_size.y != self.input_patch_size.x:
            raise ValueError("augment transposes y and x: the patch must be as wide as it is high")
        return self

    @property
    def _shape(self) -> PatchShape:
        from chunkflow_worker.inference.lattice import PatchShape

        return PatchShape(self.input_patch_size, self.output_patch_size or self.input_patch_size, self.output_patch_overlap)

    @property
    def _rim(self) -> Vec3:
        if self.output_crop_margin is not None:
            return self.output_crop_margin
        return Vec3(0, 0, 0) if self.mask_output_chunk else self.output_patch_overlap

    def context(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        inside = box if bounds is None else box.clip(bounds) or box
        needed = self._lattice(inside, bounds).input_box
        return needed if bounds is None else needed.clip(bounds) or needed

    def output_bounds(self, bounds: BoundingBox) -> BoundingBox:
        crop = self._shape.crop
        if self.border != "inward" or not all(2 * c < n for c, n in zip(crop, bounds.size, strict=True)):
            return bounds
        return bounds.grow(-crop)

    def device(self) -> str:
        from chunkflow_worker.inference.engine import cpu_name

        if self.framework == "identity":
            return cpu_name()
        from chunkflow_worker.inference.torch_engine import device_name

        return device_name()

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        from chunkflow_worker.inference.blend import patch_weights
        from chunkflow_worker.inference.blending import infer

        engine = self._engine()
        weights = engine.put(patch_weights(self._shape.output, self.bump).astype(engine.precision))

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            if chunk.channels != self.num_input_channels:
                raise ChunkMismatch(f"the net takes {self.num_input_channels} channels, and the chunk has {chunk.channels}")
            task.device = engine.device
            box = self._output_box(task, run, chunk)
            image, lattice = self._prepare(chunk, box)
            array = infer(image, lattice.input_box.start, lattice, weights, engine, batch_size=self.batch_size, dtype=self.dtype)
            if self.mask_myelin_threshold is not None:
                array = array[:-1] * (array[-1:] <= self.mask_myelin_threshold)
            bounds = self.output_bounds(chunk.bounds) if chunk.bounds else None
            task.values[self.output_chunk_name] = chunk.with_array(
                array, voxel_offset=box.start, layer_type="image", bounds=bounds
            )

        yield step

    def _engine(self) -> Engine:
        channels, shape = self.num_output_channels, self._shape
        if self.framework == "identity":
            from chunkflow_worker.inference.engine import IdentityEngine

            engine: Engine = IdentityEngine(channels, shape.crop)
        elif self.framework == "pytorch":
            from chunkflow_worker.inference.torch_engine import TorchEngine

            engine = TorchEngine(str(self.convnet_model), self.convnet_weight_path, channels, shape.output)
        else:
            from chunkflow_worker.inference.universal_engine import UniversalEngine

            engine = UniversalEngine(str(self.convnet_model), self.convnet_weight_path, channels, shape.output)
        if self.augment:
            from chunkflow_worker.inference.augment import Augmented

            return Augmented(engine)
        return engine

    def _lattice(self, box: BoundingBox, bounds: BoundingBox | None) -> Lattice:
        from chunkflow_worker.inference.lattice import make_lattice

        return make_lattice(self.lattice, box, self._shape, bounds if self.border == "inward" else None, self._rim)

    def _output_box(self, task: Task, run: Run, chunk: Chunk) -> BoundingBox:
        """The box to compute: what the task needs, or, where no box is known, the chunk without its rim."""
        if task.bbox is None:
            cut = self._shape.crop + self._rim
            if not all(2 * c < n for c, n in zip(cut, chunk.bbox.size, strict=True)):
                raise ChunkMismatch(f"cutting {list(cut)} voxels from each side of {list(chunk.bbox.size)} leaves nothing")
            return chunk.bbox.grow(-cut)
        needed = run.needed_box(task.bbox, self.output_bounds(chunk.bounds) if chunk.bounds else None)
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
            raise ChunkMismatch(f"chunk {chunk.bbox} has no voxel of {wanted}, which the patches read")
        image = chunk.cutout(available).czyx
        if available == wanted:
            return image, lattice
        before, after = available.start - wanted.start, wanted.stop - available.stop
        widths = [(0, 0), *zip(before, after, strict=True)]
        return np.pad(image, widths, mode="reflect" if self.border == "reflect" else "constant"), lattice
