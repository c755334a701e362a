"""`Forecast`: what a job will take, as `plan` prints it and writes it as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from chunkflow_worker.image.bbox import Vec3
from producer.cost.alignment import Alignment
from producer.cost.bill import Bill
from producer.cost.fleet import Fleet
from producer.cost.seconds import TaskTimes


@dataclass(frozen=True)
class Counts:
    """Numbers of boxes. total: of the grid. to_do: that the plan is for."""

    total: int
    empty_by_mask: int
    empty_by_level: int
    done: int
    to_do: int


@dataclass(frozen=True)
class Voxels:
    """Numbers of voxels, of all tasks.

    boxes: of the boxes, with what lies outside of the image. output: of what lies inside.
    read: with margins. in_blocks: of the whole blocks that are read for that.
    computed: that nets return for their patches; 0 without a net.
    of_read, of_computed: voxels of the output for each that is read, or computed.
    """

    boxes: int
    output: int
    read: int
    in_blocks: int
    computed: int

    @property
    def of_read(self) -> float:
        return self.output / self.read if self.read else 1.0

    @property
    def of_computed(self) -> float:
        return self.output / self.computed if self.computed else 1.0


@dataclass(frozen=True)
class Memory:
    """Bytes. task: of one alone. worker: of a process with all its tasks in flight.

    source: where the worker's is from, for people.
    """

    task: int
    worker: int
    source: str


@dataclass(frozen=True)
class Volume:
    """What is read of a level (use: input), or written to it (use: output).

    blocks: that boxes touch. voxel_bytes, stored_bytes: of whole blocks, before and after
    compression. ratio_source: where the compression is from, for people.
    """

    path: str
    mip: int
    use: str
    voxels: int
    blocks: int
    voxel_bytes: int
    stored_bytes: float
    ratio: float
    ratio_source: str


@dataclass(frozen=True)
class Option:
    """What a number of machines takes: requests by service, dollars, and each kind of machine."""

    machines: int
    requests: dict[str, dict[str, float]]
    bytes_in: float
    bytes_out: float
    bill: Bill
    fleets: tuple[Fleet, ...]


@dataclass(frozen=True)
class Forecast:
    """Sizes are zyx, times seconds, memory bytes, money US dollars.

    objects: that the job makes. times: None if nothing tells them.
    """

    job: str
    pipeline: str
    chunk_size: Vec3
    boxes: Counts
    alignment: tuple[Alignment, ...]
    voxels: Voxels
    memory: Memory
    volumes: tuple[Volume, ...]
    objects: int
    times: TaskTimes | None
    options: tuple[Option, ...]
    prices: str
    assumptions: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)
