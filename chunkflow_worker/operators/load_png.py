"""load-png"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.local_file import in_folder, reading

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"\x89PNG\r\n\x1a\n"


class LoadPng(Operator):
    """Read the task's box, with the margin that later operators need, from a stack of grey PNGs.

    Each picture is one section and is named by its number, for example 00042.png, as save-pngs
    names it. Its number plus --voxel-offset is its global position. If the task has no box, it
    reads the whole stack. Pictures without numbers are taken in the order of their names.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-png -p sections/ -x 40 4 4 save-h5 -f em.h5"
    differs: ClassVar[str] = (
        "A missing section is an error, not zeros. The first section of a box is read. "
        "--voxel-offset works for boxes too. Values are converted and do not wrap around."
    )
    reads_files: ClassVar[tuple[str, ...]] = ("path",)
    op: Literal["load-png"] = "load-png"
    path: str = field(flag="-p", help="Folder, prefix of the pictures' names, or one picture.")
    output_chunk_name: str = field("chunk", flag="-o", help="Chunk to make.")
    cutout_offset: Vec3 = field(
        Vec3(0, 0, 0),
        flag="-c",
        help="First voxel to read, global; needs chunk_size. A cutout overrides the task's box.",
    )
    voxel_offset: Vec3 = field(
        Vec3(0, 0, 0),
        flag="-t",
        help="Global position of the first pixel of picture number 0; may be negative.",
    )
    voxel_size: tuple[float, float, float] = field(
        (1.0, 1.0, 1.0), flag="-x", help="Size of a voxel in nanometres."
    )
    digit_num: int = field(
        5, flag="-d", ge=1, help="Digits of the numbers, with leading zeros; 3 means 001.png."
    )
    chunk_size: Vec3 | None = field(None, flag="-s", help="Size to read from cutout_offset.")
    dtype: str | None = field(None, help="Type to convert to; default: the pictures'.")

    _sizes = field_validator("voxel_size", "chunk_size")(above_zero)

    @field_validator("dtype")
    @classmethod
    def _is_a_type(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"u?int(8|16|32|64)|float(16|32|64)", value):
            raise ValueError("takes a type of numbers, for example uint8 or float32")
        return value

    @model_validator(mode="after")
    def _cutout_is_a_box(self) -> LoadPng:
        if any(self.cutout_offset) and self.chunk_size is None:
            raise ValueError("cutout_offset needs chunk_size: give both")
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        import numpy as np

        from chunkflow_worker.image.chunk import Chunk

        codecs = needs("imagecodecs", extra="files")

        def step(task: Task) -> None:
            pictures = self._pictures()
            height, width = _size(next(iter(pictures.values())))
            first = Vec3(min(pictures), self.voxel_offset.y, self.voxel_offset.x)
            bounds = BoundingBox.sized(first, (max(pictures) + 1 - first.z, height, width))
            box = self._box(task, run, bounds)
            absent = [z for z in range(box.start.z, box.stop.z) if z not in pictures]
            if absent:
                number = absent[0] - self.voxel_offset.z
                raise DataMissing(
                    f"{self.path}: {len(absent)} sections of {box} are missing, "
                    f"for example number {number}"
                )
            window = box.slices(first)[1:]
            sections = [
                _decode(codecs, pictures[z], (height, width))[window].copy()
                for z in range(box.start.z, box.stop.z)
            ]
            if len({section.dtype for section in sections}) > 1:
                raise ChunkMismatch(
                    f"{self.path}: some pictures of {box} have 8 and others 16 bits"
                )
            array = np.stack(sections)
            task.bytes_read += array.nbytes
            chunk = Chunk(array, box.start, self.voxel_size, bounds=bounds)
            task.values[self.output_chunk_name] = (
                chunk.as_dtype(self.dtype) if self.dtype else chunk
            )

        yield step

    def _pictures(self) -> dict[int, Path]:
        """The pictures by their global z. Raises DataMissing if there are none."""
        if Path(self.path).is_file():
            return {self.voxel_offset.z: Path(self.path)}
        prefix = in_folder(self.path)
        folder, start = (
            (Path(prefix), "") if prefix.endswith("/") else (Path(prefix).parent, Path(prefix).name)
        )
        with reading(folder, "a folder"):
            names = sorted(
                p.name
                for p in folder.iterdir()
                if p.name.startswith(start) and p.suffix.lower() == ".png"
            )
        if not names:
            raise DataMissing(f"there are no PNG pictures at {self.path}")
        # Larger numbers have more digits.
        digits = rf"\d{{{self.digit_num}}}|[1-9]\d{{{self.digit_num},}}"
        numbers = [re.fullmatch(digits, name[len(start) : -4]) for name in names]
        if all(numbers):
            return {
                int(n[0]) + self.voxel_offset.z: folder / name
                for n, name in zip(numbers, names, strict=True)
                if n
            }
        if any(numbers) or any(re.fullmatch(r"\d+", name[len(start) : -4]) for name in names):
            odd = next(name for name, n in zip(names, numbers, strict=True) if not n)
            raise ConfigError.one(
                self.label,
                "digit_num",
                f"pictures at {self.path} have numbers, but {odd} does not have "
                f"{self.digit_num} digits",
            )
        return {z: folder / name for z, name in enumerate(names, self.voxel_offset.z)}

    def _box(self, task: Task, run: Run, bounds: BoundingBox) -> BoundingBox:
        if self.chunk_size is None:
            return run.box_in(bounds, task.bbox, self.path)
        cutout = BoundingBox.sized(self.cutout_offset, self.chunk_size)
        if not bounds.contains(cutout):
            raise BoxOutsideVolume(
                f"the cutout {cutout} is not inside {self.path}, which is {bounds}"
            )
        return cutout


def _size(path: Path) -> tuple[int, int]:
    """Height and width of a picture, from its header."""
    with reading(path, "PNG"), path.open("rb") as file:
        head = file.read(24)
        if len(head) < 24 or not head.startswith(_MAGIC):
            raise ValueError("it does not have the header")
    return int.from_bytes(head[20:24]), int.from_bytes(head[16:20])


def _decode(codecs: Any, path: Path, size: tuple[int, int]) -> NDArray[Any]:
    """The grey values of a picture. Raises ChunkMismatch if it is in colour or of another size."""
    with reading(path, "PNG"):
        picture: NDArray[Any] = codecs.png_decode(path.read_bytes())
    if picture.ndim == 3:
        colours = picture[..., : 3 if picture.shape[2] > 2 else 1]  # the others are opacity
        if (colours != colours[..., :1]).any():
            raise ChunkMismatch(f"{path} is in colour, and a section is grey")
        picture = colours[..., 0]
    if picture.shape != size:
        raise ChunkMismatch(
            f"{path} has {list(picture.shape)} pixels, and the first picture has {list(size)}"
        )
    return picture
