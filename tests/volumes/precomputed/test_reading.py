"""Info files as other programs write them. Legal values are those of Neuroglancer's volume.md."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cloudvolume import CloudVolume

from chunkflow_worker.errors import ConfigError, DataRefused
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.volumes.mesh import MeshSource, fragment_folder
from chunkflow_worker.volumes.open_volume import volume_level
from chunkflow_worker.volumes.precomputed.reading import normal_scale, parse_info
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume
from tests.support.sample import BOUNDS, make, noise

SCALE: dict[str, Any] = {
    "key": "8_8_40",
    "size": [70, 40, 20],
    "resolution": [8, 8, 40],
    "voxel_offset": [3, 10, -3],
    "chunk_sizes": [[32, 16, 8]],
    "encoding": "raw",
}
INFO: dict[str, Any] = {
    "type": "image", "data_type": "uint8", "num_channels": 1, "scales": [SCALE]
}  # fmt: skip


def read(**changes: Any) -> dict[str, Any]:
    """The info with keys changed, or left out where they are `...`."""
    info = {k: v for k, v in (INFO | changes).items() if v is not ...}
    return parse_info(json.dumps(info).encode(), "em/info")


def read_scale(**changes: Any) -> dict[str, Any]:
    scale = {k: v for k, v in (SCALE | changes).items() if v is not ...}
    return normal_scale(json.loads(json.dumps(scale)), "em/info", 4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"@type": "neuroglancer_multiscale_volume"},
        {"type": "Image"},
        {"data_type": "UINT8"},
        {"data_type": "Uint8"},
        {"num_channels": "1"},
        {"num_channels": 1.0},
        {"num_channels": ...},
        {"type": ...},
    ],
)
def test_an_info_with_one_meaning_is_taken(changes: dict[str, Any]) -> None:
    found = read(**changes)
    found.pop("@type", None)
    assert found == INFO


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size": [70.0, 40.0, 20.0]},
        {"size": ["70", "40", "20"]},
        {"resolution": ["8", 8, "40.0"]},
        {"voxel_offset": [3.0, "10", -3]},
        {"chunk_sizes": [32, 16, 8]},
        {"chunk_sizes": [["32", 16.0, 8]]},
        {"encoding": "RAW"},
    ],
)
def test_a_scale_with_one_meaning_is_taken(changes: dict[str, Any]) -> None:
    found = read_scale(**changes)
    assert found == SCALE
    assert json.dumps(found, sort_keys=True) == json.dumps(SCALE, sort_keys=True), (
        "of whole numbers"
    )


def test_a_resolution_keeps_the_form_of_its_numbers() -> None:
    """Since the names of the folders of further mips follow from it, as 7.16_7.16_40.0."""
    assert repr(read_scale(resolution=[7.16, 7.16, 40.0])["resolution"]) == "[7.16, 7.16, 40.0]"


def test_a_scale_without_an_offset_starts_at_the_origin() -> None:
    assert read_scale(voxel_offset=...)["voxel_offset"] == [0, 0, 0]
    assert read_scale(voxel_offset=None)["voxel_offset"] == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"data_type": "uint64"}, "segmentation"),
        ({"data_type": "uint32"}, "segmentation"),
        ({"mesh": "mesh"}, "segmentation"),
        ({"segment_properties": "names"}, "segmentation"),
        ({"data_type": "uint16"}, "image"),
        ({"data_type": "float32"}, "image"),
    ],
)
def test_the_type_follows_from_the_rest_and_is_told(
    changes: dict[str, Any], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert read(type=..., **changes)["type"] == kind
    assert f"em/info: type is left out: read as {kind}" in caplog.text


def test_an_offset_that_is_not_whole_is_rounded_down_as_cloudvolume_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert read_scale(voxel_offset=[7.5, -7.5, 3])["voxel_offset"] == [7, -8, 3]
    assert "em/info: scales.4.voxel_offset [7.5, -7.5, 3] are not whole numbers" in caplog.text
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    read_scale(voxel_offset=[7.5, -7.5, 3])
    assert len(caplog.records) == 1, "once"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"data_type": "uchar"},
            "data_type: 'uchar' is not a type of voxels: legal: uint8, uint16",
        ),
        ({"data_type": ...}, "data_type: is left out: legal: uint8"),
        ({"type": "labels"}, "type: 'labels' is not a type of volume: legal: image, segmentation"),
        ({"num_channels": 0}, "num_channels: 0 is not a number of channels: a whole number"),
        ({"num_channels": 1.5}, "num_channels: 1.5 is not a number of channels"),
        ({"num_channels": True}, "num_channels: True is not a number of channels"),
        ({"scales": {}}, "scales: {} is not a list of scales"),
        ({"scales": [3]}, "scales: [3] is not a list of scales"),
        ({"@type": "neuroglancer_skeletons"}, "@type: 'neuroglancer_skeletons' is not a volume"),
    ],
)
def test_a_wrong_key_is_named_with_its_legal_values(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read(**changes)
    assert refused.value.subject == "em/info"
    (found,) = refused.value.faults
    assert f"{found.place}: {found.problem}: {found.cure}".startswith(fault)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"size": [70, 40]}, "size: [70, 40] is not a size: three whole numbers of at least 1"),
        ({"size": [70, 40, 0.5]}, "size: [70, 40, 0.5] is not a size"),
        ({"size": ...}, "size: is left out: three whole numbers"),
        ({"resolution": [8, 8, 0]}, "resolution: [8, 8, 0] is not a voxel size: three numbers"),
        ({"resolution": "8 8 40"}, "resolution: '8 8 40' is not a voxel size"),
        ({"resolution": ...}, "resolution: is left out"),
        ({"voxel_offset": "0"}, "voxel_offset: '0' is not a position: three whole numbers"),
        ({"chunk_sizes": ...}, "chunk_sizes: is left out: whole numbers: [[x, y, z]]"),
        ({"chunk_sizes": []}, "chunk_sizes: [] is not a list of sizes"),
        ({"chunk_sizes": [[32, 16]]}, "chunk_sizes: [[32, 16]] is not a list of sizes"),
        ({"encoding": "jpg"}, "encoding: 'jpg' is not an encoding: legal: compressed_seg"),
        ({"encoding": ...}, "encoding: is left out: legal:"),
        ({"key": ...}, "key: is left out"),
        (
            {"encoding": "compressed_segmentation"},
            "compressed_segmentation_block_size: is left out",
        ),
    ],
)
def test_a_wrong_key_of_a_scale_is_named_with_its_legal_values(
    changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        read_scale(**changes)
    (found,) = refused.value.faults
    assert f"{found.place}: {found.problem}: {found.cure}".startswith(f"scales.4.{fault}")


@pytest.mark.parametrize("resolution", [[8e-9, 8e-9, 4e-8], [0.004, 0.004, 0.04]])
def test_a_voxel_smaller_than_an_atom_is_told(
    resolution: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    assert read_scale(resolution=resolution)["resolution"] == resolution
    assert f"scales.4.resolution {resolution} is in nanometres" in caplog.text
    read_scale(resolution=[0.2, 0.2, 0.2])
    assert len(caplog.records) == 1


def test_all_faults_of_a_scale_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        read_scale(size=3, resolution=[-1, 1, 1], encoding="jpg")
    assert len(refused.value.faults) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"<html>", b"[1]", b"\xff\xfe"])
def test_what_is_not_json_is_told(content: bytes) -> None:
    with pytest.raises(ConfigError, match="em/info: file: is not a JSON object"):
        parse_info(content, "em/info")


def test_the_place_of_a_fault_in_json_is_told() -> None:
    with pytest.raises(ConfigError, match=r"object, see line 2, column 10\n.*restore it"):
        parse_info(b'{"type": "image",\n"scales" []}', "em/info")


def change(path: Path, scale: dict[str, Any], **changes: Any) -> None:
    """Change the info of a volume, and its first scale."""
    info = json.loads((path / "info").read_text())
    info["scales"][0] |= scale
    left_out = [key for key, value in changes.items() if value is ...]
    (path / "info").write_text(
        json.dumps({k: v for k, v in (info | changes).items() if k not in left_out})
    )


def test_a_volume_is_read_and_written_as_its_info_means(tmp_path: Path) -> None:
    made = make(str(tmp_path))
    made.write(BOUNDS, noise(BOUNDS))
    before = copy.deepcopy(json.loads((tmp_path / "info").read_text()))
    numbers = {"size": ["70", 40.0, 20], "chunk_sizes": [32.0, 16, 8]}
    change(tmp_path, numbers, data_type="UINT8", type=..., num_channels=...)
    (tmp_path / "provenance").write_text("not JSON")

    volume = PrecomputedVolume(str(tmp_path))
    assert (volume.dtype, volume.channels, volume.bounds) == (np.dtype("uint8"), 1, BOUNDS)
    np.testing.assert_array_equal(volume.read(BOUNDS), noise(BOUNDS))
    volume.write(BOUNDS, noise(BOUNDS) // 2)
    assert volume.missing(BOUNDS) == []

    (tmp_path / "info").write_text(json.dumps(before))
    (tmp_path / "provenance").unlink()
    read_back = CloudVolume(f"file://{tmp_path}", progress=False)[:, :, :]
    np.testing.assert_array_equal(np.asarray(read_back)[..., 0].T, noise(BOUNDS) // 2)


def test_a_volume_and_a_grid_have_the_same_place(tmp_path: Path) -> None:
    make(str(tmp_path)).write(BOUNDS, noise(BOUNDS))
    change(tmp_path, {"voxel_offset": [0.5, 10, -3]})
    assert PrecomputedVolume(str(tmp_path)).bounds == volume_level(str(tmp_path)).bounds
    assert volume_level(str(tmp_path)).bounds == BoundingBox.parse("-3-17_10-50_0-70")


def test_a_mip_is_read_although_another_one_is_wrong(tmp_path: Path) -> None:
    make(str(tmp_path))
    info = json.loads((tmp_path / "info").read_text())
    info["scales"].append({"key": "placeholder"})
    (tmp_path / "info").write_text(json.dumps(info))
    assert PrecomputedVolume(str(tmp_path)).bounds == BOUNDS
    with pytest.raises(ConfigError, match=r"scales\.1\.size: is left out"):
        PrecomputedVolume(str(tmp_path), 1)


def test_blocks_of_several_sizes_are_read_but_not_written(tmp_path: Path) -> None:
    make(str(tmp_path)).write(BOUNDS, noise(BOUNDS))
    change(tmp_path, {"chunk_sizes": [[32, 16, 8], [64, 64, 1]]})
    volume = PrecomputedVolume(str(tmp_path))
    np.testing.assert_array_equal(volume.read(BOUNDS), noise(BOUNDS))
    with pytest.raises(ConfigError, match="only blocks of the first would be written"):
        volume.write(BOUNDS, noise(BOUNDS))


def test_the_folder_of_meshes_is_added_and_the_rest_of_the_info_stays(tmp_path: Path) -> None:
    make(str(tmp_path))
    change(tmp_path, {"size": [70.0, 40, 20]}, data_type="UINT8")
    before = json.loads((tmp_path / "info").read_text())
    folder, size = fragment_folder(str(tmp_path), 0, "mesh", write=True)
    assert (folder, size) == (f"file://{tmp_path}/mesh", (40.0, 7.16, 7.16))
    assert json.loads((tmp_path / "info").read_text()) == before | {"mesh": "mesh"}
    assert MeshSource(str(tmp_path)).path == folder


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../other",
        "a/../../b",
        "/etc",
        "s3://bucket/x",
        "file:///etc",
        "${env:HOME}",
        "a|zip:",
    ],
)
@pytest.mark.parametrize("key", ["mesh", "skeletons", "segment_properties"])
def test_folders_out_of_the_volume_are_refused(key: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{key}: .* leads out of the volume\n +a folder below"):
        read(**{key: name})
    with pytest.raises(ConfigError, match=r"scales.4.key: .* leads out of the volume"):
        read_scale(key=name)


@pytest.mark.parametrize("name", ["8_8_40", "mip0/8_8_40", "..a", "mesh_mip_1_err_40", "a b"])
def test_folders_below_the_volume_are_taken(name: str) -> None:
    assert read(mesh=name, skeletons=name)["mesh"] == name
    assert read_scale(key=name)["key"] == name


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    volume, other = (make(f"file://{tmp_path}/{name}") for name in ("em", "other"))
    path = tmp_path / "em" / "info"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"redirect": other.path}))
    with pytest.raises(ConfigError, match=r"redirect: 'file://\S+ is .*\n +give that path"):
        PrecomputedVolume(volume.path)
    path.write_text(json.dumps(info | {"redirect": volume.path}))
    PrecomputedVolume(volume.path)


BITS = {"preshift_bits": 9, "minishard_bits": 6, "shard_bits": 15}


@pytest.mark.parametrize(
    "changes",
    [
        {"minishard_bits": 40},
        {"minishard_bits": 20, "shard_bits": 60},
        {"shard_bits": -1},
        {"preshift_bits": "9"},
        {"hash": "md5"},
        {"data_encoding": "zip"},
        {"@type": "other"},
    ],
)
def test_shards_whose_index_would_not_fit_are_refused(changes: dict[str, Any]) -> None:
    read_scale(sharding=BITS)
    with pytest.raises(ConfigError, match=r"scales.4.sharding: .*\n +\S"):
        read_scale(sharding=BITS | changes)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"size": [10**400, 1, 1]}, "size"),
        ({"size": [2**31 - 1, 1, 1]}, "size"),
        ({"chunk_sizes": [[2**62, 1, 1]]}, "chunk_sizes"),
        ({"voxel_offset": [-(10**300), 0, 0]}, "voxel_offset"),
        ({"resolution": [float("1e300"), 1, 1]}, "resolution"),
    ],
)
def test_numbers_of_more_than_31_bits_are_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"scales.4.{key}: "):
        read_scale(**changes)


def test_an_info_of_a_stranger_is_bounded() -> None:
    with pytest.raises(ConfigError, match=r"scales: .* holds 101 scales\n.*at most 100"):
        read(scales=[SCALE] * 101)
    with pytest.raises(ConfigError, match="is not a JSON object"):
        parse_info(b"[" * 100_000, "em/info")
    with pytest.raises(DataRefused, match=r"em/info has 65 MiB, and at most 64 MiB are read"):
        parse_info(b" " * (65 << 20), "em/info")


def test_blocks_above_the_bound_are_refused(tmp_path: Path) -> None:
    volume = make(f"file://{tmp_path}/em")
    path = tmp_path / "em" / "info"
    info = json.loads(path.read_text())
    info["scales"][0] |= {"chunk_sizes": [[10**6] * 3]}
    path.write_text(json.dumps(info))
    with pytest.raises(DataRefused, match=r"a block of mip 0 has 888178420.* unpacked|EiB|PiB"):
        PrecomputedVolume(volume.path)
