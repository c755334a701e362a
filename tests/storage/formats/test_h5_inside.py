"""HDF5 files that would read other files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from chunkflow_worker.errors import DataMissing, DataRefused
from chunkflow_worker.pipeline.operator import find_operator

SECRET = np.frombuffer(b"TOPSECRET" * 8, np.uint8)[:64].reshape(4, 4, 4)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """An HDF5 file that the reader may read, and a stranger's file may not; its name is secret."""
    (tmp_path / "private").mkdir()
    path = tmp_path / "private" / "secret"
    with h5py.File(path, "w") as file:
        file["main"] = SECRET
        file["group/main"] = SECRET
    return path


def external_storage(file: Any, other: Path) -> None:
    other.write_bytes(SECRET.tobytes())
    file.create_dataset("main", SECRET.shape, "u1", external=[(str(other), 0, 64)])


def external_storage_in_parts(file: Any, other: Path) -> None:
    other.write_bytes(SECRET.tobytes())
    parts = [(str(other), 32 * n, 32) for n in range(2)]
    file.create_dataset("group/main", SECRET.shape, "u1", external=parts)


def external_link(file: Any, other: Path) -> None:
    file["main"] = h5py.ExternalLink(str(other), "/main")


def external_link_above(file: Any, other: Path) -> None:
    file["group"] = h5py.ExternalLink(str(other), "/group")


def soft_link_through_an_external_link(file: Any, other: Path) -> None:
    file["hidden"] = h5py.ExternalLink(str(other), "/group")
    file["main"] = h5py.SoftLink("/hidden/main")


def virtual(file: Any, other: Path) -> None:
    layout = h5py.VirtualLayout(SECRET.shape, "u1")
    layout[:] = h5py.VirtualSource(str(other), "main", shape=SECRET.shape)
    file.create_virtual_dataset("main", layout)


def virtual_over_external_storage(file: Any, other: Path) -> None:
    external_storage(file, other)
    file.move("main", "unique_hidden")  # passed over, as datasets beside the voxels
    layout = h5py.VirtualLayout(SECRET.shape, "u1")
    layout[:] = h5py.VirtualSource(".", "unique_hidden", shape=SECRET.shape)
    file.create_virtual_dataset("main", layout)


WAYS = [
    external_storage,
    external_storage_in_parts,
    external_link,
    external_link_above,
    soft_link_through_an_external_link,
    virtual,
    virtual_over_external_storage,
]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_voxels_of_other_files_are_refused(
    run_step: Any, tmp_path: Path, other: Path, way: Callable[[Any, Path], None], named: bool
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        way(file, other)
        name = "group/main" if "group" in file else "main"
    options = {"dataset_path": name} if named else {}
    with pytest.raises(DataRefused, match=r"a file may not read[^\n]*\n +copy what it needs"):
        run_step(find_operator("load-h5")(file_name=str(path), **options))


@pytest.mark.parametrize("way", WAYS)
def test_synapses_of_other_files_are_refused(
    run_step: Any, tmp_path: Path, other: Path, way: Callable[[Any, Path], None]
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        way(file, other)
        if "group" in file:
            return  # groups of such a file are not read
    with pytest.raises(DataRefused, match="a file may not read"):
        run_step(find_operator("load-synapses")(file_path=str(path)))


@pytest.mark.parametrize("beside", ["link", "storage"])
def test_what_is_said_of_voxels_is_not_taken_from_other_files(
    run_step: Any, tmp_path: Path, other: Path, beside: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["em"] = SECRET
        if beside == "link":
            file["resolution"] = h5py.ExternalLink(str(other), "/resolution")
        else:
            file.create_dataset("resolution", (3,), "f8", external=[(str(other), 0, 24)])
    with h5py.File(other, "a") as file:
        file["resolution"] = np.array([40.0, 4, 4])
    task = run_step(find_operator("load-h5")(file_name=f"{tmp_path}/a.h5", dataset_path="em"))
    assert task.chunk("chunk").voxel_size == (1, 1, 1)


def test_a_virtual_dataset_of_the_same_file_is_read(run_step: Any, tmp_path: Path) -> None:
    layout = h5py.VirtualLayout(SECRET.shape, "u1")
    for z in range(4):
        layout[z] = h5py.VirtualSource(".", f"unique/{z}", shape=(4, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for z in range(4):
            file[f"unique/{z}"] = SECRET[z]
        file.create_virtual_dataset("main", layout)
    task = run_step(find_operator("load-h5")(file_name=f"{tmp_path}/a.h5"))
    assert np.array_equal(task.chunk("chunk").array, SECRET)


def test_links_in_a_circle_lead_nowhere(run_step: Any, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["main"], file["other"] = h5py.SoftLink("/other"), h5py.SoftLink("/main")
    with pytest.raises(DataMissing, match="'main' leads to '/other', which is missing"):
        run_step(find_operator("load-h5")(file_name=f"{tmp_path}/a.h5", dataset_path="main"))
