"""NRRD headers that are not in tests/compat: of several files, odd axes, missing numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch, DataMissing
from chunkflow_worker.operators.load_nrrd import LoadNrrd
from chunkflow_worker.storage.formats.nrrd_metadata import axes_of, metadata_of

HEADER = {"type": "uint8", "dimension": 3, "sizes": np.array([4, 3, 2])}
DIAGONAL = np.diag([4.0, 7.5, 40.0])


@pytest.mark.parametrize(
    ("fields", "letters"),
    [
        ({}, "zyx"),
        ({"dimension": 4}, "czyx"),
        ({"dimension": 4, "kinds": ["vector", "domain", "domain", "domain"]}, "zyxc"),
        ({"dimension": 4, "kinds": ["domain", "domain", "domain", "time"]}, "tzyx"),
        ({"dimension": 4, "kinds": ["???", "domain", "domain", "list"]}, "czyx"),
        ({"dimension": 5}, "?czyx"),
        ({"space directions": DIAGONAL[::-1]}, "xyz"),
        ({"dimension": 4, "space directions": [[np.nan] * 3, *DIAGONAL]}, "zyxc"),
        ({"dimension": 4, "space directions": [None, *DIAGONAL]}, "zyxc"),
    ],
)
def test_axes_are_slowest_first(fields: dict[str, Any], letters: str) -> None:
    assert axes_of(HEADER | fields, "a.nrrd") == letters


@pytest.mark.parametrize("fields", [{"dimension": 2}, {"dimension": 1}, {"type": "block"}])
def test_no_chunk(fields: dict[str, Any]) -> None:
    with pytest.raises(ChunkMismatch, match=r"a\.nrrd has .*a chunk is numbers"):
        axes_of(HEADER | fields, "a.nrrd")


@pytest.mark.parametrize(
    "fields",
    [
        {"spacings": [4, np.nan, 40], "units": ["nm"] * 3},
        {"spacings": [0, 7.5, 40], "units": ["nm"] * 3},
        {"thicknesses": [4, 7.5, 40]},
        {"spacings": [4, 7.5, 40], "units": ["nm", "nm", "ell"]},
        {"space directions": np.zeros((3, 3)), "space units": ["nm"] * 3},
        {"space directions": np.eye(3)[:, :2], "space units": ["nm"] * 3},
    ],
)
def test_lengths_that_are_no_size_are_told(fields: dict[str, Any]) -> None:
    found = metadata_of(HEADER | fields, "zyx")
    assert found.voxel_size is None
    assert found.ignored["voxel_size"]


def test_an_unknown_unit_leaves_out_the_place_too() -> None:
    fields = {"space directions": DIAGONAL, "space units": ["ell"] * 3, "space origin": [8, 0, 0]}
    found = metadata_of(HEADER | fields, "zyx")
    assert found.origin is None
    assert found.ignored["voxel_offset"] == found.ignored["voxel_size"]


def test_one_nanometre_without_a_unit_says_nothing() -> None:
    assert not metadata_of(HEADER | {"space directions": np.eye(3)}, "zyx").ignored
    assert not metadata_of(HEADER | {"spacings": [1, 1, 1]}, "zyx").ignored


def write(path: Path, *lines: str, data: bytes = b"") -> str:
    head = ["NRRD0005", "type: uint8", "dimension: 3", "sizes: 4 3 2", *lines, "", ""]
    path.write_bytes("\n".join(head).encode() + data)
    return str(path)


@pytest.mark.parametrize(
    "field", ["data file: LIST\na.raw\nb.raw", "datafile: LIST 2\na.raw", "data file: %d.raw 0 1 1"]
)
def test_voxels_in_several_files_are_refused(run_step: Any, tmp_path: Path, field: str) -> None:
    path = write(tmp_path / "a.nhdr", "encoding: raw", field)
    with pytest.raises(ChunkMismatch, match=r"a\.nhdr has its voxels in several files"):
        run_step(LoadNrrd(file_name=path))


def test_a_file_of_voxels_that_is_missing_is_named(run_step: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.nhdr", "encoding: raw", "data file: voxels.raw")
    with pytest.raises(DataMissing, match=r"there is no file .*voxels\.raw"):
        run_step(LoadNrrd(file_name=path))
    (tmp_path / "voxels.raw").write_bytes(bytes(range(24)))
    chunk = run_step(LoadNrrd(file_name=path)).chunk("chunk")
    assert chunk.array.ravel().tolist() == list(range(24))


@pytest.mark.parametrize(
    ("line", "value"),
    [("dimension: three", "three"), ("sizes: 4 3 x", "x"), ("spacings: 4 wide 40", "wide")],
)
def test_a_word_where_a_number_belongs_is_named(
    run_step: Any, tmp_path: Path, line: str, value: str
) -> None:
    path = write(tmp_path / "a.nrrd", "encoding: raw", data=bytes(24))
    name = line.partition(":")[0]
    text = re.sub(rf"(?m)^{name}: .*\n", "", (tmp_path / "a.nrrd").read_text())
    Path(path).write_text(text.replace("type:", f"{line}\ntype:"))
    with pytest.raises(DataMissing, match=rf"it has '{value}' where a number belongs"):
        run_step(LoadNrrd(file_name=path))


@pytest.mark.parametrize("encoding", ["hex", "zstd"])
def test_an_encoding_that_is_not_known_is_named(
    run_step: Any, tmp_path: Path, encoding: str
) -> None:
    path = write(tmp_path / "a.nrrd", f"encoding: {encoding}", data=b"00")
    with pytest.raises(DataMissing, match=f"its encoding {encoding} is not known"):
        run_step(LoadNrrd(file_name=path))
