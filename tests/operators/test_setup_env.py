"""The operator `setup-env`: box sizes, the volume and the pipeline it writes, and its errors."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from cloudvolume import CloudVolume
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.cli.worker import cli as worker_cli
from chunkflow_worker.config.options import click_options
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.lattice import PatchShape, make_lattice
from chunkflow_worker.operators.inference import Inference
from chunkflow_worker.operators.setup_env import SetupEnv
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.volumes.open_volume import volume_bounds
from chunkflow_worker.volumes.precomputed.info import create_volume
from chunkflow_worker.volumes.precomputed.volume import PrecomputedVolume

SMALL = {
    "volume_start": (-4, 10, 20),
    "volume_size": (60, 300, 500),
    "output_patch_size": (8, 32, 32),
}
SMALL |= {"max_ram_size": 0.02, "max_mip": 5, "layer_path": "out"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def chunkflow(*arguments: Any, **options: Any) -> str:
    """Run `chunkflow [arguments] setup-env [options]`. Returns what it printed."""
    words = [*arguments, "setup-env"]
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *(value if isinstance(value, tuple) else [value])]
    done = CliRunner().invoke(cli, [str(w) for w in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def printed_size(output: str, name: str) -> Vec3:
    line = next(line for line in output.splitlines() if line.startswith(f"{name}: "))
    return Vec3.of(int(n) for n in line.split(": ")[1].split(",")[0].split())


def filled_in(folder: Path, **net: Any) -> Path:
    content = yaml.safe_load((folder / "pipeline.yaml").read_text())
    content["operators"][0]["volume_path"] = "image"
    content["operators"][1] |= net or {"convnet_model": "net.py"}
    file = folder / "filled_in.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def test_writes_the_info_file_and_the_pipeline(folder: Path) -> None:
    """Named defect of the peer: setup-env always raised a TypeError."""
    output = chunkflow(**SMALL)
    assert (folder / "out" / "info").exists()
    assert "wrote the info file of out, and pipeline.yaml" in output


def test_the_flag_that_chunkflow_defined_twice_sets_the_channels() -> None:
    options = {o.name: o for o in click_options(SetupEnv) if isinstance(o, click.Option)}
    assert "-c" in options["channel_num"].opts
    assert options["crop_chunk_margin"].opts == ["--crop-chunk-margin"]


def test_the_info_file_reflects_the_options(folder: Path) -> None:
    output = chunkflow(**SMALL, channel_num=3, dtype="uint8", voxel_size=(30, 7.5, 6))
    volume = CloudVolume(f"file://{folder}/out", progress=False)
    assert (volume.num_channels, volume.dtype, volume.layer_type) == (3, "uint8", "image")
    assert len(volume.info["scales"]) == 1
    assert list(volume.resolution) == [6, 7.5, 30]
    assert (list(volume.bounds.minpt), list(volume.bounds.maxpt)) == ([20, 10, -4], [520, 310, 56])
    assert list(volume.underlying[::-1]) == list(printed_size(output, "block size"))
    assert not any(printed_size(output, "output chunk size") % printed_size(output, "block size"))


@pytest.mark.parametrize("mip", [0, 1, 2])
def test_the_boxes_cover_the_volume_exactly_once_in_whole_blocks(folder: Path, mip: int) -> None:
    extent = {"volume_start": (-4, 11, 23), "volume_size": (60, 301, 499)}
    options = SMALL | extent | {"mip": mip}
    operator = SetupEnv(**options)
    chunkflow(**options)
    bounds, volume = volume_bounds("out", mip), PrecomputedVolume("out", mip)
    seen = np.zeros(bounds.size, int)
    boxes = [task.bbox for task in operator.tasks()]
    for box in boxes:
        assert box is not None
        assert bounds.contains(box)
        assert not any((box.start - bounds.start) % volume.block_size)
        seen[box.slices(bounds.start)] += 1
    assert (seen == 1).all()
    source = Pipeline.load(filled_in(folder)).tasks
    assert source is not None
    assert [task.bbox for task in source.tasks()] == boxes


def test_the_completed_pipeline_passes_the_check(folder: Path) -> None:
    output = chunkflow(**SMALL, channel_num=3, crop_chunk_margin=(2, 8, 8), mip=1)
    chain = Pipeline.load(filled_in(folder))
    load, inference, save = chain.operators
    assert isinstance(inference, Inference)
    assert (load.mip, save.mip, save.create_thumbnail) == (1, 1, True)  # type: ignore[attr-defined]
    assert (inference.num_output_channels, inference.output_crop_margin) == (3, Vec3(2, 8, 8))
    size, patches = (
        printed_size(output, "output chunk size"),
        printed_size(output, "patch num").product,
    )
    plan = inference.plan(size, "uint8", Vec3(1, 1, 1))[0]
    assert plan.split(" patches")[0].endswith(f": {patches}")
    assert chain.margins(0) == (Vec3(2, 8, 8), Vec3(2, 8, 8))
    checked = CliRunner().invoke(worker_cli, ["check", "filled_in.yaml"], catch_exceptions=False)
    assert checked.exit_code == 0, checked.output
    assert "peak memory" in checked.output


@pytest.mark.parametrize("mip", [0, 1])
def test_the_written_pipeline_fills_its_volume(folder: Path, mip: int) -> None:
    bounds = BoundingBox.parse("-4-56_10-310_20-520")
    options = {
        "voxel_size": (40, 4, 4),
        "block_size": Vec3(20, 100, 100),
        "dtype": "uint8",
        "factor": Vec3(1, 2, 2),
    }
    create_volume("image", bounds=bounds, max_mip=mip, **options)  # type: ignore[arg-type]
    source = PrecomputedVolume("image", mip)
    image = np.random.default_rng(0).integers(1, 255, source.bounds.size, np.uint8)
    source.write(source.bounds, image)
    job = SMALL | {"mip": mip, "dtype": "uint8", "max_mip": 6, "max_ram_size": 0.01}
    chunkflow(**job)
    ran = CliRunner().invoke(
        cli, ["--pipeline", str(filled_in(folder, framework="identity"))], catch_exceptions=False
    )
    assert ran.exit_code == 0, ran.output
    made = PrecomputedVolume("out", mip)
    assert np.array_equal(made.read(made.bounds), image)
    boxes = list(SetupEnv(**job).tasks())
    assert len(list((folder / "out" / "thumbnail").glob("*.png"))) == len(boxes) > 1


def test_later_operators_get_the_boxes(folder: Path) -> None:
    job = "setup-env --volume-start 0 0 0 -s 16 64 64 -l out -z 8 32 32 -x 5 -r 0.001"
    words = f"{job} create-chunk -s 4 4 4 save-npy -f n-"
    done = CliRunner().invoke(cli, words.split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert (folder / "out" / "info").exists()


def test_a_dry_run_only_prints(folder: Path) -> None:
    output = chunkflow("--dry-run", **SMALL)
    assert "output chunk size: " in output
    assert "nothing was written" in output
    assert list(folder.iterdir()) == []


def test_existing_files_are_replaced_only_with_overwrite_info(folder: Path) -> None:
    chunkflow(**SMALL)
    before = (folder / "pipeline.yaml").read_text()
    with pytest.raises(ConfigError, match=r"pipeline\.yaml: exists already"):
        chunkflow(**SMALL, dtype="uint8")
    (folder / "pipeline.yaml").unlink()
    for change in (
        {"dtype": "uint8"},
        {"channel_num": 2, "max_ram_size": 0.04},
        {"voxel_size": (40, 8, 8)},
    ):
        with pytest.raises(ConfigError, match="another volume already exists here"):
            chunkflow(**(SMALL | change))
    assert not (folder / "pipeline.yaml").exists(), "no pipeline is written without its volume"
    chunkflow(**SMALL)  # the same volume is not an error
    assert (folder / "pipeline.yaml").read_text() == before
    chunkflow(**SMALL, dtype="uint8", overwrite_info=True)
    assert CloudVolume(f"file://{folder}/out", progress=False).dtype == "uint8"
    content = yaml.safe_load((folder / "pipeline.yaml").read_text())
    assert content["operators"][1]["dtype"] == "uint8"


def test_the_producer_accepts_the_printed_commands(folder: Path) -> None:
    from producer.cli import cli as producer_cli

    output = chunkflow(**SMALL, queue_name="my-queue", visibility_timeout=90)
    assert "chunkflow-producer queue create my-queue --visibility 90" in output
    command = next(line.split()[1:] for line in output.splitlines() if "enqueue" in line)
    assert command[:3] == ["enqueue", "--queue", "my-queue"]
    with pytest.raises(ConfigError, match=r"the input .*PATH_OF_THE_IMAGE"):  # until it is set
        CliRunner().invoke(producer_cli, [*command, "--dry-run"], catch_exceptions=False)
    written = folder / "pipeline.yaml"
    written.write_text(written.read_text().replace("PATH_OF_THE_IMAGE", "out"))
    done = CliRunner().invoke(producer_cli, [*command, "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f"{len(list(SetupEnv(**SMALL).tasks()))} tasks" in done.output
    assert "queue create out --visibility 60" in chunkflow(**SMALL, overwrite_info=True), (
        "the default name of the queue is the name of the layer"
    )


def test_float16_is_stored_as_float32_and_the_memory_of_the_copy_is_counted(folder: Path) -> None:
    half, full = SetupEnv(**SMALL, dtype="float16"), SetupEnv(**SMALL)
    size = Vec3(64, 64, 64)
    chunkflow(**SMALL, dtype="float16", thumbnail=False)
    assert CloudVolume(f"file://{folder}/out", progress=False).dtype == "float32"
    _, inference, save = yaml.safe_load((folder / "pipeline.yaml").read_text())["operators"]
    assert inference["dtype"] == "float16"
    assert "create_thumbnail" not in save
    difference = half._sizing.bytes_needed(size) - full._sizing.bytes_needed(size)
    assert difference == 64**3 * (2 - 4 + (2 + 4) - 4) + 8 * 64 * 64 * 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"volume_stop": (9, 9, 99)}, "give volume_stop or volume_size, and not both"),
        ({"volume_size": None}, "give volume_stop or volume_size, and not both"),
        ({"volume_size": None, "volume_stop": (0, 5, 99)}, "the stop must be larger"),
        ({"volume_size": (1, 0, 1)}, "above 0"),
        ({"input_patch_size": (9, 32, 32)}, "even number"),
        (
            {"output_patch_overlap": (8, 0, 0)},
            "output_patch_overlap .* smaller than the output patch",
        ),
        ({"crop_chunk_margin": (-1, 0, 0)}, "crop_chunk_margin .* at least 0"),
        ({"encoding": "jpeg"}, "does not take 1 channels of float32"),
        ({"encoding": "jpeg", "dtype": "uint8", "channel_num": 2}, "does not take 2 channels"),
        ({"encoding": "fpzip", "dtype": "uint8"}, "does not take 1 channels of uint8"),
        ({"encoding": "compressed_segmentation"}, "only object ids"),
    ],
)
def test_inconsistent_options_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SetupEnv(**(SMALL | change))


def test_the_error_for_too_little_memory_names_a_sufficient_amount(folder: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"max_ram_size: 1e-05 GB is too little: the smallest box, \[4, 32, 32\], takes",
    ) as error:
        chunkflow(**(SMALL | {"max_ram_size": 1e-5}))
    least = float(str(error.value).split("takes ")[1].split()[0])
    chunkflow(**(SMALL | {"max_ram_size": least * 1.01}))


@settings(max_examples=60)
@given(st.data())
def test_the_fit_is_the_best_of_all_box_sizes(data: st.DataObject) -> None:
    """Compared with every number of patches. The memory is computed by the operator `inference`."""

    def triple(low: Vec3, high: Vec3) -> Vec3:
        return Vec3(*(data.draw(st.integers(a, b)) for a, b in zip(low, high, strict=True)))

    output = triple(Vec3(2, 4, 4), Vec3(6, 12, 12))
    overlap, margin = triple(Vec3(0, 0, 0), output - 1), triple(Vec3(0, 0, 0), output - 1)
    crop, extent = triple(Vec3(0, 0, 0), Vec3(2, 2, 2)), triple(Vec3(1, 1, 1), Vec3(12, 30, 30))
    max_mip, channels = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3))
    dtype = data.draw(st.sampled_from(["uint8", "float32"]))
    memory = data.draw(st.floats(1e-5, 3e-4))
    operator = SetupEnv(
        volume_start=(0, 0, 0),
        volume_size=extent,
        layer_path="x",
        output_patch_size=output,
        input_patch_size=output + crop * 2,
        output_patch_overlap=overlap,
        crop_chunk_margin=margin,
        max_mip=max_mip,
        channel_num=channels,
        dtype=dtype,
        max_ram_size=memory,
    )
    net = Inference(
        framework="identity",
        input_patch_size=output + crop * 2,
        output_patch_size=output,
        output_patch_overlap=overlap,
        output_crop_margin=margin,
        num_output_channels=channels,
        dtype=dtype,
    )
    shape = PatchShape(output + crop * 2, output, overlap)
    unit, spare = Vec3(1, 2**max_mip, 2**max_mip), overlap - margin * 2
    axes: list[list[tuple[int, int]]] = []
    for a in range(3):
        sizes = sorted(
            {(n * shape.stride[a] + spare[a]) // unit[a] * unit[a] for n in range(1, 200)}
            - set(range(-99, 1))
        )
        sizes = [s for s in sizes if s < extent[a]] + [s for s in sizes if s >= extent[a]][:1]
        patches = [
            next(n for n in range(1, 200) if n * shape.stride[a] + spare[a] >= s) for s in sizes
        ]
        axes.append(list(zip(patches, sizes, strict=True)))
    best, best_score = None, (0.0, 0)
    for z, y, x in itertools.product(*axes):
        size, patches = Vec3(z[1], y[1], x[1]), Vec3(z[0], y[0], x[0])
        # Boxes are square in y and x, as far as the possible sizes along the two axes allow.
        if not any(
            all(
                n == max((s for _, s in axis if s <= side), default=axis[0][1])
                for n, axis in ((y[1], axes[1]), (x[1], axes[2]))
            )
            for side in (y[1], x[1])
        ):
            continue
        box = make_lattice("chunk", BoundingBox.sized((0, 0, 0), size), shape, margin=margin)
        second = max(
            box.input_box.voxels, size.product * channels * (4 if dtype == "float32" else 1)
        )
        if net.task_bytes(size, "uint8") + second > memory * 1e9 * 0.9:
            continue
        score = (size.product / (patches * shape.stride + overlap).product, size.product)
        assert [len(s) for s in box.starts] == list(patches)
        if score > best_score:
            best, best_score = size, score
    if best is None:
        with pytest.raises(ConfigError, match="is too little"):
            _ = operator._fit
        return
    found = operator._fit
    assert (found.kept, found.size.product) == pytest.approx(best_score)
    assert net.task_bytes(found.size, "uint8") < memory * 1e9


def test_a_real_job_uses_most_of_its_memory() -> None:
    """A petavoxel volume, with common patches of nets for affinities."""
    job = SetupEnv(
        volume_start=(0, 0, 0),
        volume_size=(6000, 250000, 400000),
        layer_path="x",
        output_patch_size=(18, 192, 192),
        channel_num=3,
        max_ram_size=30,
    )
    fit = job._fit
    assert fit.size % Vec3(1, 256, 256) == Vec3(0, 0, 0)
    assert 0.6 * 30e9 < job._sizing.bytes_needed(fit.size) <= 27e9
