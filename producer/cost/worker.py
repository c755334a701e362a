"""`ask_worker`: what tasks read, compute and hold in memory, which only the worker knows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3

_COMMAND = "from chunkflow_worker.cli.worker import main; main()"
Axis = list[tuple[int, int]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Reads(_Part):
    """What an operator reads of a volume for the boxes at each place along z, y and x.

    places: the first voxel, and that after the last one, of that mip.
    """

    label: str
    path: str
    mip: int
    places: tuple[Axis, Axis, Axis]


class Computes(_Part):
    """The patches of an operator by the place of a box along z, y and x: their product counts."""

    label: str
    patches: tuple[list[int], list[int], list[int]]
    patch_voxels: int


class Needs(_Part):
    """What a task takes, in bytes; see `chunkflow-worker check --json`."""

    chunk_size: Vec3
    task_bytes: int
    further_bytes: int
    cache_bytes: int
    reads: tuple[Reads, ...]
    computes: tuple[Computes, ...]


def ask_worker(pipeline: Path, sizes: Iterable[Vec3], region: BoundingBox) -> list[Needs]:
    """What tasks of these sizes take, whose boxes cut a region. Runs `chunkflow-worker check`.

    Raises ConfigError with what the command says when it refuses the chain or the region.
    """
    words = ["check", str(pipeline), "--json", f"--region={region}"]
    for size in sizes:
        words += ["--chunk-size", *map(str, size)]
    done = _run(words)
    if done.returncode:
        raise ConfigError.one("chunkflow-worker check", str(pipeline), done.stderr.strip())
    return [Needs.model_validate(found) for found in json.loads(done.stdout)["needs"]]


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `chunkflow-worker`."""
    command = [sys.executable, "-c", _COMMAND, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)
