"""Meshes of precomputed volumes: where they lie, and reading them by CloudVolume."""

from __future__ import annotations

import struct
from typing import Any

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.image.chunk import VoxelSize
from chunkflow_worker.storage.files import Files, normal_path, prepare_environment, storage_errors
from chunkflow_worker.storage.precomputed import read_info

MULTIRES = "_multires"
"""End of the name of a folder of meshes of several resolutions, which lies beside that of their fragments."""


def mesh_folder(path: str) -> str:
    """The folder of meshes that a volume's info names; `path` itself when there is no volume.

    Raises ConfigError when the volume names none.
    """
    info = Files(path).get_json("info")
    if not isinstance(info, dict) or not info.get("scales"):
        return normal_path(path)
    if not info.get("mesh"):
        raise ConfigError.one(
            normal_path(path),
            "info",
            "names no folder of meshes",
            "write the meshes of the volume first",
        )
    return f"{normal_path(path)}/{info['mesh']}"


def name_mesh_folder(path: str, mip: int, folder: str, write: bool) -> tuple[str, VoxelSize]:
    """The folder of fragments of a volume, with `folder` as its name when it has none yet, and the size of a voxel of the mip.

    write: put the name in the volume's info.
    """
    info = read_info(path)
    if not 0 <= mip < len(info["scales"]):
        raise ConfigError.one(
            normal_path(path),
            "mip",
            f"{mip} does not exist",
            f"it has mips 0 to {len(info['scales']) - 1}",
        )
    if not info.get("mesh"):
        info["mesh"] = folder
        if write:
            Files(path).put_json("info", info)
    z, y, x = (float(n) for n in info["scales"][mip]["resolution"][::-1])
    return f"{normal_path(path)}/{info['mesh'].removesuffix(MULTIRES)}", (z, y, x)


def point_to_meshes(path: str, folder: str) -> None:
    """Let the info of the volume at `path` name a folder of meshes below it; nothing when there is no volume."""
    info = Files(path).get_json("info")
    name = folder.removeprefix(f"{normal_path(path)}/")
    if isinstance(info, dict) and info.get("scales") and info.get("mesh") != name:
        Files(path).put_json("info", info | {"mesh": name})


class MeshSource:
    """Reads the meshes of a volume, or of a folder of meshes, in any of Neuroglancer's formats."""

    def __init__(self, path: str):
        prepare_environment()
        from cloudvolume import CloudVolume

        self.path = mesh_folder(path)
        root, info = normal_path(path), None
        if (
            self.path == root
        ):  # CloudVolume reads meshes of volumes only: take the folder for that of a volume around it
            root, _, folder = root.rpartition("/")
            size = (1, 1, 1)
            info = CloudVolume.create_new_info(
                1, "segmentation", "uint64", "raw", size, (0, 0, 0), size, mesh=folder
            )
        with storage_errors(self.path):
            self._volume = CloudVolume(
                root, info=info, progress=False, cache=False
            )  # its meshes hold it weakly
            self._source = self._volume.mesh

    def read(self, object_id: int) -> Any:
        """The mesh of an object: vertices x, y, z in nanometres, faces, to_ply() and to_obj(). Raises DataMissing."""
        try:
            with storage_errors(self.path):
                found = self._source.get(object_id)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, struct.error) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            cure = "write the manifests of the fragments first"
            raise DataMissing(
                f"{self.path} has no whole mesh of object {object_id}: {reason}; {cure}"
            ) from error
        mesh = found[object_id] if isinstance(found, dict) else found
        if len(mesh.faces) == 0:
            raise DataMissing(f"{self.path} has an empty mesh of object {object_id}")
        return mesh
