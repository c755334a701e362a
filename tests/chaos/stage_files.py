"""A pipeline file of four stages that label objects, and the output of a calm run of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from chunkflow_worker.cli import chunkflow
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.tree import Tree
from chunkflow_worker.storage.files import Files
from chunkflow_worker.volumes.create_volume import create_volume
from tests.chaos.calm import blocks, place_on_s3
from tests.support.run_command import run_command
from tests.support.service import BLOCK, Service

Operators = list[dict[str, Any]]
STAGES = ("label", "merge", "relabel", "table")
_VOLUMES, _FOLDERS = {"parts": "uint64", "objects": "uint32"}, ("labels", "table")


def prepare(service: Service, boxes: Vec3, seconds: float) -> None:
    """Write the file and its input. boxes: of the grid. seconds: that a task takes at least."""
    place_on_s3(service, service.queue)
    bounds = service.volumes(boxes * BLOCK)
    for name, dtype in _VOLUMES.items():
        create_volume(
            service.path(name),
            bounds=bounds,
            voxel_size=(40, 8, 8),
            block_size=BLOCK,
            dtype=dtype,
            layer_type="segmentation",
        )
    hold = [{"op": "hold", "folder": str(service.root), "seconds": seconds}] if seconds else []
    of_boxes = {"op": "generate-tasks", "volume_path": service.path("in"), "chunk_size": [*BLOCK]}
    stages = [
        {"name": "label", "tasks": of_boxes, "verify": True},
        {"name": "merge", "tasks": {"tree_of": "label"}},
        {"name": "relabel", "tasks": of_boxes, "needs": ["merge"]},
        {"name": "table", "tasks": {"tree_of": "label"}, "needs": ["merge"]},
    ]
    chains = _chains(service, hold)
    made = [stage | {"operators": chains[str(stage["name"])]} for stage in stages]
    service.pipeline.write_text(yaml.safe_dump({"stages": made}))


def _chains(service: Service, hold: Operators) -> dict[str, Operators]:
    """The operators of each stage, with those that take time."""
    work = {"work_path": service.path("labels")}
    return {
        "label": [
            {"op": "load-precomputed", "volume_path": service.path("in")},
            {"op": "connected-components", "threshold": 190},
            *hold,
            {"op": "unique-labels", "chunk_size": [*BLOCK]} | work,
            {"op": "save-precomputed", "volume_path": service.path("parts")},
        ],
        "merge": [*hold, {"op": "merge-labels", "min_size": 3} | work, *hold],
        "relabel": [
            {"op": "load-precomputed", "volume_path": service.path("parts")},
            *hold,
            {"op": "relabel", "compact": True, "dtype": "uint32"} | work,
            {"op": "save-precomputed", "volume_path": service.path("objects")},
        ],
        "table": [
            {"op": "object-table", "output_path": service.path("table"), "compact": True} | work,
            *hold,
        ],
    }


def tasks_of(boxes: Vec3) -> int:
    """The tasks of all stages."""
    grid = Grid(roi_start=Vec3(0, 0, 0), chunk_size=BLOCK, grid_size=boxes).boxes()
    return 2 * len(grid) + 2 * sum(map(len, Tree(grid).waves()))


def ledgers(service: Service) -> Iterator[Ledger]:
    for name in STAGES:
        yield Ledger(f"{service.path('objects')}/log/stages/{name}")


def output(service: Service) -> dict[str, bytes]:
    """All that the stages made: blocks, and the files of the labelling and of the table."""
    made = {
        f"{name}/{key}": data for name in _VOLUMES for key, data in blocks(service, name).items()
    }
    for name in _FOLDERS:
        files = Files(service.path(name))
        names = [found.name for found in files.listed(deep=True)]
        made |= {f"{name}/{key}": data or b"" for key, data in files.get_all(names).items()}
    return made


def calm_output(aws: dict[str, str], boxes: Vec3) -> dict[str, bytes]:
    """The output of the file in one process, without queue and faults."""
    return _calm_output(tuple(sorted(aws.items())), boxes)


@cache
def _calm_output(aws: tuple[tuple[str, str], ...], boxes: Vec3) -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        service = Service(Path(folder), "stages-calm", dict(aws))
        prepare(service, boxes, 0)
        arguments = ("--pipeline", str(service.pipeline))
        done = run_command(chunkflow.main, *arguments, environment=service.environment)
        assert done.status == 0, done.stderr
        return output(service)
