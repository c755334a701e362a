"""The demo takes the user's own image: HDF5 or TIFF, grey values in uint8."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import run
import tifffile

from chunkflow_worker.api import ConfigError

GREY = np.arange(4 * 8 * 6, dtype=np.uint8).reshape(4, 8, 6)


def write(path: Path, array: np.ndarray) -> None:
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["volumes/raw"] = array
    else:
        tifffile.imwrite(path, array, photometric="minisblack")


@pytest.mark.parametrize("name", ["em.h5", "em.tif", "em.TIFF"])
def test_an_image_is_read(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / name, GREY)
    image, truth, offset, _ = run.Demo(tmp_path / "out", tmp_path / name)._image()
    np.testing.assert_array_equal(image, GREY)
    assert truth is None
    assert ("reading the dataset volumes/raw of" in capsys.readouterr().out) == (name == "em.h5")
    assert offset == (0, 0, 0)


@pytest.mark.parametrize("name", ["em.h5", "em.tif"])
def test_other_values_are_refused(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, GREY.astype(np.float32))
    with pytest.raises(ConfigError, match=r"em\.\w+: contains .*float32 \(4, 8, 6\)\n.*uint8, zyx"):
        run.Demo(tmp_path / "out", tmp_path / name)._image()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "em.h5").write_text("not HDF5")
    with pytest.raises(ConfigError, match=r"em\.h5: cannot be read as HDF5"):
        run.Demo(tmp_path / "out", tmp_path / "em.h5")._image()
