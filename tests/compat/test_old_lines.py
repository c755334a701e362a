"""Whole command lines in the style of chunkflow 0.2 to 1.1: each runs, or is told the cure."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from cloudvolume import CloudVolume

from chunkflow_worker.cli import chunkflow
from chunkflow_worker.job.sqs import make_client
from chunkflow_worker.operators import fetch_task_from_sqs
from producer.send.queue import create_queue

SHAPE = (16, 64, 64)
IMAGE = np.random.default_rng(0).integers(1, 255, SHAPE, np.uint8)
NET = "--framework identity --patch-size 8 32 32 --patch-overlap 2 8 8"


def h5(name: str) -> Any:
    with h5py.File(name) as file:
        return file["main"][()]


@dataclass(frozen=True)
class Runs:
    """A line that runs.

    notes: how many old words are told. check: its result is right. box: of the task in QUEUE.
    """

    line: str
    notes: int
    check: Callable[[], Any] = lambda: True
    box: str = ""


@dataclass(frozen=True)
class Told:
    """A line that ends with status 2. cure: a part of the last line of its message."""

    line: str
    cure: str


RUN = {
    "0.2 files": Runs(
        "create-chunk --size 8 32 32 write-h5 --file-name=img.h5", 1, lambda: h5("img.h5").any()
    ),
    "0.2 folders of pictures": Runs(
        "read-tif --file-name em.tif save-images --output-path pngs/",
        2,
        lambda: len([*Path("pngs").iterdir()]) == 16,
    ),
    "0.2 offsets": Runs(
        "read-tif --file-name em.tif --offset 100 0 0 write-h5 --file-name moved.h5",
        3,
        lambda: h5py.File("moved.h5")["voxel_offset"][:].tolist() == [100, 0, 0],
    ),
    "0.5 evaluation": Runs(
        "create-chunk --dtype uint32 -o seg create-chunk --dtype uint32 -o gt "
        "evaluate-segmentation -s seg -g gt",
        0,
    ),
    "0.5 cutout": Runs(
        "cutout --volume-path file://em --chunk-start 0 8 8 --chunk-size 8 32 32 "
        "write-h5 --file-name cut.h5",
        2,
        lambda: np.array_equal(h5("cut.h5"), IMAGE[0:8, 8:40, 8:40]),
    ),
    "0.6 a file, segmented": Runs(
        f"read-tif -f em.tif -o image inference {NET} --batch-size 6 --bump wu "
        "--num-output-channels 1 --mask-output-chunk -i image -o cleft "
        "write-tif -i cleft -f cleft.tif "
        "connected-components -i cleft -o seg -t 0.7 write-h5 -i seg -f seg.h5",
        5,
        lambda: h5("seg.h5").max() > 1 and tifffile.imread("cleft.tif").shape[-3:] == SHAPE,
    ),
    "0.6 one box": Runs(
        "--verbose 1 --mip 0 generate-tasks -m 0 --roi-start 0 0 0 --chunk-size 8 32 32 -g 1 1 1 "
        "cutout --volume-path=file://em --expand-margin-size 2 8 8 --fill-missing -o image "
        "inference --name aff-inference -i image --dtype float32 --framework identity "
        "--input-patch-size 8 32 32 --output-patch-size 8 32 32 --output-patch-overlap 2 8 8 "
        "--output-crop-margin 2 8 8 --num-output-channels 1 --batch-size 1 "
        "delete-chunk --name delete-img -c image write-h5 -f aff.h5",
        5,
        lambda: np.allclose(h5("aff.h5")[0], IMAGE[0:8, 0:32, 0:32] / 255, atol=1e-3),
    ),
    "0.6 a queue": Runs(
        "--mip 0 fetch-task -r 0 --queue-name=QUEUE --visibility-timeout=1800 "
        "cutout --volume-path=file://em --expand-margin-size 2 8 8 --fill-missing "
        f"inference {NET} --num-output-channels 1 --batch-size 1 "
        "crop-margin -m 0 0 0 "
        "save --volume-path=file://map --upload-log --nproc 0 --create-thumbnail "
        "delete-task-in-queue",
        7,
        lambda: np.allclose(
            np.asarray(CloudVolume("file://map")[0:32, 0:32, 0:8])[..., 0].T,
            IMAGE[0:8, 0:32, 0:32] / 255,
            atol=1e-3,
        ),
        box="0-8_0-32_0-32",
    ),
    "0.6 a pyramid from a queue": Runs(
        "--mip 0 fetch-task -q QUEUE -v 60 -r 0 cutout -v file://em -m 0 --fill-missing "
        "downsample-upload -v file://em --start-mip 1 --stop-mip 2 delete-task-in-queue",
        2,
        lambda: CloudVolume("file://em", mip=1)[:].any(),
        box="0-16_0-64_0-64",
    ),
    "1.0 meshes": Runs(
        "--mip 0 generate-tasks --layer-path file://seg -c 8 32 32 "
        "read-precomputed -v file://seg mesh -o file://seg",
        2,
        lambda: json.loads(Path("seg/info").read_text())["mesh"] == "mesh_mip_0_err_40",
    ),
    "1.0 meshes in files": Runs(
        "--mip 2 read-h5 -f seg0.h5 -x 40 8 8 mesh -t ply -v 40 8 8 -o file://meshes",
        1,
        lambda: [path.name for path in Path("meshes").iterdir()] == ["7.ply"],
    ),
    "1.0 empty boxes": Runs(
        "create-chunk --all-zero skip-all-zero --pre marks/ --post .h5 write-h5 -f out/",
        4,
        lambda: [path.name for path in Path("marks").iterdir()] == ["0-64_0-64_0-64.h5"],
    ),
    "1.0 tasks that are done": Runs(
        "generate-tasks --roi-start 0 0 0 --chunk-size 8 32 32 skip-task --pre done/ --post .h5 "
        "read-h5 -f no-such-file.h5",
        4,
    ),
    "1.0 log level": Runs(
        "--log-level debug create-chunk --size 12 48 48 inference --input-patch-size 8 32 32 "
        "--output-patch-overlap 2 8 8 --patch-num 2 2 2 --framework identity --batch-size 3",
        1,
    ),
    "1.0 info": Runs(
        "create-chunk --size 16 32 32 --dtype uint32 --not-all-zero "
        "create-info --voxel-size 8 8 8 --block-size 16 16 16 --output-layer-path file://made",
        2,
        lambda: CloudVolume("file://made").shape[:3] == (32, 32, 16),
    ),
    "1.0 info of a given size": Runs(
        "create-info -v 16 32 32 -l file://sized -b 16 16 16 -s 40 8 8 -t image -d uint8",
        2,
        lambda: CloudVolume("file://sized").shape[:3] == (32, 32, 16),
    ),
    "1.0 NRRD": Runs("create-chunk write-nrrd -f img.nrrd read-nrrd -f img.nrrd -o b", 2),
    "1.0 dry run": Runs(
        "--dry-run --log-level info setup-env -l file://new --volume-start 0 0 0 "
        "--volume-stop 64 512 512 --max-ram-size 4 --input-patch-size 20 128 128 "
        "--output-patch-size 16 96 96 --output-patch-overlap 6 32 32 --channel-num 3 "
        "--dtype float32 -m 0 --encoding raw --voxel-size 45 16 16 --max-mip 5",
        1,
        lambda: not Path("new").exists(),
    ),
    "1.0 skeletons": Runs(
        "read-h5 -f seg0.h5 mask-out-objects -d 50 -s 7 "
        "skeletonize --voxel-size 40 8 8 --output-path file://skeletons",
        2,
        lambda: [path.name for path in Path("skeletons").iterdir()] == ["7:0-64_0-64_0-16"],
    ),
    "1.1 pictures": Runs(
        "read-pngs --path-prefix stack/ --volume-offset 5 0 0 write-tif -f stack.tif",
        4,
        lambda: np.array_equal(tifffile.imread("stack.tif"), IMAGE),
    ),
    "1.1 an array": Runs(
        "read-npy --file-path em.npy --resolution 40 8 8 -o array save-zarr --store file://a.zarr "
        "-i array -s 16 64 64 --chunk-size 8 32 32",
        4,
        lambda: Path("a.zarr").is_dir(),
    ),
}

TOLD = {
    "0.2 files of any kind": Told(
        "create-chunk write-h5 --file-name=img.h5 read-file --file-name=img.h5",
        "load-h5 reads HDF5 files, and load-tif reads TIFF files",
    ),
    "0.2 CloudWatch": Told(
        f"create-chunk --size 36 448 448 inference {NET} cloud-watch --log-name speed",
        "chunkflow --metrics cloudwatch",
    ),
    "0.2 a queue": Told(
        "--verbose --mip 2 generate-task --queue-name=q --visibility-timeout=1800 "
        "cutout --volume-path=file://em",
        "fetch-task-from-sqs -q QUEUE",
    ),
    "0.2 logs": Told(
        "generate-tasks -c 8 32 32 cutout --volume-path file://em upload-log --log-path file://log",
        "give --upload-log to save-precomputed",
    ),
    "0.5 the stop of a cutout": Told(
        "cutout --volume-path file://em --start 0 0 0 --stop 8 64 64 write-h5 --file-name cut.h5",
        "give --chunk-size, which is the stop minus the start",
    ),
    "0.5 a file of one's own": Told(
        "create-chunk custom-operator --opprogram mine.py --args x", "plugin -f FILE"
    ),
    "0.6 agglomeration": Told(
        "read-h5 --file-name affs.h5 -o affs agglomerate --threshold 0.7 --aff-threshold-low 0.001 "
        "-i affs -o seg write-tif -i seg -f seg.tif neuroglancer -c seg -p 33333 -v 30 6 6",
        "plugin -f examples/plugins/agglomerate",
    ),
    "0.6 overlapping boxes": Told(
        "generate-tasks -l file://em -m 0 -o 0 0 0 -c 8 32 32 -q my-queue",
        "boxes do not overlap",
    ),
    "0.6 strides": Told(
        "generate-tasks --chunk-size 8 32 32 --grid-size 2 2 2 --stride 8 32 32 --queue-name q",
        "each box starts where the one before it stops",
    ),
    "0.6 boxes into a queue": Told(
        "generate-tasks --layer-path file://em -c 8 32 32 -q my-queue",
        "chunkflow-producer enqueue --queue my-queue",
    ),
    "0.6 skipping by a mask": Told(
        "--verbose --mip 1 fetch-task -r 20 --queue-name=q cutout --volume-path=file://em "
        "--expand-margin-size 10 128 128 --fill-missing mask --name=check-all-zero "
        "--check-all-zero --volume-path=file://mask --mip 8 --skip-to=save --fill-missing "
        f"--inverse inference {NET} save --volume-path=file://map --upload-log --nproc 0",
        "give --mask-volume-path, --mask-mip and --mask-inverse to inference",
    ),
    "0.6 histograms": Told(
        "--verbose 2 --mip 0 generate-tasks -c 8 32 32 cutout --volume-path=file://em -o image "
        "normalize-section-contrast -i image -o image -p gs://bucket/levels -l 0.01 -u 0.01",
        "normalize-contrast takes the histograms from the chunk",
    ),
    "0.6 meshes of some objects": Told(
        "--mip 3 fetch-task -q my-queue -v 1200 cutout -v file://seg --fill-missing "
        "mesh -o file://seg --ids 76181,76182 delete-task-in-queue",
        "put mask-out-objects --selected-obj-ids IDS before mesh",
    ),
    "0.6 small objects": Told(
        "--mip 3 fetch-task -q my-queue -v 600 cutout -v file://seg --fill-missing "
        "mesh --voxel-size 45 5 5 -o file://seg --dust-threshold 100 delete-task-in-queue",
        "put mask-out-objects --dust-size-threshold N before mesh",
    ),
    "0.6 a whole inference": Told(
        "--mip 2 fetch-task -q my-queue cutout -v file://em -m 0 inference --convnet-model net.py "
        "--framework pznet --patch-size 20 256 256 --patch-overlap 4 64 64 crop-margin -m 4 64 64 "
        "save -v file://map --upload-log cloud-watch delete-task-in-queue",
        "chunkflow --metrics cloudwatch",
    ),
    "1.0 log file": Told("--log-level info --log-file log.txt create-chunk", "2> FILE"),
    "1.0 plugins": Told(
        "create-chunk plugin -f median_filter -i chunk -o chunk", "CHUNKFLOW_PLUGIN_DIR"
    ),
    "1.0 missing files": Told(
        "generate-tasks -c 8 32 32 read-h5 -f parts/ --zero-filling", "a missing file is an error"
    ),
    "1.1 N5": Told("load-n5 -f file://a.n5", "load-zarr -f STORE reads N5 too"),
    "1.1 renumbering": Told("read-h5 -f seg0.h5 remap-segmentation", "write a plugin"),
}


def run(line: str) -> None:
    done = CliRunner().invoke(chunkflow.cli, shlex.split(line), catch_exceptions=False)
    assert done.exit_code == 0, done.output


@pytest.fixture
def main(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[Any, list[str]]]:
    """Run the command; its exit status, and the lines that it writes to stderr."""

    def run_main(line: str) -> tuple[Any, list[str]]:
        monkeypatch.setattr("sys.argv", ["chunkflow", *shlex.split(line)])
        with pytest.raises(SystemExit) as ended:
            chunkflow.main()
        return ended.value.code, capsys.readouterr().err.splitlines()

    return run_main


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image and a segmentation: volumes em and seg with two mips, and files."""
    folder: Path = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as environment:
        environment.chdir(folder)
        make()
    return folder


def make() -> None:
    seg = np.zeros(SHAPE, np.uint32)
    seg[2:14, 8:56, 8:56] = 7
    tifffile.imwrite("em.tif", IMAGE, photometric="minisblack")
    np.save("em.npy", IMAGE)
    with h5py.File("seg0.h5", "w") as file:
        file["main"] = seg
        file.attrs["layer_type"] = "segmentation"
    create = "create-info -z 16 64 64 -b 8 32 32 -s 40 8 8 -f 2 2 2"
    run(f"{create} -v file://em -t image -d uint8 -m 1")
    run(f"{create} -v file://seg -t segmentation -d uint32 -m 1")
    run(f"{create} -v file://map -t image -d float32")
    run("load-tif -f em.tif -s 40 8 8 save-precomputed -v file://em")
    run("load-h5 -f seg0.h5 -x 40 8 8 save-precomputed -v file://seg")
    run("load-tif -f em.tif save-pngs -o stack/")
    Path("marks").mkdir()
    Path("done").mkdir()
    Path("done/0-8_0-32_0-32.h5").touch()


@pytest.fixture
def data(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of that folder, in which the test runs."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("line", RUN.values(), ids=[*RUN])
@pytest.mark.usefixtures("data")
def test_an_old_line_runs(
    line: Runs,
    main: Callable[[str], tuple[Any, list[str]]],
    request: pytest.FixtureRequest,
    unique_name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "QUEUE" in line.line:
        request.getfixturevalue("aws")
        monkeypatch.setattr(fetch_task_from_sqs, "_POLL_SECONDS", 0)
        client = make_client("us-east-1")
        queue, _ = create_queue(client, unique_name)
        client.send_message(QueueUrl=queue.url, MessageBody=line.box)
    status, told = main(line.line.replace("QUEUE", unique_name))
    assert status == 0, told
    assert len([text for text in told if text.startswith("note: ")]) == line.notes, told
    assert line.check()


@pytest.mark.parametrize("line", TOLD.values(), ids=[*TOLD])
@pytest.mark.usefixtures("data")
def test_an_old_line_is_told_the_cure(
    line: Told, main: Callable[[str], tuple[Any, list[str]]]
) -> None:
    status, told = main(line.line)
    error = [text for text in told if not text.startswith("note: ")]
    assert status == 2, told
    assert len(error) == 2, told
    assert error[0].startswith("error: "), told
    assert line.cure in error[1], told
