"""What `chunkflow-worker check` says that a task takes."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from chunkflow_worker.cli.worker import cli
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.machine.cpu import cpu_name
from chunkflow_worker.volumes.create_volume import create_volume as create_any_volume
from chunkflow_worker.volumes.precomputed.info import create_volume

NET = {
    "op": "inference",
    "framework": "identity",
    "input_patch_size": [20, 256, 256],
    "output_patch_overlap": [4, 64, 64],
    "num_output_channels": 3,
    "dtype": "uint8",
}


def check(tmp_path: Path, operators: list[dict[str, Any]], *options: Any) -> str:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump({"operators": operators}))
    words = ["check", str(file), "--ledger", "file:///log", *map(str, options)]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def peak(text: str) -> float:
    found = re.search(r"^peak memory\D*([0-9.]+) GB", text, re.MULTILINE)
    assert found
    return float(found[1])


@pytest.mark.parametrize("saved", [[], [{"op": "save-h5", "file_name": "x.h5"}]])
def test_a_chain_whose_records_have_no_place_is_refused(
    tmp_path: Path, saved: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers would refuse it when they start."""
    chain = [{"op": "create-chunk", "size": [4, 8, 8]}, *saved]
    assert "ledger file:///log" in check(tmp_path, chain)
    words = ["check", str(tmp_path / "p.yaml")]
    with pytest.raises(ConfigError, match=r"p\.yaml: ledger: .*\n.*--ledger.*CHUNKFLOW_LEDGER"):
        CliRunner().invoke(cli, words, catch_exceptions=False)
    monkeypatch.setenv("CHUNKFLOW_LEDGER", "s3://lab/log")
    assert "ledger s3://lab/log" in CliRunner().invoke(cli, words, catch_exceptions=False).output


def test_patches_utilization_and_memory_of_a_chunk(tmp_path: Path) -> None:
    text = check(
        tmp_path,
        [{"op": "create-chunk", "size": [112, 1152, 1152]}, NET | {"mask_output_chunk": True}],
    )
    assert "chunk lattice (used here): 252 patches per task, voxel utilization 45%" in text
    assert re.search(r"global lattice: \d+ patches per task, voxel utilization \d+%", text)
    assert re.search(r"nearby chunk sizes with a better utilization: \[\d+, \d+, \d+\] \d+%", text)
    voxels, sections = 112 * 1152 * 1152, 20 * 1152 * 1152
    patch = 20 * 256 * 256 * 4 * (1 + 2 * 3 + 2)
    assert peak(text) == pytest.approx(
        (voxels * (1 + 3) + sections * 4 * (3 + 1) + patch) / 1e9, abs=0.006
    )


def test_the_size_of_tasks_can_be_given(tmp_path: Path) -> None:
    chain = [{"op": "load-precomputed", "volume_path": "file:///none"}, NET]
    assert "give --chunk-size" in check(tmp_path, chain)
    small, large = (peak(check(tmp_path, chain, "--chunk-size", 28, n, n)) for n in (320, 640))
    assert large > 1.5 * small


def test_a_size_without_voxels_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli, ["check", str(tmp_path / "p.yaml"), "--chunk-size", "0", "4", "4"]
    )
    assert done.exit_code == 2
    assert "0 is not in the range x>=1" in done.output


def test_a_net_behind_downsample_has_fewer_voxels(tmp_path: Path) -> None:
    load, small = (
        {"op": "load-precomputed", "volume_path": "file:///none"},
        {"op": "downsample", "factor": [1, 2, 4]},
    )
    assert "252 patches per task" in check(tmp_path, [load, NET], "--chunk-size", 108, 1088, 1088)
    assert "252 patches per task" in check(
        tmp_path, [load, small, NET], "--chunk-size", 108, 2176, 4352
    )


def test_the_largest_of_several_nets_counts_and_floats_take_more(tmp_path: Path) -> None:
    chain = [
        {"op": "load-precomputed", "volume_path": "file:///none"},
        NET | {"num_input_channels": 1},
    ]
    size = ("--chunk-size", 28, 640, 640)
    plain = peak(check(tmp_path, chain, *size))
    normalized = peak(check(tmp_path, [chain[0], {"op": "normalize-intensity"}, chain[1]], *size))
    image = 36 * 768 * 768
    assert normalized - plain == pytest.approx(3 * image / 1e9, abs=0.011)
    more = NET | {"num_input_channels": 3, "num_output_channels": 40}
    assert peak(check(tmp_path, [*chain, more], *size)) > 3 * plain


def test_open_adds_what_the_process_takes(tmp_path: Path) -> None:
    small = NET | {"input_patch_size": [4, 16, 16], "output_patch_overlap": [1, 4, 4]}
    chain = [{"op": "create-chunk", "size": [16, 64, 64]}, small]
    opened = check(tmp_path, chain, "--open")
    assert "all volumes and models open" in opened
    assert f"inference runs on {cpu_name()}, in float32" in opened
    assert peak(opened) > 0.05 > peak(check(tmp_path, chain))


def test_open_points_out_boxes_that_share_blocks(tmp_path: Path) -> None:
    path = str(tmp_path / "out")
    create_volume(
        path,
        bounds=BoundingBox.parse("0-16_0-64_0-64"),
        voxel_size=(40, 8, 8),
        block_size=Vec3(8, 32, 32),
        dtype="uint8",
    )
    file = tmp_path / "p.yaml"

    def told(*size: int) -> str:
        tasks = {"op": "generate-tasks", "volume_path": path, "chunk_size": size}
        chain = [{"op": "create-chunk"}, {"op": "save-precomputed", "volume_path": path}]
        file.write_text(json.dumps({"tasks": tasks, "operators": chain}))
        return (
            CliRunner().invoke(cli, ["check", str(file), "--open"], catch_exceptions=False).output
        )

    assert "note: workers will refuse these boxes: box 0-8_0-32_0-30 would share blocks" in told(
        8, 32, 30
    )
    assert "note" not in told(8, 32, 64)


@pytest.mark.parametrize(
    ("shard", "told"),
    [
        (None, "8 objects, one PUT request each"),
        (Vec3(16, 64, 32), "2 shards, and 8 objects without shards"),
    ],
)
def test_open_counts_the_objects_of_the_output(
    tmp_path: Path, shard: Vec3 | None, told: str
) -> None:
    path = f"zarr3://file://{tmp_path}/out"
    bounds, block = BoundingBox.parse("0-16_0-64_0-64"), Vec3(8, 32, 32)
    shape: dict[str, Any] = {"bounds": bounds, "voxel_size": (40, 8, 8), "block_size": block}
    create_any_volume(path, **shape, dtype="uint8", shard_size=shard)
    chain = [{"op": "create-chunk"}, {"op": "save-volume", "volume_path": path}]
    assert told in check(tmp_path, chain, "--open")


def test_open_lists_better_sizes_of_whole_blocks(tmp_path: Path) -> None:
    path = str(tmp_path / "out")
    box = BoundingBox.parse("0-256_0-2048_0-2048")
    create_volume(
        path,
        bounds=box,
        voxel_size=(40, 8, 8),
        block_size=Vec3(32, 128, 128),
        dtype="uint8",
        channels=3,
    )
    chain = [
        {"op": "create-chunk", "size": [64, 512, 512]},
        NET,
        {"op": "save-precomputed", "volume_path": path},
    ]
    listed = re.findall(
        r"\[(\d+), (\d+), (\d+)\] \d+%",
        check(tmp_path, chain, "--chunk-size", 64, 512, 512, "--open"),
    )
    assert listed
    assert all(int(z) % 32 == int(y) % 128 == int(x) % 128 == 0 for z, y, x in listed)


@pytest.mark.parametrize("driver", ["precomputed", "zarr3"])
def test_open_points_out_channels_that_the_output_does_not_take(
    tmp_path: Path, driver: str
) -> None:
    path = f"{driver}://file://{tmp_path}/out"
    box = BoundingBox.parse("0-16_0-64_0-64")
    create_any_volume(
        path, bounds=box, voxel_size=(40, 8, 8), block_size=Vec3(16, 32, 32), dtype="uint8"
    )
    small = NET | {"input_patch_size": [4, 16, 16], "output_patch_overlap": [1, 4, 4]}
    source, save = {"op": "create-chunk", "size": [16, 64, 64]}, {"op": "save-volume"}

    def told(channels: int, *between: dict[str, Any]) -> str:
        net = small | {"num_output_channels": channels}
        return check(tmp_path, [source, net, *between, save | {"volume_path": path}], "--open")

    assert f"note: workers will refuse to save 'chunk': inference makes 3 channels, and {path}" in (
        told(3)
    )
    assert "note" not in told(1)
    assert "note" not in told(3, {"op": "channel-voting"})


@pytest.mark.parametrize(
    "path",
    [
        "https://user:hunter2hunter2@host/em",
        "https://host/em?token=hunter2hunter2",
        "s3://key:hunter2hunter2@bucket/em",
        "https://host/em?X-Amz-Signature=hunter2hunter2",
    ],
)
def test_no_secret_of_a_path_is_printed(tmp_path: Path, path: str) -> None:
    text = check(tmp_path, [{"op": "load-precomputed", "volume_path": path}])
    assert "***" in text
    assert "hunter2" not in text


def test_an_open_chain_is_told_what_bounds_its_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patch takes a tenth of a second of this clock, and the box takes four of them."""
    times = itertools.count(0.0, 0.1)
    monkeypatch.setattr("chunkflow_worker.cli.check.perf_counter", lambda: next(times))
    chain = [{"op": "create-chunk", "size": [20, 448, 448]}, NET | {"mask_output_chunk": True}]
    text = check(tmp_path, chain, "--open")
    assert "inference: 0.4 s a task on this device, 0.1 s a patch" in text
    assert f"a worker makes at most {20 * 448 * 448 / 4e5:.3g} Mvoxel/s here" in text
    other = check(tmp_path, [{"op": "create-chunk", "size": [4, 8, 8]}], "--open")
    assert "Mvoxel/s" not in other


def needs(tmp_path: Path, operators: list[dict[str, Any]], *options: Any) -> list[dict[str, Any]]:
    """What `check --json` prints for each size."""
    found: list[dict[str, Any]] = json.loads(check(tmp_path, operators, "--json", *options))[
        "needs"
    ]
    return found


def test_what_boxes_read_and_compute_is_what_the_chain_needs(tmp_path: Path) -> None:
    """At the border of the volume, patches move inward; elsewhere they reach over the box."""
    path, bounds = f"file://{tmp_path}/in", BoundingBox.parse("0-80_0-80_0-40")
    create_volume(
        path, bounds=bounds, voxel_size=(8, 8, 8), block_size=Vec3(8, 8, 8), dtype="uint8"
    )
    patch = {"input_patch_size": [16, 16, 16], "output_patch_overlap": [4, 4, 4]}
    chain = [{"op": "load-precomputed", "volume_path": path}, NET | patch]
    (found,) = needs(tmp_path, chain, "-c", 40, 40, 40, "--region", "0-80_0-80_0-80")
    (reads,), (computes,) = found["reads"], found["computes"]
    assert reads["path"] == path
    # 40 voxels and 4 beyond: 4 patches of 16 that overlap by 4 cover 52, so the last one moves.
    assert reads["places"][0] == [[0, 44], [36, 80]]
    assert computes["patches"][0] == [4, 4]
    # The volume ends at 40 along x, and a box behind its end reads and computes nothing.
    assert reads["places"][2] == [[0, 40], [40, 40]]
    assert computes["patches"][2][1] == 0
    assert computes["patch_voxels"] == 16**3
    (one,) = needs(tmp_path, chain, "-c", 40, 40, 40)
    assert one["task_bytes"] == found["task_bytes"] > 40**3 * (1 + 3)


def test_the_memory_of_a_chain_without_a_net_is_known(tmp_path: Path) -> None:
    path, bounds = f"file://{tmp_path}/in", BoundingBox.parse("0-8_0-8_0-8")
    create_volume(
        path, bounds=bounds, voxel_size=(8, 8, 8), block_size=Vec3(8, 8, 8), dtype="uint64"
    )
    chain = [
        {"op": "load-precomputed", "volume_path": path},
        {"op": "threshold", "threshold": 3},
    ]
    small, large = needs(tmp_path, chain, "-c", 8, 8, 8, "-c", 80, 80, 80)
    assert small["task_bytes"] == 8**3 * (8 + 1)  # ids, and the mask
    assert large["task_bytes"] == 80**3 * (8 + 1)  # ids, and the mask
    assert small["further_bytes"] == 8**4


@pytest.mark.parametrize("options", [["--json", "--open"], ["--region", "0-8_0-8_0-8"]])
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump({"operators": [{"op": "create-chunk", "size": [4, 8, 8]}]}))
    done = CliRunner().invoke(cli, ["check", str(file), *options])
    assert done.exit_code == 2
    assert "--json" in done.output
