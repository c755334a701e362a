from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest

from chunkflow_worker.config.largest_block import VARIABLE
from chunkflow_worker.errors import ChunkMismatch, DataMissing, DataRefused
from chunkflow_worker.operators.load_nrrd import LoadNrrd
from chunkflow_worker.storage.axes import Axes
from chunkflow_worker.storage.formats.nrrd_file import read_header, read_part
from tests.support.foreign_files import ZYX, nrrd_text

BOX = (slice(1, 3), slice(2, 5), slice(0, 4))


def read_box(path: Path) -> Any:
    header, end = read_header(nrrd, path)
    axes = Axes("zyx", tuple(map(int, header["sizes"][::-1])), "a.nrrd")
    return read_part(nrrd, path, header, end, axes, BOX)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_letters_that_are_not_ascii_are_kept(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.nrrd"
    head = "NRRD0004\n# für uns\ntype: uint8\ndimension: 1\nsizes: 1\nencoding: raw\n"
    path.write_bytes(f'{head}units: "µm"\n\n'.encode(encoding) + b"0")
    assert read_header(nrrd, path)[0]["units"] == ["µm"]


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
@pytest.mark.parametrize("dtype", ["|u1", "<i2", ">u2", "<f8"])
def test_a_box_of_each_encoding(tmp_path: Path, encoding: str, name: str, dtype: str) -> None:
    nrrd.write(str(tmp_path / name), ZYX.astype(dtype).T, {"encoding": encoding})
    part = read_box(tmp_path / name)
    assert np.array_equal(part, ZYX[BOX])
    assert part.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize(
    ("lines", "before"),
    [
        (["byte skip: 3"], b"abc"),
        (["line skip: 2"], b"a\nbc\n"),
        (["line skip: 1", "byte skip: 2"], b"a\nbc"),
        (["byte skip: -1"], b"any number"),
    ],
)
def test_what_stands_before_the_voxels_is_skipped(
    tmp_path: Path, lines: list[str], before: bytes
) -> None:
    nrrd_text(*lines)(tmp_path)
    path = tmp_path / "a.nrrd"
    content = path.read_bytes()
    path.write_bytes(content[: -ZYX.size] + before + ZYX.tobytes())
    assert np.array_equal(read_box(path), ZYX[BOX])


def test_a_box_of_a_large_raw_file_is_read_without_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 65536 65536 64\nencoding: raw\n\n"
    path.write_bytes(head)
    os.truncate(path, len(head) + 2**38)  # 256 GB without blocks on the disk
    assert read_box(path).shape == (2, 3, 4)


def test_a_raw_file_that_is_cut_short_says_so(run_step: Any, tmp_path: Path) -> None:
    nrrd_text()(tmp_path)
    path = tmp_path / "a.nrrd"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataMissing, match="its end is missing"):
        run_step(LoadNrrd(file_name=str(path)))


@pytest.mark.parametrize("way", ["absolute", "inside", "above", "link"])
@pytest.mark.parametrize("key", ["data file", "datafile"])
def test_voxels_outside_of_the_folder_are_refused(
    run_step: Any, tmp_path: Path, way: str, key: str
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(ZYX.size))
    (folder / "link").symlink_to("../secret")
    (folder / "private").write_bytes(bytes(ZYX.size))
    names = {"absolute": f"{tmp_path}/secret", "inside": f"{folder}/private", "above": "../secret"}
    name = names.get(way, way)
    nrrd_text(f"{key}: {name}", data=ZYX)(folder)
    with pytest.raises(DataRefused, match=r"only name files in its folder\n.*beside it"):
        run_step(LoadNrrd(file_name=f"{folder}/a.nrrd"))


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_what_unpacks_to_more_than_its_sizes_is_refused(
    run_step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    path = tmp_path / "a.nrrd"
    nrrd.write(str(path), np.zeros((100, 100, 100), np.uint8), {"encoding": encoding})
    sizes = path.read_bytes().replace(b"sizes: 100 100 100", b"sizes: 10 10 10")
    (tmp_path / "b.nrrd").write_bytes(sizes)
    with pytest.raises(DataMissing, match="it holds more than the 1000 bytes of its sizes"):
        run_step(LoadNrrd(file_name=f"{tmp_path}/b.nrrd"))
    monkeypatch.setenv(VARIABLE, "10KiB")
    with pytest.raises(DataRefused, match=r"data has 976.6 KiB unpacked, and at most 10 KiB"):
        run_step(LoadNrrd(file_name=str(path)))


@pytest.mark.parametrize("line", ["dimension: 65535", "dimension: 17\nsizes:" + 17 * " 1"])
def test_axes_without_sizes_are_refused_in_one_line(
    run_step: Any, tmp_path: Path, line: str
) -> None:
    path = tmp_path / "a.nrrd"
    sizes = "" if "sizes" in line else "sizes: 4 3 2\n"
    path.write_text(f"NRRD0004\ntype: uint8\n{line}\n{sizes}encoding: raw\n\n" + 24 * "x")
    with pytest.raises(ChunkMismatch, match=r"axes, and gives \d+ sizes") as refusal:
        run_step(LoadNrrd(file_name=str(path)))
    assert len(str(refusal.value)) < 1000
