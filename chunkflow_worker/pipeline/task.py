"""`Task`: one box, and the named values that are made from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.clipped import Clipped
from chunkflow_worker.job.delivery import Delivery
from chunkflow_worker.job.record import Written
from chunkflow_worker.storage.written_file import WrittenFile

if TYPE_CHECKING:
    from chunkflow_worker.image.chunk import Chunk, VoxelSize
    from chunkflow_worker.pipeline.early import EarlyWrites


class SkipTask(Exception):
    """Raised by a step to end its task as done: there is nothing to do for this box.

    empty: because the result is empty. Blocks that the rest of the chain would have written must
        then be absent or zero. Otherwise nothing is known of them: they may be there already.
    """

    def __init__(self, reason: str = "", *, empty: bool = False):
        super().__init__(reason)
        self.empty = empty


def describe_value(value: Any) -> str:
    """A value of a task in a few words: its class, and for a chunk its box, type and shape."""
    array = getattr(value, "array", None)
    parts = [
        getattr(value, "bbox", None),
        getattr(array, "dtype", None),
        getattr(array, "shape", None),
    ]
    return " ".join([type(value).__name__, *(str(part) for part in parts if part is not None)])


def _no_hold() -> AbstractContextManager[Callable[[], None]]:
    return nullcontext(lambda: None)


@dataclass
class Task:
    """What travels through a chain.

    bbox: the box to produce; None for a chain on whole files when no box was asked for.
    values: chunks, points, skeletons and others, by name.
    seconds: time spent in each operator, by its name.
    voxel_size: of the voxels that `bbox` counts, in nanometres, zyx; None until a volume is read.
    device: device that inference ran on; empty without inference.
    precision: of its arithmetic.
    models: digests of the files of code and weights of its chain.
    patches, patches_skipped: number that the net ran on; number known to be zero without the net.
    waited: seconds spent waiting for the device while other tasks used it; not part of `seconds`.
    device_seconds, device_memory_peak, device_utilization: of its use of the device; see `Record`.
    early: writes the chunk that the running operator makes, while it is made; None if the next
        operator needs it whole.
    progress: called with a few words about the progress of the operator that is running.
    bytes_read, bytes_written: sizes of the arrays that went through storage, before compression.
    blocks_reused, bytes_reused: blocks of inputs that were still in memory, and their voxels.
    written: what was left in volumes.
    files: files and objects that were written; the last one of a path counts.
    no_files: paths of files that must not exist unless they are in `files`; see `files_of`.
    unseen: labels of operators that may have written files besides those.
    unchecked: labels of operators whose output is noted nowhere.
    clipped: values that the type of an operator's output could not hold.
    delivery: the message that it came with; None if there is none.
    is_final: whether no other attempt follows this error; None where the source can't know.
    hold: a context for the work on the task, entered in the thread that does it. It yields a check
        that raises when another worker may have the task. When the block ends, the task is done;
        when it raises, the task goes back to where it came from.
    """

    bbox: BoundingBox | None = None
    values: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    voxel_size: VoxelSize | None = None
    device: str = ""
    precision: str = ""
    models: dict[str, str] = field(default_factory=dict)
    patches: int = 0
    patches_skipped: int = 0
    waited: float = 0.0
    device_seconds: float = 0.0
    device_memory_peak: int = 0
    device_utilization: float | None = None
    early: EarlyWrites | None = field(default=None, repr=False)
    progress: Callable[[str], None] = field(default=lambda note: None, repr=False)
    bytes_read: int = 0
    blocks_reused: int = 0
    bytes_reused: int = 0
    bytes_written: int = 0
    written: list[Written] = field(default_factory=list)
    files: list[WrittenFile] = field(default_factory=list)
    no_files: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    clipped: list[Clipped] = field(default_factory=list)
    delivery: Delivery | None = field(default=None, repr=False)
    is_final: Callable[[Exception], bool | None] = field(default=lambda error: None, repr=False)
    hold: Callable[[], AbstractContextManager[Callable[[], None]]] = field(
        default=_no_hold, repr=False
    )

    def chunk(self, name: str) -> Chunk:
        """The chunk of that name. Raises ChunkMismatch if there is none."""
        from chunkflow_worker.image.chunk import Chunk

        value = self.values.get(name)
        if isinstance(value, Chunk):
            return value
        if value is not None:
            raise ChunkMismatch(f"{name!r} is a {type(value).__name__}, and a chunk is needed")
        raise self.missing(name, kind="chunk")

    def image(self, name: str) -> Chunk:
        """The chunk of that name. Raises ChunkMismatch if there is none, or if it holds ids."""
        chunk = self.chunk(name)
        if chunk.is_segmentation:
            raise ChunkMismatch(
                f"{name!r} is a segmentation, and ids can't be computed with; if these are values "
                "of an image, load them with --layer-type image"
            )
        return chunk

    def chunks_of_one_box(self, *names: str) -> list[Chunk]:
        """The chunks of those names. Raises ChunkMismatch if one is missing or the boxes differ."""
        first, *others = chunks = [self.chunk(name) for name in names]
        for name, chunk in zip(names[1:], others, strict=True):
            if chunk.bbox != first.bbox:
                raise ChunkMismatch(
                    f"{names[0]!r} is {first.bbox} and {name!r} is {chunk.bbox}: "
                    "they must cover the same box"
                )
        return chunks

    def value(self, name: str) -> Any:
        """The value of that name. Raises ChunkMismatch if there is none."""
        if self.values.get(name) is None:
            raise self.missing(name)
        return self.values[name]

    def missing(self, *names: str, kind: str = "value") -> ChunkMismatch:
        """The error for values that are needed and missing."""
        known = ", ".join(sorted(self.values)) or "none"
        return ChunkMismatch(
            f"there is no {kind} named {', '.join(map(repr, names))}; made so far: {known}"
        )

    def box_of(self, chunk: Chunk) -> BoundingBox | None:
        """The task's box in voxels of `chunk`, which may be larger; None for a task without a box.

        If the voxel sizes do not determine it, the box is taken to count the chunk's own voxels.
        """
        return self.known_box_of(chunk) or self.bbox

    def known_box_of(self, chunk: Chunk) -> BoundingBox | None:
        """The same; None if the voxel sizes do not determine it."""
        return None if self.bbox is None else self.in_voxels_of(chunk.voxel_size, self.bbox)

    def in_voxels_of(self, size: VoxelSize, box: BoundingBox) -> BoundingBox | None:
        """A box that counts the task's voxels, in voxels of another size.

        None if the voxel sizes do not determine it.
        """
        if self.voxel_size is None:
            return None
        ratios = [a / b for a, b in zip(size, self.voxel_size, strict=True)]
        factor = Vec3(*map(round, ratios))
        whole = all(
            n >= 1 and abs(n - ratio) < 1e-6 for n, ratio in zip(factor, ratios, strict=True)
        )
        return box.downsample(factor) if whole else None

    def box_in_image(self, name: str, box: BoundingBox) -> BoundingBox | None:
        """The part of a box that is in the image of a chunk, in the chunk's voxels.

        box: in the task's voxels.
        None if there is no such chunk, or no such part.
        """
        from chunkflow_worker.image.chunk import Chunk
        from chunkflow_worker.image.fragments import box_in_image

        chunk = self.values.get(name)
        if not isinstance(chunk, Chunk):
            return None
        return box_in_image(chunk, self.in_voxels_of(chunk.voxel_size, box) or box)

    @property
    def notes(self) -> int:
        """How many places were noted so far that `verify` can look at."""
        return len(self.written) + len(self.files) + len(self.no_files)

    def chunk_to_save(self, name: str) -> Chunk:
        """The chunk of that name, without margins that it still has around the task's box."""
        return self.without_margins(self.chunk(name))

    def without_margins(self, chunk: Chunk) -> Chunk:
        """The part of a chunk that lies in the task's box."""
        box = self.box_of(chunk)
        if box is None:
            return chunk
        box = box.clip(chunk.bounds) if chunk.bounds else box
        return chunk.cutout(box) if box is not None and chunk.bbox.contains(box) else chunk

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time of the block to `seconds[name]`."""
        start, waited = perf_counter(), self.waited
        try:
            yield
        finally:
            busy = perf_counter() - start - (self.waited - waited)
            self.seconds[name] = self.seconds.get(name, 0.0) + busy

    def note_device(self, seconds: float, memory_peak: int, utilization: float | None) -> None:
        """Note what an operator took of the device: seconds, bytes, and a share from 0 to 1."""
        self.device_seconds += seconds
        self.device_memory_peak = max(self.device_memory_peak, memory_peak)
        if utilization is not None:
            self.device_utilization = max(utilization, self.device_utilization or 0.0)

    @contextmanager
    def waiting_for(self, device: Lock) -> Iterator[None]:
        """Hold the device during the block; the time until it is free counts as waiting."""
        start = perf_counter()
        with device:
            self.waited += perf_counter() - start
            yield
