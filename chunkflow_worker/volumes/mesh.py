"""Meshes of precomputed volumes: the folder that holds them, and reading them by CloudVolume.

The folder of skeletons is named here, too.
"""

from __future__ import annotations

import struct
from typing import Any

from chunkflow_worker.errors import ConfigError, DataMissing, Mistake
from chunkflow_worker.image.chunk import VoxelSize
from chunkflow_worker.storage.cloud import cloud_volume, storage_errors
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.path import normal_path
from chunkflow_worker.volumes.precomputed.info import read_scale
from chunkflow_worker.volumes.precomputed.reading import check_sharding, folder_below

MULTIRES_SUFFIX = "_multires"
"""A folder of meshes in several resolutions has the name of its folder of fragments and this."""
MULTIRES = "neuroglancer_multilod_draco"
"""The format of such meshes, as the info of their folder names it."""


def is_volume(path: str) -> bool:
    """Whether `path` holds the info file of a precomputed volume. Raises StorageUnavailable."""
    return _is_volume(Files(path).get_json("info"))


def mesh_folder(path: str) -> str:
    """The folder of meshes that a volume's info names; `path` itself when it is no volume.

    Raises ConfigError when the info names no folder, and StorageUnavailable.
    """
    return _named_folder(path, "mesh", "meshes")


def skeleton_folder(path: str) -> str:
    """The same of skeletons."""
    return _named_folder(path, "skeletons", "skeletons")


def _named_folder(path: str, key: str, what: str) -> str:
    info = Files(path).get_json("info")
    if not _is_volume(info):
        return normal_path(path)
    if not info.get(key):
        cure = f"write the {what} of the volume first, or give their folder"
        raise ConfigError.one(normal_path(path), "info", f"names no folder of {what}", cure)
    return f"{normal_path(path)}/{_below(info[key], f'{normal_path(path)}/info', key)}"


def _below(name: Any, subject: str, place: str) -> str:
    """A name that a file gives. Raises ConfigError if it leads out of the folder."""
    try:
        return folder_below(name)
    except Mistake as mistake:
        problem = f"{str(name)[:60]!r} {mistake.problem}"
        raise ConfigError.one(subject, place, problem, mistake.cure) from None


def fragment_folder(path: str, mip: int, default: str, write: bool) -> tuple[str, VoxelSize]:
    """The folder for the mesh fragments of a volume, and the voxel size of a mip level.

    default: name of the folder when the volume's info names none.
    write: store that name in the info.
    Raises ConfigError when there is no such volume or mip level, and StorageUnavailable.
    """
    info, scale = read_scale(path, mip, output=True)
    folder = info.get("mesh") or default
    if write and not info.get("mesh"):
        files = Files(path)
        files.put_info(files.get_json("info") | {"mesh": folder})
    z, y, x = (float(n) for n in scale["resolution"][::-1])
    return f"{normal_path(path)}/{folder.removesuffix(MULTIRES_SUFFIX)}", (z, y, x)


def set_mesh_folder(path: str, folder: str) -> None:
    """Make the info of a volume name `folder`, which lies below it; does nothing without a volume.

    Raises StorageUnavailable.
    """
    _name_folder(path, "mesh", folder)


def set_skeleton_folder(folder: str) -> None:
    """Make the info of the volume that `folder` lies directly in name it; nothing without a volume.

    Raises StorageUnavailable.
    """
    _name_folder(normal_path(folder).rpartition("/")[0], "skeletons", normal_path(folder))


def _name_folder(path: str, key: str, folder: str) -> None:
    info = Files(path).get_json("info")
    name = folder.removeprefix(f"{normal_path(path)}/")
    if _is_volume(info) and info.get(key) != name:
        Files(path).put_info(info | {key: name})


def _is_volume(info: Any) -> bool:
    return isinstance(info, dict) and bool(info.get("scales"))


def check_shards(info: dict[str, Any], folder: str) -> None:
    """Raise ConfigError if the info of a folder describes shards that cannot be."""
    try:
        check_sharding(info["sharding"])
    except Mistake as mistake:
        raise mistake.at(f"{folder}/info", "sharding") from None


class MeshSource:
    """Reads meshes in any of Neuroglancer's formats.

    path: a volume, or a folder of meshes.
    Raises ConfigError when a volume names no folder of meshes or its info is wrong, and
    StorageUnavailable.
    """

    def __init__(self, path: str):
        self.path = mesh_folder(path)
        volume = normal_path(path)
        if self.path != volume:
            info = read_scale(path, 0)[0]
        else:
            # CloudVolume reads meshes of volumes only, so invent one around the folder.
            volume = volume.rpartition("/")[0]
            info = info_of_any_volume()
        own = Files(self.path).get_json("info")
        own = own if isinstance(own, dict) else {}
        if own.get("sharding"):
            check_shards(own, self.path)
        self._has_manifests = own.get("@type") != MULTIRES
        with storage_errors(self.path):
            self._open(volume, info, own)

    def _open(self, volume: str, info: dict[str, Any], own: dict[str, Any]) -> None:
        """Open the meshes without their spatial index, which lies in the bounds of some mip."""
        from cloudvolume.datasource.precomputed.mesh import PrecomputedMeshSource

        info = {key: value for key, value in info.items() if key not in ("mesh", "skeletons")}
        opened = cloud_volume(volume, info=info, cache=False)
        opened.meta.info["mesh"] = self.path.removeprefix(f"{volume}/")
        shown = {key: value for key, value in own.items() if key != "spatial_index"}
        self._source = PrecomputedMeshSource(
            opened.meta, opened.cache, opened.config, readonly=True, info=shown
        )

    def read(self, object_id: int) -> Any:
        """The mesh of an object: vertices x, y, z in nanometres, faces, to_ply() and to_obj().

        Raises DataMissing when there is no whole mesh, and StorageUnavailable.
        """
        from cloudfiles.exceptions import DecompressionError
        from cloudvolume.exceptions import EmptyFileException, SpecViolation
        from DracoPy import FileTypeException

        damage = (
            ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error,
            DecompressionError, EmptyFileException, FileTypeException, SpecViolation,
        )  # fmt: skip
        if self._has_manifests:
            self._check_fragments(object_id)
        try:
            with storage_errors(self.path):
                found = self._source.get(object_id)
        except damage as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            cure = "; write the manifests of the fragments first" if self._has_manifests else ""
            raise DataMissing(
                f"{self.path} has no whole mesh of object {object_id}: {reason}{cure}"
            ) from error
        mesh = found[object_id] if isinstance(found, dict) else found
        if len(mesh.faces) == 0:
            raise DataMissing(f"{self.path} has an empty mesh of object {object_id}")
        return mesh

    def _check_fragments(self, object_id: int) -> None:
        """Raise ConfigError if the manifest of an object names files outside of the folder."""
        manifest = f"{object_id}:0"
        content = Files(self.path).get_json(manifest)
        names = content.get("fragments") if isinstance(content, dict) else None
        for name in names if isinstance(names, list) else ():
            if not isinstance(name, str) or "/" in name or name == "..":
                _below(f"/{name}", f"{self.path}/{manifest}", "fragments")


def info_of_any_volume() -> Any:
    """The info of a volume that CloudVolume opens around a folder of objects."""
    from cloudvolume import CloudVolume

    size = (1, 1, 1)
    return CloudVolume.create_new_info(1, "segmentation", "uint64", "raw", size, (0, 0, 0), size)
