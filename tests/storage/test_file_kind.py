"""Files are told by their first bytes, as their own libraries write them."""

from __future__ import annotations

from pathlib import Path

import h5py
import nrrd
import numpy as np
import pytest
import tifffile
from PIL import Image

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.pipeline.operator import find_operator
from chunkflow_worker.storage.file_kind import file_kind

ARRAY = np.zeros((2, 3, 4), np.uint8)


def write_h5(path: Path, userblock: int = 0) -> None:
    with h5py.File(path, "w", userblock_size=userblock) as file:
        file["a"] = ARRAY


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (write_h5, "an HDF5 file"),
        (lambda path: write_h5(path, 512), "an HDF5 file of MATLAB 7.3 or another program"),
        (lambda path: tifffile.imwrite(path, ARRAY, byteorder="<"), "a TIFF file"),
        (lambda path: tifffile.imwrite(path, ARRAY, byteorder=">"), "a TIFF file"),
        (lambda path: tifffile.imwrite(path, ARRAY, bigtiff=True), "a BigTIFF file"),
        (lambda path: nrrd.write(str(path.rename(f"{path}.nrrd")), ARRAY), "an NRRD file"),
        (lambda path: Image.fromarray(ARRAY[0]).save(path, "PNG"), "a PNG picture"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html>"), "a web page, as a failed download"),
        (lambda path: path.write_bytes(b""), "empty"),
    ],
)
def test_kinds(tmp_path: Path, write, kind: str) -> None:
    path = tmp_path / "a"
    path.touch()
    write(path)
    [path] = tmp_path.iterdir()
    assert (file_kind(path) or "").startswith(kind)


def test_what_is_not_known_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"voxels")
    assert file_kind(tmp_path / "a") is None
    assert file_kind(tmp_path / "none") is None


@pytest.mark.parametrize("loader", ["load-h5", "load-tif", "load-nrrd", "load-npy", "load-png"])
def test_a_loader_says_what_another_file_is(run_step, tmp_path: Path, loader: str) -> None:
    path = tmp_path / "0.png"
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(600))
    option = "path" if loader == "load-png" else "file_name"
    with pytest.raises(DataMissing, match=r"0\.png cannot be read as .*: it is a JPEG picture"):
        run_step(find_operator(loader)(**{option: str(path)}))
