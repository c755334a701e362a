"""TIFF files that would read other files, or unpack to more than they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from chunkflow_worker.config.largest_block import VARIABLE
from chunkflow_worker.errors import DataRefused
from chunkflow_worker.operators.load_tif import LoadTif

STACK = np.random.default_rng(0).integers(0, 255, (2, 32, 48), np.uint8)


def write_ome_set(path: Path, other: str, before: str = "") -> None:
    planes = "".join(
        f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate((path.name, other))
    )
    text = (
        f'<?xml version="1.0"?>{before}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/'
        '2016-06" UUID="urn:uuid:0"><Image ID="Image:0"><Pixels ID="Pixels:0" Type="uint8" '
        'DimensionOrder="XYZCT" SizeX="48" SizeY="32" SizeZ="2" SizeC="1" SizeT="1">'
        f"{planes}</Pixels></Image></OME>"
    )
    tifffile.imwrite(path, STACK[0], description=text, metadata=None)


@pytest.mark.parametrize("way", ["above", "absolute", "link", "below"])
def test_an_image_with_parts_in_other_folders_is_refused(
    run_step: Any, tmp_path: Path, way: str
) -> None:
    folder = tmp_path / "given"
    (folder / "below").mkdir(parents=True)
    (folder / "link.tif").symlink_to("../secret.tif")
    for secret in (tmp_path / "secret.tif", folder / "below" / "secret.tif"):
        tifffile.imwrite(secret, STACK[1], metadata=None)
    names = {
        "above": "../secret.tif",
        "absolute": str(tmp_path / "secret.tif"),
        "link": "link.tif",
        "below": "below/secret.tif",
    }
    write_ome_set(folder / "a.ome.tif", names[way])
    with pytest.raises(DataRefused, match="which is in another folder"):
        run_step(LoadTif(file_name=f"{folder}/a.ome.tif"))


def test_entities_are_not_read(run_step: Any, tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "lol"}">' for n in range(12))
    write_ome_set(tmp_path / "a.ome.tif", "b.tif", f"<!DOCTYPE OME [{entities}]>")
    with pytest.raises(DataRefused, match="OME-XML that declares entities"):
        run_step(LoadTif(file_name=f"{tmp_path}/a.ome.tif"))


@pytest.mark.parametrize("options", [{"rowsperstrip": 32}, {"tile": (32, 48)}])
def test_a_segment_above_the_bound_is_refused(
    run_step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK, compression="zlib", metadata=None, **options)
    assert run_step(LoadTif(file_name=str(path))).chunk("chunk").array.shape == STACK.shape
    monkeypatch.setenv(VARIABLE, "1000")
    with pytest.raises(DataRefused, match=r"a (strip|tile) has 1.5 KiB unpacked"):
        run_step(LoadTif(file_name=str(path)))


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "png", "webp", "jpegxl"])
def test_a_picture_larger_than_its_tile_is_refused(
    run_step: Any, tmp_path: Path, compression: str
) -> None:
    """A tile of 16 by 16 pixels holds a picture of 512 by 512."""
    colour = ("rgb", 3) if compression == "webp" else ("minisblack", 1)
    shape = (512, 512, 3) if colour[1] == 3 else (512, 512)
    path, options = tmp_path / "a.tif", {"photometric": colour[0], "compression": compression}
    tifffile.imwrite(path, np.full(shape, 7, np.uint8), tile=(512, 512), metadata=None, **options)
    assert run_step(LoadTif(file_name=str(path))).chunk("chunk").array.shape[-2:] == (512, 512)
    with tifffile.TiffFile(path, mode="r+") as tif:
        for name in ("ImageWidth", "ImageLength", "TileWidth", "TileLength"):
            tif.pages[0].tags[name].overwrite(16)
    with pytest.raises(DataRefused, match="more pixels than the 256 that it may"):
        run_step(LoadTif(file_name=str(path)))


def test_a_picture_whose_size_is_not_known_is_refused(run_step: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, STACK[0], compression="jpegxr", metadata=None)
    with pytest.raises(DataRefused, match="does not say how large it is"):
        run_step(LoadTif(file_name=str(path)))
