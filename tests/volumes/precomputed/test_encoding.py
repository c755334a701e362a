from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloudvolume import CloudVolume

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.operators.load_volume import LoadVolume
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.volumes.precomputed.encoding import check_readable, check_type
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels", "error"),
    [
        ("raw", "int32", 2, 0),
        ("jpeg", "uint8", 1, 6),
        ("png", "uint8", 1, 0),
        ("npz", "float32", 3, 0),
        ("fpzip", "float32", 3, 0),
        ("kempressed", "float32", 3, 1e-5),
        ("compressed_segmentation", "uint64", 1, 0),
        ("compresso", "uint32", 1, 0),
        ("crackle", "uint64", 1, 0),
    ],
)
def test_encodings_give_back_what_was_written(
    tmp_path: Path, encoding: str, dtype: str, channels: int, error: float
) -> None:
    box = BoundingBox.parse("0-8_0-32_0-64")
    z, y, x = np.meshgrid(*(np.arange(n) for n in box.size), indexing="ij")
    smooth = np.stack([(z * 3 + y + x + 10 * c) % 250 for c in range(channels)])
    array = (smooth / 250 if dtype == "float32" else smooth).astype(dtype)
    holds_ids = encoding in ("compressed_segmentation", "compresso", "crackle")
    layer = "segmentation" if holds_ids else "image"
    create_volume(
        f"file://{tmp_path}/v",
        bounds=box,
        voxel_size=(40, 8, 8),
        block_size=Vec3(8, 32, 32),
        dtype=dtype,
        channels=channels,
        layer_type=layer,
        encoding=encoding,
    )
    volume = PrecomputedVolume(f"file://{tmp_path}/v")
    volume.write(box, array)
    back = PrecomputedVolume(f"file://{tmp_path}/v").read(box).reshape(array.shape)
    assert back.dtype == dtype
    assert np.abs(back.astype(float) - array.astype(float)).max() <= error
    assert volume.lossless <= (error == 0)


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [
        ("raw", "int16"),
        ("raw", "float64"),
        ("jpeg", "uint8"),
        ("jxl", "uint8"),
        ("png", "uint8"),
        ("npz", "uint16"),
        ("fpzip", "float32"),
        ("kempressed", "float32"),
        ("compressed_segmentation", "uint32"),
        ("compressed_segmentation", "uint64"),
        ("compresso", "uint8"),
        ("compresso", "uint32"),
        ("crackle", "uint64"),
    ],
)
def test_what_cloudvolume_writes_is_read(
    tmp_path: Path, encoding: str, dtype: str, run_step: Callable[..., Task]
) -> None:
    z, y, x = np.indices((16, 40, 60))
    smooth = (z * 3 + y + x) % 250
    array = (smooth / 250 if "float" in dtype else smooth).astype(dtype)
    info = CloudVolume.create_new_info(
        num_channels=1,
        layer_type="image",
        data_type=dtype,
        encoding=encoding,
        resolution=[8, 8, 40],
        voxel_offset=[3, -5, 2],
        volume_size=[60, 40, 16],
        chunk_size=[32, 32, 8],
    )
    theirs = CloudVolume(f"file://{tmp_path}", info=info, progress=False)
    theirs.commit_info()
    theirs[:] = array.T
    chunk = run_step(LoadVolume(volume_path=f"file://{tmp_path}")).chunk("chunk")
    assert np.array_equal(chunk.array, np.asarray(theirs[:])[..., 0].T)
    assert chunk.voxel_offset == (2, -5, 3)
    error = 1e-3 if "float" in dtype else 3 if encoding in ("jpeg", "jxl") else 0
    assert np.abs(chunk.array.astype(float) - array.astype(float)).max() <= error


def test_an_encoding_that_cannot_be_read_here_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = BoundingBox.parse("0-8_0-32_0-64")
    options: dict[str, Any] = {
        "bounds": box,
        "voxel_size": (40, 8, 8),
        "block_size": Vec3(8, 32, 32),
        "dtype": "float32",
    }
    create_volume(f"file://{tmp_path}/v", **options, encoding="fpzip")
    monkeypatch.setitem(sys.modules, "fpzip", None)
    absent = r"fpzip: is needed .*\n +pip install \"chunkflow-worker\[codecs\]\""
    with pytest.raises(ConfigError, match=absent):
        PrecomputedVolume(f"file://{tmp_path}/v")
    for encoding in ("fpzip", "kempressed"):
        with pytest.raises(ConfigError, match=absent):
            create_volume(f"file://{tmp_path}/w", **options, encoding=encoding)
    with pytest.raises(
        ConfigError, match="CloudVolume can write npz_uint8, but nothing can read it"
    ):
        create_volume(f"file://{tmp_path}/w", **options, encoding="npz_uint8")
    assert not (tmp_path / "w").exists()
    monkeypatch.setattr(
        "chunkflow_worker.volumes.precomputed.encoding.find_spec", lambda name: None
    )
    with pytest.raises(ConfigError, match=r"zfpc needs a library .*\n +pip install zfpc"):
        create_volume(f"file://{tmp_path}/w", **options, encoding="zfpc")


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels"),
    [
        ("raw", "int8", 7),
        ("raw", "float32", 1),
        ("jpeg", "uint8", 3),
        ("compressed_segmentation", "uint32", 1),
        ("an encoding that is not known here", "uint8", 1),
    ],
)
def test_supported_types_pass(encoding: str, dtype: str, channels: int) -> None:
    check_type("v", encoding, dtype, channels)


@pytest.mark.parametrize(
    ("encoding", "dtype", "channels", "text"),
    [
        ("raw", "float64", 1, "v: data_type: the format has no float64\n    legal: uint8, uint16"),
        ("raw", "int64", 1, "the format has no int64"),
        ("jpeg", "uint16", 1, "takes uint8 of 1 or 3 channels"),
        ("jpeg", "uint8", 2, "v: encoding: jpeg does not take 2 channels of uint8"),
        ("fpzip", "uint8", 1, "fpzip does not take 1 channels of uint8\n    it takes float32"),
        ("compressed_segmentation", "uint16", 1, "it takes uint32 and uint64"),
    ],
)
def test_other_types_are_refused_with_the_legal_ones(
    encoding: str, dtype: str, channels: int, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        check_type("v", encoding, dtype, channels)


def test_encodings_of_the_core_are_always_readable() -> None:
    for encoding in ("raw", "jpeg", "compressed_segmentation", "npz"):
        check_readable("v", encoding)
