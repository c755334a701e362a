"""load-png"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import BoxOutsideVolume, ChunkMismatch, ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.converter import Converter, scale_option
from chunkflow_worker.pipeline.operator import Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.once import warn_once
from chunkflow_worker.storage.formats.png_header import PngHeader
from chunkflow_worker.storage.formats.section_numbers import NotNumbered, section_numbers
from chunkflow_worker.storage.largest import check_block, check_read
from chunkflow_worker.storage.local_file import in_folder, reading
from chunkflow_worker.storage.voxel_metadata import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_SHOWN = 3


class LoadPng(Converter):
    """Read the task's box, with the margin that later operators need, from a stack of grey PNGs.

    Each picture is one section and has its number in its name, for example 00042.png, as save-pngs
    names it, or slice_42.png. Its number plus --voxel-offset is its global position. If the task
    has no box, it reads the whole stack. Pictures without numbers are taken in the order of their
    names. Pictures in colours are refused; those of a segmentation may have a palette, and its
    indices are the ids.
    """

    group: ClassVar[str] = "Read"
    example: ClassVar[str] = "chunkflow load-png -p sections/ -x 40 4 4 save-h5 -f em.h5"
    differs: ClassVar[str] = (
        "Sections are taken by the numbers in their names, of any number of digits; chunkflow "
        "takes them in the order of their names. A missing section is an error, not zeros. The "
        "first section of a box is read. --voxel-offset works for boxes too. Values are converted "
        "and do not wrap around."
    )
    reads_files: ClassVar[tuple[str, ...]] = ("path",)
    formerly: ClassVar[tuple[str, ...]] = ("load-pngs", "read-pngs")
    renamed: ClassVar[Mapping[str, str]] = {
        "--path-prefix": "--path",
        "--volume-offset": "--voxel-offset",
    }
    op: Literal["load-png"] = "load-png"
    path: str = field(
        flag="-p",
        help="Folder, prefix of the pictures' names, pattern such as 'em/*_ch00.png', or one "
        "picture.",
    )
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
    layer_type: Literal["image", "segmentation"] = field(
        "image", flag="-l", help="What the values mean."
    )
    digit_num: int | None = field(
        None,
        flag="-d",
        ge=1,
        help="Digits of the numbers, with leading zeros: 3 means 001.png; default: any number of "
        "digits.",
    )
    chunk_size: Vec3 | None = field(None, flag="-s", help="Size to read from cutout_offset.")
    dtype: str | None = field(None, help="Type to convert to; default: the pictures'.")
    scale: tuple[float, float] | None = scale_option()

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
        needs("PIL.Image", extra="files")
        # libpng warns of each picture of some programs that its colour profile has errors.
        logging.getLogger("imagecodecs").setLevel(logging.ERROR)
        is_segmentation = self.layer_type == "segmentation"

        def step(task: Task) -> None:
            pictures = self._pictures()
            height, width = self._size(next(iter(pictures.values())))
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
            check_read(box.voxels, f"{self.path}: the part to read")
            window = box.slices(first)[1:]
            sections = [
                _decode(codecs, pictures[z], (height, width), is_segmentation)[window].copy()
                for z in range(box.start.z, box.stop.z)
            ]
            if len({section.dtype for section in sections}) > 1:
                raise ChunkMismatch(
                    f"{self.path}: some pictures of {box} have 8 and others 16 bits"
                )
            array = np.stack(sections)
            task.bytes_read += array.nbytes
            chunk = Chunk(array, box.start, self.voxel_size, self.layer_type, bounds)
            task.values[self.output_chunk_name] = self.converted(chunk, self.dtype, task)

        yield step

    def _size(self, path: Path) -> tuple[int, int]:
        """Height and width of a picture, from its header."""
        with reading(path, "PNG"):
            header = PngHeader.read(path)
        if header.pixel and "voxel_size" not in self.model_fields_set:
            pixel = plain(header.pixel)
            warn_once(
                log,
                f"{self.path} gives pixels of {pixel} nm, and no distance of sections "
                "(--voxel-size sets it)",
            )
        return header.height, header.width

    def _pictures(self) -> dict[int, Path]:
        """The pictures by their global z. Raises DataMissing if there are none."""
        if Path(self.path).is_file():
            return {self.voxel_offset.z: Path(self.path)}
        prefix = in_folder(self.path)
        folder, start = (
            (Path(prefix), "") if prefix.endswith("/") else (Path(prefix).parent, Path(prefix).name)
        )
        start, *rest = start.split("*")
        pattern = re.compile(".*".join(map(re.escape, (start, *(rest or [""])))))
        with reading(folder, "a folder"):
            names = sorted(
                p.name
                for p in folder.iterdir()
                if pattern.fullmatch(p.name) and p.suffix.lower() == ".png" and p.name[0] != "."
            )
        if not names:
            below = sorted(p.name for p in folder.iterdir() if p.is_dir())[:_SHOWN]
            where = f"; it has the folders {', '.join(below)}" if below and not start else ""
            raise DataMissing(f"there are no PNG pictures at {self.path}{where}")
        return {z: folder / name for z, name in self._places(names, start).items()}

    def _places(self, names: list[str], start: str) -> dict[int, str]:
        """The names by their global z. start: what they all begin with."""
        try:
            numbers = section_numbers(names, start, self.digit_num)
        except NotNumbered as error:
            problem = f"pictures at {self.path} have numbers, but {error}"
            cure = (
                "choose the number by its digits, take some by a pattern in --path such as "
                "'*_ch00.png', or name them like 00042.png"
            )
            raise ConfigError.one(self.label, "digit_num", problem, cure) from None
        if numbers is None:
            numbers = list(range(len(names)))
            if len(names) > 1:
                warn_once(
                    log,
                    f"{self.path} has {len(names)} pictures without numbers: they are sections in "
                    f"the order of their names, {names[0]} first (--voxel-offset places it)",
                )
        places = zip(numbers, names, strict=True)
        return {number + self.voxel_offset.z: name for number, name in places}

    def _box(self, task: Task, run: Run, bounds: BoundingBox) -> BoundingBox:
        if self.chunk_size is None:
            return run.box_in(bounds, task.bbox, self.path)
        cutout = BoundingBox.sized(self.cutout_offset, self.chunk_size)
        if not bounds.contains(cutout):
            raise BoxOutsideVolume(
                f"the cutout {cutout} is not inside {self.path}, which is {bounds}"
            )
        return cutout


def _decode(codecs: Any, path: Path, size: tuple[int, int], is_segmentation: bool) -> NDArray[Any]:
    """The grey values of a picture, or the indices of its palette if it is a segmentation.

    Raises ChunkMismatch if it is in colour or of another size.
    """
    import numpy as np

    picture: NDArray[Any]
    with reading(path, "PNG"):
        header = PngHeader.read(path)
        check_block(header.nbytes, f"{path}: the picture")
        is_indexed = header.is_indexed
        if is_indexed and is_segmentation:
            picture = np.array(needs("PIL.Image", extra="files").open(path))
        else:
            picture = _decode_grey(codecs, path.read_bytes())
    if picture.ndim == 3:
        colours = picture[..., : 3 if picture.shape[2] > 2 else 1]  # the others are opacity
        if (colours != colours[..., :1]).any():
            cure = "--layer-type segmentation reads its indices" if is_indexed else "convert it"
            raise ChunkMismatch(f"{path} is in colour, and a section is grey: {cure}")
        picture = colours[..., 0]
    if picture.shape != size:
        raise ChunkMismatch(
            f"{path} has {list(picture.shape)} pixels, and the first picture has {list(size)}"
        )
    return picture


def _decode_grey(codecs: Any, content: bytes) -> NDArray[Any]:
    """Raises ValueError if the content is cut short, and an error of the library."""
    try:
        picture: NDArray[Any] = codecs.png_decode(content)
    except Exception as error:
        if content and b"IEND" not in content[-64:]:
            raise ValueError("its end is missing; copy or make it again") from error
        raise
    return picture
