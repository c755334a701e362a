"""Scenario `shards`: workers that write shards are killed and replaced, as in `kills`.

Each task writes one shard. The shards must be those of a calm run, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chunkflow_worker.image.bbox import Vec3
from tests.chaos import kills
from tests.chaos.report import Report
from tests.support.service import BLOCK

FORMATS = {"precomputed": "precomputed", "Zarr 3": "zarr3"}
BLOCKS = Vec3(2, 2, 2)  # of a shard
STORED: dict[str, Any] = {"block": BLOCK // BLOCKS, "shard_size": BLOCK}


def scenario(folder: Path, aws: dict[str, str], seed: int, **options: Any) -> Report:
    """options: of `kills.run`."""
    rows: list[Sequence[object]] = []
    broken: list[str] = []
    for name, out_format in FORMATS.items():
        root = folder / out_format
        root.mkdir()
        given = {"tasks": 64} | options
        outcome = kills.run(root, aws, seed, **given, out_format=out_format, **STORED)
        seed_of, *figures = outcome.row()
        rows.append([seed_of, name, *figures])
        broken += [f"{promise} ({name})" for promise in outcome.broken]
    columns = [kills.COLUMNS[0], "format", *kills.COLUMNS[1:]]
    return Report("shards", columns, rows, broken)
