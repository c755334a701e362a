"""`Scene`: stored volumes, meshes, skeletons and points as the layers of one Neuroglancer page."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.storage.path import local_folder, normal_path
from chunkflow_worker.view.file_server import FileServer
from chunkflow_worker.view.shared_folder import Shared
from chunkflow_worker.volumes.scene.annotations import Annotations
from chunkflow_worker.volumes.scene.layers import Kind, Shown
from chunkflow_worker.volumes.scene.object_layer import object_layer, objects_in
from chunkflow_worker.volumes.scene.page import page_state, smallest
from chunkflow_worker.volumes.scene.points_layer import ENDINGS, annotations_in, points_layer
from chunkflow_worker.volumes.scene.source import source_of
from chunkflow_worker.volumes.scene.volume_layer import volume_layer

_VOLUME_KINDS = ("image", "segmentation", "map")


@dataclass(frozen=True)
class Asked:
    """One path to show. kind: None to find it out. name: of its layer."""

    path: str
    kind: Kind | None
    name: str


def is_here(path: str) -> bool:
    """Whether a path is one of this machine, which the public page can't read by itself."""
    return local_folder(normal_path(path)) is not None


@dataclass
class Scene:
    """The layers of a page.

    server: serves the folders of this machine; None if there are none.
    """

    server: FileServer | None = None
    shown: list[Shown] = field(default_factory=list)

    def add(self, asked: Asked) -> Shown:
        """Add a layer over the others. Raises ConfigError for what can't be shown, and errors of
        `open_volume`.
        """
        found = self._layer(asked)
        if found is None:
            problem = "is at a place that no browser can read"
            cure = "show a folder of this machine, or a path of s3://, gs:// or https://"
            raise ConfigError.one(normal_path(asked.path), "path", problem, cure)
        self.shown.append(found)
        return found

    def state(self) -> dict[str, Any]:
        """Of the page, as Neuroglancer's JSON."""
        layers = [each.layer for each in self.shown]
        volumes = [each.region for each in self.shown if each.kind in _VOLUME_KINDS]
        others = [each.region for each in self.shown]
        return page_state(layers, smallest(volumes) or smallest(others))

    def _layer(self, asked: Asked) -> Shown | None:
        here = local_folder(normal_path(asked.path))
        if here is not None and not here.exists():
            raise ConfigError.one(asked.path, "path", "does not exist", "check the path")
        is_file = here is not None and here.is_file()
        if here is not None and (is_file or asked.kind == "points"):
            return self._points(here, asked)
        if asked.kind == "points":
            problem, cure = "is in a bucket, and points are read from this machine", "copy it first"
            raise ConfigError.one(normal_path(asked.path), "path", problem, cure)
        objects = asked.kind if asked.kind in ("mesh", "skeleton") else None
        if asked.kind is None:
            objects = objects_in(asked.path)
        if objects is not None:
            folder = _object_folder(asked.path, objects)
            return object_layer(folder, asked.name, self._source, objects)
        over = any(each.kind == "image" for each in self.shown)
        return volume_layer(asked.path, asked.name, self._source, asked.kind, over)

    def _source(self, place: str, driver: str) -> str:
        folder = local_folder(place)
        if folder is None:
            return source_of(place, driver)
        return source_of(self._share(folder.name, Shared(folder)), driver)

    def _share(self, name: str, shared: Shared) -> str:
        if self.server is None:
            return ""
        return self.server.share(_unlike(name, self.server.shared), shared)

    def _points(self, path: Path, asked: Asked) -> Shown:
        if asked.kind not in (None, "points") or not path.name.endswith(ENDINGS):
            problem = "is a file, and what is shown is a folder or a file of points or synapses"
            cure = f"give a file that ends with {' or '.join(ENDINGS)}, or the folder of a volume"
            raise ConfigError.one(str(path), "path", problem, cure)

        def serve(some: Annotations) -> str:
            return source_of(self._share(path.stem, Shared(None, some.file)), "")

        return points_layer(annotations_in(path), asked.name, serve)


def _object_folder(path: str, kind: str) -> str:
    """The folder of meshes or skeletons that a path means, which may be that of their volume."""
    from chunkflow_worker.volumes.mesh import mesh_folder, skeleton_folder

    return mesh_folder(path) if kind == "mesh" else skeleton_folder(path)


def names_of(paths: Sequence[str], given: Sequence[str]) -> list[str]:
    """Names of the layers: those that are given, else the last part of each path; all different."""
    names: list[str] = []
    for number, path in enumerate(paths):
        wanted = given[number] if number < len(given) else normal_path(path).rpartition("/")[2]
        names.append(_unlike(wanted, names))
    return names


def _unlike(name: str, taken: Container[str]) -> str:
    """The name, with a number if it is taken."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name} {number}"
    return found
