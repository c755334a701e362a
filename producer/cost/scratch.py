"""`Scratch`: a chain that reads what the job reads, and writes to a place of its own.

Every path that the chain writes to becomes one below that place, also where it is read. Outputs
that exist are copied without their voxels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from chunkflow_worker.config.places import split_format
from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.path import normal_path
from chunkflow_worker.volumes.levels import levels_of
from chunkflow_worker.volumes.open_volume import find_info_at
from chunkflow_worker.volumes.zarr.metadata import METADATA_FILES


@dataclass
class Scratch:
    """folder: exists, and is empty. place: for what the chain writes; empty for the folder.

    moved: the paths of the job -> those below the place.
    """

    folder: Path
    place: str = ""
    moved: dict[str, str] = field(default_factory=dict)

    @property
    def ledger(self) -> Ledger:
        return Ledger(f"file://{self.folder}/ledger")

    def write_chain(self, operators: list[dict[str, Any]]) -> Path:
        """Write the pipeline file of the chain. Raises ConfigError and StorageUnavailable."""
        chain = [Configured.read(operator) for operator in operators]
        made: set[str] = set()
        for operator in chain:
            for _, path in operator.paths(written=True):
                self._move(path)
            for use in () if operator.facts.creates_output else operator.saves():
                if normal_path(use.path) not in made:
                    _copy_description(use.path, self.moved[normal_path(use.path)])
            made.update(map(normal_path, operator.creates()))
        moved = [
            self._moved(operator, given) for operator, given in zip(chain, operators, strict=True)
        ]
        file = self.folder / "pipeline.yaml"
        file.write_text(yaml.safe_dump({"operators": moved}), encoding="utf-8")
        return file

    def original(self, path: str) -> str:
        """The path of the job that one below the place stands for."""
        for old, new in self.moved.items():
            if path == new or path.startswith(f"{new}/"):
                return f"{old}{path.removeprefix(new)}"
        return path

    def _move(self, path: str) -> None:
        """Find a path below the place for one of the job; files of this machine stay here."""
        old = _place(path)
        if old not in self.moved:
            number = str(len(self.moved))
            (self.folder / number).mkdir()
            place = self.place if "://" in old and not old.startswith("file://") else ""
            name = Path(old).name if path else ""
            self.moved[old] = f"{place or f'file://{self.folder}'}/{number}/{name}".rstrip("/")

    def _moved(self, operator: Configured, given: dict[str, Any]) -> dict[str, Any]:
        """The options of an operator, with the paths below the place."""
        changed = dict(given)
        for place in operator.facts.places(operator.options):
            path = operator.options.get(place.option)
            if path is None and place.is_local and place.is_written:
                path = ""  # the current folder
            if not isinstance(path, str) or _place(path) not in self.moved:
                continue
            target = self.moved[_place(path)]
            if place.is_local:
                target = target.removeprefix("file://")
            end = "/" if path.endswith("/") or not path else ""
            named = split_format(path)[0]
            changed[place.option] = f"{named}://{target}{end}" if named else f"{target}{end}"
        return changed


def _place(path: str) -> str:
    """A path in its normal form; nothing stands for the current folder."""
    return normal_path(path or str(Path.cwd()))


def _copy_description(address: str, target: str) -> None:
    """Copy what describes a volume, and none of its voxels."""
    source = normal_path(address)
    info = find_info_at(address)
    if info is not None:
        Files(target).put_json("info", info)
        return
    levels = levels_of(address, Vec3(1, 1, 1), 0, output=True)
    paths = {source, *(levels.level(mip).path for mip in range(levels.count))}
    for path in paths:
        for name, content in Files(path).get_all(sorted(METADATA_FILES)).items():
            if content is not None:
                below = path.removeprefix(source)
                Files(f"{target}{below}").put(name, content, "application/json")
