"""setup-env"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.config.queue_name import QueueName, check_queue_name
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.lattice import PatchShape
from chunkflow_worker.job.grid import Boxes, Grid
from chunkflow_worker.pipeline.operator import Operator, Run, Step, TaskSource, find_operator
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.report.say import say

if TYPE_CHECKING:
    from chunkflow_worker.inference.fit import Fit
    from chunkflow_worker.inference.sizing import Sizing
    from chunkflow_worker.pipeline.chain import Pipeline

_Nanometres = Annotated[float, Field(gt=0)]
_FILE = "pipeline.yaml"
_IMAGE, _NET = "PATH_OF_THE_IMAGE", "PATH_OF_THE_NET"
_USABLE = 0.9  # share of the memory; the rest is for the process and its net


class SetupEnv(TaskSource):
    """Prepare an inference job: choose the box size, make the output volume, write the pipeline.

    Boxes are sized for the memory of a worker: two tasks in flight use at most nine tenths of
    max_ram_size; the rest is for the process and its net. The command prints the sizes, writes the
    info file of the output volume and `pipeline.yaml` in the current folder, and prints the
    commands to continue with. In `pipeline.yaml`, only the paths of the image and of the net are
    left to fill in. Operators that follow get the boxes as tasks.
    """

    group: ClassVar[str] = "Service"
    example: ClassVar[str] = r"""
        chunkflow setup-env --volume-start 0 0 0 -s 256 2048 2048 -l s3://lab/membranes -r 8 \
            -z 16 128 128 -o 4 32 32 -c 1 -d uint8 -v 40 4 4
    """
    differs: ClassVar[str] = (
        "In chunkflow, the command always failed. -c is --channel-num; --crop-chunk-margin had "
        "the same flag and now has none. An existing info file or pipeline.yaml that differs is "
        "not replaced without --overwrite-info. chunkflow-producer sends the messages. The "
        "default visibility timeout is a minute, since workers renew it. A thumbnail is one "
        "picture per box, so it needs no volume. The sizes are printed in other words, with the "
        "commands to go on with. Boxes have other sizes, because the memory of input and patches "
        "counts too."
    )
    creates: ClassVar[tuple[str, ...]] = ("layer_path",)
    renamed: ClassVar[Mapping[str, str]] = {
        "--patch-size": "--output-patch-size",
        "--patch-overlap": "--output-patch-overlap",
    }
    op: Literal["setup-env"] = "setup-env"
    volume_start: Vec3 = field(help="First voxel of the output volume, at mip 0.")
    volume_stop: Vec3 | None = field(
        None, help="Voxel after the last voxel of the output volume, at mip 0."
    )
    volume_size: Vec3 | None = field(
        None,
        flag="-s",
        help="Size of the output volume in voxels at mip 0, instead of volume_stop.",
    )
    layer_path: str = field(flag="-l", help="Path of the output volume: file://, s3:// or gs://.")
    max_ram_size: float = field(15, flag="-r", gt=0, help="Memory of a worker in GB (10^9 bytes).")
    output_patch_size: Vec3 = field(flag="-z", help="Size of the patch that the net returns.")
    input_patch_size: Vec3 | None = field(
        None,
        flag="-i",
        help="Size of the patch that the net takes; default: the output patch size.",
    )
    channel_num: int = field(
        1, flag="-c", ge=1, help="Number of channels that the net returns; 3 for affinities."
    )
    dtype: Literal["uint8", "float16", "float32"] = field(
        "float32",
        flag="-d",
        help="Type of the output; float16 is stored as float32, since volumes have no float16.",
    )
    output_patch_overlap: Vec3 | None = field(
        None, flag="-o", help="Overlap of neighbouring output patches; default: half a patch."
    )
    crop_chunk_margin: Vec3 | None = field(
        None, help="Voxels computed around a box and cut off; default: the overlap."
    )
    mip: int = field(
        0,
        flag="-m",
        ge=0,
        le=16,
        help="Mip level of the image and of the output; y and x halve at each level.",
    )
    thumbnail_mip: int = field(
        6,
        flag="-b",
        ge=0,
        le=16,
        help="Accepted for compatibility with chunkflow 1.2.0; has no effect. "
        "A thumbnail is at most 256 pixels wide.",
    )
    max_mip: int = field(
        8,
        flag="-x",
        ge=0,
        le=16,
        help="Coarsest mip of masks; height and width of boxes are multiples of its voxels.",
    )
    queue_name: str | None = field(
        None,
        flag="-q",
        help="Name of the queue in the printed commands; default: the layer's name.",
    )
    visibility_timeout: int = field(
        60,
        flag="-t",
        ge=1,
        le=43200,
        help="Visibility timeout of the queue in the printed commands, in seconds: after it, "
        "the task of a worker that died is visible to others.",
    )
    thumbnail: bool = field(True, help="Let workers write a small picture of each box.")
    encoding: Literal["raw", "jpeg", "compressed_segmentation", "fpzip", "kempressed"] = field(
        "raw",
        flag="-e",
        help="How blocks are stored; fpzip and kempressed need the extra codecs on the workers.",
    )
    voxel_size: tuple[_Nanometres, _Nanometres, _Nanometres] = field(
        (40, 4, 4), flag="-v", help="Edge lengths of a voxel at mip 0 in nanometres."
    )
    overwrite_info: bool = field(
        False, help="Replace an existing info file and an existing pipeline.yaml."
    )

    @field_validator("queue_name")
    @classmethod
    def _is_queue(cls, value: str | None) -> str | None:
        return value and check_queue_name(value)

    _sizes = field_validator("volume_size", "output_patch_size", "input_patch_size")(above_zero)

    @model_validator(mode="after")
    def _options_fit(self) -> SetupEnv:
        if (self.volume_stop is None) == (self.volume_size is None):
            raise ValueError("give volume_stop or volume_size, and not both")
        if self.volume_stop is not None and not (self.volume_start + 1).fits_in(self.volume_stop):
            raise ValueError(
                f"the volume starts at {list(self.volume_start)} and stops at "
                f"{list(self.volume_stop)}: the stop must be larger on each axis"
            )
        self._shape.check_sizes()
        self._shape.check_within_output("output_patch_overlap", self._shape.overlap)
        self._shape.check_within_output("crop_chunk_margin", self._margin)
        self._check_encoding()
        return self

    def _check_encoding(self) -> None:
        legal = {
            "raw": True,
            "jpeg": self.dtype == "uint8" and self.channel_num in (1, 3),
            "fpzip": self._stored == "float32",
            "kempressed": self._stored == "float32",
        }
        if not legal.get(self.encoding, False):
            raise ValueError(
                f"encoding {self.encoding} does not take {self.channel_num} channels of "
                f"{self._stored}: jpeg takes 1 or 3 of uint8, fpzip and kempressed take float32, "
                "compressed_segmentation takes only object ids, and raw takes everything"
            )

    @property
    def _shape(self) -> PatchShape:
        output, overlap = self.output_patch_size, self.output_patch_overlap
        return PatchShape(
            self.input_patch_size or output, output, output // 2 if overlap is None else overlap
        )

    @property
    def _margin(self) -> Vec3:
        return self._shape.overlap if self.crop_chunk_margin is None else self.crop_chunk_margin

    @property
    def _stored(self) -> str:
        return "float32" if self.dtype == "float16" else self.dtype

    @property
    def _volume(self) -> BoundingBox:
        """The output volume at mip 0."""
        stop = self.volume_stop or self.volume_start + (self.volume_size or 1)
        return BoundingBox(self.volume_start, stop)

    @property
    def _region(self) -> BoundingBox:
        """The output volume at the output's mip, rounded as in the info file."""
        return self._volume.downsample(Vec3(1, 2, 2).power(self.mip))

    @cached_property
    def _sizing(self) -> Sizing:
        from chunkflow_worker.inference.sizing import Sizing

        unit = 2 ** max(self.max_mip - self.mip, 0)
        return Sizing(
            self._shape,
            self._margin,
            unit=Vec3(1, unit, unit),
            channels=self.channel_num,
            dtype=self.dtype,
            stored=self._stored,
        )

    @cached_property
    def _fit(self) -> Fit:
        fit = self._sizing.fit(self._region.size, int(self.max_ram_size * 1e9 * _USABLE))
        if fit is not None:
            return fit
        smallest = self._sizing.smallest()
        needed = self._sizing.bytes_needed(smallest) / 1e9 / _USABLE
        raise ConfigError.one(
            "setup-env",
            "max_ram_size",
            f"{self.max_ram_size:g} GB is too little: "
            f"the smallest box, {list(smallest)}, takes {needed:.3g}",
            "give more, or a smaller --max-mip or patch, or --dtype uint8",
        )

    @property
    def _boxes(self) -> Boxes:
        return Grid(
            roi_start=self._region.start,
            roi_stop=self._region.stop,
            chunk_size=self._fit.size,
            respect_chunk_size=False,
        ).boxes()

    def tasks(self) -> Iterator[Task]:
        yield from (Task(bbox=box) for box in self._boxes)

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:

        from chunkflow_worker.inference.fit import block_size

        file, block = Path(_FILE), block_size(self._fit.size)
        if file.exists() and not self.overwrite_info and not run.dry_run:
            raise ConfigError.one(
                "setup-env",
                str(file.absolute()),
                "exists already",
                "use another folder, or replace it with --overwrite-info",
            )
        for line in self._report(block):
            say(line)
        if run.dry_run:
            say("nothing was written")
        else:
            self._create_volume(block)
            _write(self._pipeline(), file)
            say(f"wrote the info file of {self.layer_path}, and {file}; next:")
            for line in self._next_steps():
                say(line)
        yield lambda task: None

    def _report(self, block: Vec3) -> Iterator[str]:
        """The sizes, for people."""
        boxes, needed = self._boxes, self._sizing.bytes_needed(self._fit.size)
        yield (
            f"output volume: {self._region} at mip {self.mip}, "
            f"{self.channel_num} channels of {self._stored}"
        )
        yield from self._sizing.lines(self._fit, block)
        yield f"memory: {needed / 1e9:.3g} GB for two tasks in flight, of {self.max_ram_size:g} GB"
        along_axes = " ".join(map(str, boxes.grid_size))
        yield f"tasks: {len(boxes)}, {along_axes} along the axes, from {boxes[0]} to {boxes[-1]}"

    def _create_volume(self, block: Vec3) -> None:
        from chunkflow_worker.volumes.create_volume import create_volume

        create_volume(
            self.layer_path,
            bounds=self._volume,
            voxel_size=self.voxel_size,
            block_size=block,
            dtype=self._stored,
            channels=self.channel_num,
            encoding=self.encoding,
            max_mip=self.mip,
            overwrite=self.overwrite_info,
        )

    def _pipeline(self) -> Pipeline:
        """The pipeline of the workers."""
        from chunkflow_worker.pipeline.chain import Pipeline

        tasks = _operator(
            "generate-tasks",
            volume_path=self.layer_path,
            mip=self.mip,
            chunk_size=self._fit.size,
            respect_chunk_size=False,
        )
        assert isinstance(tasks, TaskSource)
        load = _operator("load-precomputed", volume_path=_IMAGE, mip=self.mip)
        inference = _operator(
            "inference",
            framework="pytorch",
            convnet_model=_NET,
            input_patch_size=self._shape.input,
            output_patch_size=self._shape.output,
            output_patch_overlap=self._shape.overlap,
            output_crop_margin=self._margin,
            num_output_channels=self.channel_num,
            dtype=self.dtype,
        )
        save = _operator(
            "save-precomputed",
            volume_path=self.layer_path,
            mip=self.mip,
            create_thumbnail=self.thumbnail,
        )
        return Pipeline((load, inference, save), tasks)

    def _next_steps(self) -> Iterator[str]:
        given = self.queue_name and QueueName.parse(self.queue_name).name
        queue = shlex.quote(given or _queue_name(self.layer_path))
        yield f"  fill in {_IMAGE} and {_NET} in {_FILE}"
        yield f"  chunkflow-worker check {_FILE} --open"
        yield f"  chunkflow-producer queue create {queue} --visibility {self.visibility_timeout}"
        yield f"  chunkflow-producer enqueue --queue {queue} --pipeline {_FILE}"
        yield f"  chunkflow-worker run --queue {queue} --pipeline {_FILE}"


def _operator(name: str, **options: Any) -> Operator:
    return find_operator(name).model_validate(options)


def _write(pipeline: Pipeline, file: Path) -> None:
    """Write the pipeline, and above it what is left to do."""
    import yaml

    from chunkflow_worker.storage.local_file import atomic_file

    text = yaml.safe_dump(pipeline.dump(), sort_keys=False, default_flow_style=None, width=120)
    note = (
        f"# Fill in {_IMAGE}, a volume with the voxel size of the output, and {_NET}, with the\n"
        f"# framework that runs it (and convnet_weight_path, if it has weights in another file).\n"
        f"# Then check it: chunkflow-worker check {_FILE} --open\n"
    )
    with atomic_file(file) as part:
        part.write_text(note + text)


def _queue_name(path: str) -> str:
    """A legal name for a queue, made of the last part of a path."""
    import re

    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", path.rstrip("/").rsplit("/", 1)[-1])
    return plain.strip("-")[:75] or "inference"
