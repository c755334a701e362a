"""setup-env"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from chunkflow_worker.config.options import above_zero, field
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.operator import Run, Step, TaskSource
from chunkflow_worker.pipeline.task import Task

if TYPE_CHECKING:
    from chunkflow_worker.inference.fit import Fit
    from chunkflow_worker.inference.lattice import Lattice, PatchShape

_Nanometres = Annotated[float, Field(gt=0)]
_FILE = "pipeline.yaml"
_IMAGE, _NET = "PATH_OF_THE_IMAGE", "PATH_OF_THE_NET"
_USABLE = 0.9  # of the memory; the rest is for the process and its net


class SetupEnv(TaskSource):
    """Prepare a job of inference: size its boxes for a worker's memory, make the output volume, and write the workers' chain.

    Prints the sizes, writes the info file of the output volume and `pipeline.yaml` in the current folder, in which only the
    image and the net are left to fill in, and prints the commands to go on with. Operators that follow get the boxes as tasks.
    Two tasks of a worker in flight take at most nine tenths of max_ram_size; the rest is for the process and its net.

    Differs from chunkflow 1.2.0: there, it always failed; -c is --channel-num, and --crop-chunk-margin, which bore the same
    flag, has none; an existing info file or pipeline.yaml that differs stays as it is unless --overwrite-info; messages are
    sent by chunkflow-producer, not by this; a queue shows a dead worker's tasks to others after a minute, since workers renew
    theirs; a thumbnail is one picture per box, which needs no volume.
    """

    group: ClassVar[str] = "Service"
    example: ClassVar[str] = r"""
        chunkflow setup-env --volume-start 0 0 0 -s 256 2048 2048 -l s3://lab/membranes -r 8 \
            -z 16 128 128 -o 4 32 32 -c 1 -d uint8 -v 40 4 4
    """
    op: Literal["setup-env"] = "setup-env"
    volume_start: Vec3 = field(help="First voxel of the output volume, at mip 0.")
    volume_stop: Vec3 | None = field(None, help="Voxel behind its last one, at mip 0.")
    volume_size: Vec3 | None = field(
        None, flag="-s", help="Its size in voxels at mip 0, instead of its stop."
    )
    layer_path: str = field(flag="-l", help="Path of the output volume: file://, s3:// or gs://.")
    max_ram_size: float = field(15, flag="-r", gt=0, help="Memory of a worker in GB (10^9 bytes).")
    output_patch_size: Vec3 = field(flag="-z", help="Size of the patch that the net returns.")
    input_patch_size: Vec3 | None = field(
        None, flag="-i", help="Size of the patch that it takes; the output's when not given."
    )
    channel_num: int = field(
        1, flag="-c", ge=1, help="Channels that the net returns; 3 for affinities."
    )
    dtype: Literal["uint8", "float16", "float32"] = field(
        "float32",
        flag="-d",
        help="Type of the output; float16 is stored as float32, since volumes know no float16.",
    )
    output_patch_overlap: Vec3 | None = field(
        None, flag="-o", help="Overlap of neighbouring output patches; half a patch when not given."
    )
    crop_chunk_margin: Vec3 | None = field(
        None, help="Voxels computed around a box and cut off; the overlap when not given."
    )
    mip: int = field(
        0,
        flag="-m",
        ge=0,
        le=16,
        help="Mip level of the image and of the output; each is twice as coarse in y and x.",
    )
    thumbnail_mip: int = field(
        6,
        flag="-b",
        ge=0,
        le=16,
        help="Kept for old command lines: a thumbnail is at most 256 pixels wide.",
    )
    max_mip: int = field(
        8,
        flag="-x",
        ge=0,
        le=16,
        help="Coarsest mip of masks: boxes are whole numbers of its voxels high and wide.",
    )
    queue_name: str | None = field(
        None,
        flag="-q",
        help="Name of the queue in the printed commands; that of the layer when not given.",
    )
    visibility_timeout: int = field(
        60,
        flag="-t",
        ge=1,
        le=43200,
        help="Seconds after which a dead worker's task is visible, for the printed command.",
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
        False, help="Replace an existing info file, and an existing pipeline.yaml."
    )

    _sizes = field_validator("volume_size", "output_patch_size", "input_patch_size")(above_zero)

    @model_validator(mode="after")
    def _fits_together(self) -> SetupEnv:
        if (self.volume_stop is None) == (self.volume_size is None):
            raise ValueError("volume_stop and volume_size say the same: give one of the two")
        if self.volume_stop is not None and not (self.volume_start + 1).fits_in(self.volume_stop):
            raise ValueError(
                f"the volume starts at {list(self.volume_start)} and stops at {list(self.volume_stop)}: each axis must grow"
            )
        shape = self._shape
        if not shape.output.fits_in(shape.input) or any((shape.input - shape.output) % 2):
            raise ValueError(
                f"output patch {list(shape.output)} must be centred in input patch {list(shape.input)}: "
                "smaller by an even number on each axis"
            )
        for name, value in (
            ("output_patch_overlap", shape.overlap),
            ("crop_chunk_margin", self._margin),
        ):
            if min(value) < 0 or not (value + 1).fits_in(shape.output):
                raise ValueError(
                    f"{name} {list(value)} must be at least 0 and smaller than the output patch {list(shape.output)} on each axis"
                )
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
                f"encoding {self.encoding} does not take {self.channel_num} channels of {self._stored}: jpeg takes 1 or 3 of "
                "uint8, fpzip and kempressed float32, compressed_segmentation only object ids, and raw everything"
            )

    @property
    def _shape(self) -> PatchShape:
        from chunkflow_worker.inference.lattice import PatchShape

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
        return BoundingBox(
            self.volume_start, self.volume_stop or self.volume_start + (self.volume_size or 1)
        )

    @property
    def _region(self) -> BoundingBox:
        """The output volume at the output's mip, rounded as the info file does it."""
        return self._volume.downsample(Vec3(1, 2, 2).power(self.mip))

    def tasks(self) -> Iterator[Task]:
        yield from (Task(bbox=box) for box in self._boxes(self._fit.size))

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        self._prepare(run.dry_run)
        yield lambda task: None

    def _prepare(self, dry_run: bool) -> None:
        import click

        from chunkflow_worker.inference.fit import block_size
        from chunkflow_worker.storage.precomputed_info import create_volume

        fit = self._fit
        block = block_size(fit.size)
        file = Path(_FILE)
        if file.exists() and not self.overwrite_info and not dry_run:
            raise ConfigError.one(
                "setup-env",
                str(file.absolute()),
                "is there already",
                "take another folder, or replace it with --overwrite-info",
            )
        for line in self._report(fit, block):
            click.echo(line)
        if dry_run:
            click.echo("nothing was written")
            return
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
        self._write_pipeline(file, fit.size)
        click.echo(
            "\n".join(
                [
                    f"wrote the info file of {self.layer_path}, and {file}; next:",
                    *self._next_steps(),
                ]
            )
        )

    @cached_property
    def _fit(self) -> Fit:
        from chunkflow_worker.inference.fit import fit_box

        unit = 2 ** max(self.max_mip - self.mip, 0)
        limit = int(self.max_ram_size * 1e9 * _USABLE)
        fit = fit_box(
            self._shape, self._margin, self._region.size, Vec3(1, unit, unit), limit, self._needed
        )
        if fit is None:
            smallest = fit_box(
                self._shape, self._margin, Vec3(1, 1, 1), Vec3(1, unit, unit), 1 << 60, self._needed
            )
            size = list(smallest.size) if smallest else []
            least = self._needed(smallest.size) / 1e9 / _USABLE if smallest else 0
            raise ConfigError.one(
                "setup-env",
                "max_ram_size",
                f"{self.max_ram_size:g} GB is too little: the smallest box, {size}, takes {least:.3g}",
                "give more, or a smaller --max-mip or patch, or --dtype uint8",
            )
        return fit

    def _lattice(self, size: Vec3) -> Lattice:
        from chunkflow_worker.inference.lattice import make_lattice

        return make_lattice(
            "chunk", BoundingBox.sized((0, 0, 0), size), self._shape, margin=self._margin
        )

    def _needed(self, size: Vec3) -> int:
        """Bytes for a task whose patches run, and a second one in flight, which is read or written meanwhile."""
        from chunkflow_worker.inference.plan import memory

        task = memory(self._lattice(size), 1, self.channel_num, "uint8", self.dtype)
        copy = 0 if self._stored == self.dtype else size.product * self.channel_num * 4
        return task.total + max(task.image, task.output + copy)

    def _boxes(self, size: Vec3) -> Any:
        from chunkflow_worker.job.grid import Grid

        region = self._region
        return Grid(
            roi_start=region.start, roi_stop=region.stop, chunk_size=size, respect_chunk_size=False
        ).boxes()

    def _report(self, fit: Fit, block: Vec3) -> Iterator[str]:
        shape, lattice, boxes = self._shape, self._lattice(fit.size), self._boxes(fit.size)
        block_bytes = block.product * self.channel_num * (1 if self._stored == "uint8" else 4)
        utilization = fit.size.product / (lattice.count * shape.output.product)
        before = lattice.box.start - lattice.input_box.start
        yield f"output volume: {self._region} at mip {self.mip}, {self.channel_num} channels of {self._stored}"
        yield f"input patch size: {_text(shape.input)}"
        yield f"output patch size: {_text(shape.output)}"
        yield f"output patch overlap: {_text(shape.overlap)}, stride {_text(shape.stride)}"
        yield f"crop chunk margin: {_text(self._margin)}"
        yield f"patch num: {_text(fit.patches)}, {lattice.count} patches per box"
        yield f"output chunk size: {_text(fit.size)}"
        yield f"input chunk size: {_text(lattice.input_box.size)}, {_text(before)} voxels more on each side"
        yield f"block size: {_text(block)}, {block_bytes / 1e6:.3g} MB before compression"
        yield f"voxel utilization: {utilization:.0%}"
        yield f"memory: {self._needed(fit.size) / 1e9:.3g} GB for two tasks in flight, of {self.max_ram_size:g} GB"
        yield f"tasks: {len(boxes)}, {_text(boxes.grid_size)} along the axes, from {boxes[0]} to {boxes[-1]}"

    def _write_pipeline(self, file: Path, size: Vec3) -> None:
        import yaml

        from chunkflow_worker.storage.local_file import atomic_file

        shape, mip = self._shape, {"mip": self.mip} if self.mip else {}
        inference: dict[str, Any] = {
            "op": "inference",
            "framework": "pytorch",
            "convnet_model": _NET,
            "input_patch_size": list(shape.input),
            "output_patch_size": list(shape.output),
            "output_patch_overlap": list(shape.overlap),
            "output_crop_margin": list(self._margin),
            "num_output_channels": self.channel_num,
            "dtype": self.dtype,
        }
        save = {"op": "save-precomputed", "volume_path": self.layer_path, **mip}
        tasks = {"op": "generate-tasks", "volume_path": self.layer_path, **mip}
        content = {
            "tasks": tasks | {"chunk_size": list(size), "respect_chunk_size": False},
            "operators": [
                {"op": "load-precomputed", "volume_path": _IMAGE, **mip},
                inference,
                save | ({"create_thumbnail": True} if self.thumbnail else {}),
            ],
        }
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
        with atomic_file(file) as part:
            part.write_text(
                f"# Fill in {_IMAGE}, a volume with the voxels of the output, and {_NET}, with the framework that runs it\n"
                f"# (and its convnet_weight_path, where it has one). Check it: chunkflow-worker check {_FILE} --open\n{text}"
            )

    def _next_steps(self) -> Iterator[str]:
        queue = shlex.quote(self.queue_name or _queue_name(self.layer_path))
        yield f"  fill in {_IMAGE} and {_NET} in {_FILE}"
        yield f"  chunkflow-worker check {_FILE} --open"
        yield f"  chunkflow-producer queue create {queue} --visibility {self.visibility_timeout}"
        yield f"  chunkflow-producer enqueue --queue {queue} --pipeline {_FILE}"
        yield f"  chunkflow-worker run --queue {queue} --pipeline {_FILE}"


def _text(value: Vec3) -> str:
    return " ".join(map(str, value))


def _queue_name(path: str) -> str:
    import re

    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", path.rstrip("/").rsplit("/", 1)[-1])
    return plain.strip("-")[:75] or "inference"
