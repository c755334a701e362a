"""HDF5 files that can't be opened, and those of several datasets."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from chunkflow_worker.errors import ConfigError, DataMissing, StorageUnavailable
from chunkflow_worker.image.chunk import Chunk
from chunkflow_worker.pipeline.operator import find_operator
from chunkflow_worker.storage.formats.h5_file import check_readable, open_h5, voxel_dataset

EM, IDS = np.zeros((2, 3, 4), np.uint8), np.ones((2, 3, 4), np.uint64)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(**datasets: Any) -> Path:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name, data in datasets.items():
                file[name.replace("__", "/")] = data
        return tmp_path / "a.h5"

    return write


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As HDF5 does while a program writes: flock, which another open file conflicts with."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize(
    ("loader", "option"), [("load-h5", "file_name"), ("load-synapses", "file_path")]
)
def test_a_file_that_another_program_writes_is_locked(
    run_step: Any, write: Callable[..., Path], loader: str, option: str
) -> None:
    path = write(main=EM)
    lines = r"a\.h5 is locked by HDF5: another process has it open.*\n.*HDF5_USE_FILE_LOCKING=FALSE"
    with locked(path), pytest.raises(StorageUnavailable, match=lines):
        run_step(find_operator(loader)(**{option: str(path)}))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("operator", ["load-h5", "save-h5"])
def test_a_file_system_without_locks_is_named(
    run_step: Any, write: Callable[..., Path], monkeypatch: Any, operator: str, number: int
) -> None:
    path = write(main=EM)

    def refuse(*_: object) -> None:
        raise OSError(number, f"Unable to open file (unable to lock file, errno = {number})")

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(StorageUnavailable, match=r"no file locks.*\n.*HDF5_USE_FILE_LOCKING=FALSE"):
        run_step(find_operator(operator)(file_name=str(path)), chunk=Chunk(EM))


def test_a_file_of_a_program_that_was_killed_is_told(tmp_path: Path) -> None:
    """The newer format of HDF5 marks a file as long as it is open for writing."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["main"] = EM
    code = f"import h5py, os; file = h5py.File({str(path)!r}, 'r+', libver='latest'); os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    lines = r"a\.h5 is marked as open for writing.*\n.*h5clear -s .*a\.h5"
    with pytest.raises(StorageUnavailable, match=lines), open_h5(path):
        pass


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"II*\0" + bytes(600), "it is a TIFF file"),
        (b"MATLAB 5.0 MAT-file" + bytes(600), "it is a MATLAB file of the format before 7.3"),
        (b"PK\x03\x04" + bytes(600), "it is a ZIP archive"),
        (b"voxels" * 100, "it does not begin like one"),
    ],
)
def test_another_format_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(DataMissing, match=kind), open_h5(tmp_path / "a.h5"):
        pass


def test_a_file_whose_end_is_missing(write: Callable[..., Path]) -> None:
    path = write(main=EM)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataMissing, match="its end is missing"), open_h5(path):
        pass


@pytest.mark.parametrize(
    ("names", "chosen", "is_told"),
    [
        (["exported_data"], "exported_data", False),
        (["volumes__labels__neuron_ids"], "volumes/labels/neuron_ids", False),
        (["aa", "main", "raw"], "main", True),
        (["aa", "raw"], "raw", True),
        (["volumes__raw", "volumes__labels__neuron_ids"], "volumes/raw", True),
        (["main", "global_offset", "unique_ids", "voxel_size"], "main", False),
    ],
)
def test_the_only_dataset_of_voxels_or_main_or_raw(
    write: Callable[..., Path], names: list[str], chosen: str, is_told: bool
) -> None:
    path = write(**dict.fromkeys(names, EM), table=np.zeros((5, 3)), voxel_offset=[0, 0, 0])
    with open_h5(path) as file:
        data, passed_over = voxel_dataset(file, None, path)
        assert data.name == f"/{chosen}"
        assert bool(passed_over) == is_told
        others = [name.replace("__", "/") for name in names if name.replace("__", "/") != chosen]
        assert not is_told or all(f"{name} (2x3x4 uint8)" in passed_over for name in others)


@pytest.mark.parametrize(
    ("datasets", "listed"),
    [
        ({"em": EM, "labels": IDS}, r"em \(2x3x4 uint8\), labels \(2x3x4 uint64\)"),
        (
            {"t00000__s00__0__cells": EM, "t00000__s00__1__cells": EM[:1]},
            r"t00000/s00/0/cells \(2x3x4 uint8\), t00000/s00/1/cells \(1x3x4 uint8\)",
        ),
        ({"a__raw": EM, "b__raw": EM}, r"a/raw \(2x3x4 uint8\), b/raw"),
        ({f"d{i:02d}": EM for i in range(12)}, "d00 .* and 4 others"),
    ],
)
def test_one_of_several_datasets_must_be_chosen(
    run_step: Any, write: Callable[..., Path], datasets: dict[str, Any], listed: str
) -> None:
    """Not the first of the alphabet, which may be the labels."""
    path = write(**datasets)
    with pytest.raises(ConfigError, match=f"several datasets of voxels: {listed}.*\n.*-d "):
        run_step(find_operator("load-h5")(file_name=str(path)))


def test_links_are_followed_and_dead_ones_are_left(write: Callable[..., Path]) -> None:
    path = write(group__em=EM)
    with h5py.File(path, "a") as file:
        file["em"] = h5py.SoftLink("/group/em")
        file["dead"] = h5py.SoftLink("/none")
    with open_h5(path) as file:
        for name in (None, "em", "/em", "group/em", "./group//em"):
            data, passed_over = voxel_dataset(file, name, path)
            assert np.array_equal(data[()], EM)
            assert not passed_over


@pytest.mark.parametrize("name", ["none", "group", "", "group/none", "main/0"])
def test_the_datasets_are_listed_if_a_wrong_one_is_named(
    write: Callable[..., Path], name: str
) -> None:
    path = write(main=EM, group__ids=IDS)
    lines = r"dataset_path: .*\n.*the file has: group/ids \(2x3x4 uint64\), main \(2x3x4 uint8\)"
    with open_h5(path) as file, pytest.raises(ConfigError, match=lines):
        voxel_dataset(file, name, path)


@pytest.mark.parametrize(
    ("number", "name"), [(32001, "Blosc"), (32015, "Zstandard"), (32026, "Blosc2"), (400, "400")]
)
def test_a_filter_that_is_not_installed_is_named(
    write: Callable[..., Path], monkeypatch: Any, number: int, name: str
) -> None:
    path = write()
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((2, 3, 4))
        properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((2, 3, 4))
        h5py.h5d.create(file.id, b"main", h5py.h5t.NATIVE_UINT8, space, properties)
    lines = f"main: is compressed by the filter .*{name}.*\n.*pip install hdf5plugin"
    with open_h5(path) as file, pytest.raises(ConfigError, match=lines):
        check_readable(file["main"], path)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda _: True)
    with open_h5(path) as file:
        check_readable(file["main"], path)


@pytest.mark.parametrize("named", [None, "raw"])
def test_a_link_that_leads_nowhere_is_named(
    run_step: Any, write: Callable[..., Path], named: str | None
) -> None:
    path = write(raw=h5py.SoftLink("/volumes/raw"))
    with pytest.raises(DataMissing, match="'raw' leads to '/volumes/raw', which is missing"):
        run_step(find_operator("load-h5")(file_name=str(path), dataset_path=named))
