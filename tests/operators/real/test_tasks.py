"""Operators that create, change, skip and summarise tasks, with real voxels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from cloudvolume import CloudVolume

from chunkflow_worker.job.sqs import make_client
from chunkflow_worker.operators import fetch_task_from_sqs
from producer.send.queue import create_queue

# Eight boxes, by name.
REGION, SLICES = "-b 60-92_60-92_60-124 -c 16 16 32", np.s_[60:92, 60:92, 60:124]
BOXES = {
    f"{z}-{z + 16}_{y}-{y + 16}_{x}-{x + 32}": np.s_[z : z + 16, y : y + 16, x : x + 32]
    for z in (60, 76)
    for y in (60, 76)
    for x in (60, 92)
}


def stored(folder: str) -> dict[str, np.ndarray]:
    """Voxels of all cutouts in a folder, by box."""
    arrays = {}
    for path in Path(folder).glob("*.h5"):
        with h5py.File(path) as file:
            arrays[path.stem] = file["main"][:]
    return arrays


def are_cutouts_of(array: np.ndarray, boxes: dict[str, np.ndarray]) -> bool:
    def cut(box: str) -> np.ndarray:
        return array[tuple(slice(*map(int, span.split("-"))) for span in box.split("_"))]

    return all(np.array_equal(voxels, cut(box)) for box, voxels in boxes.items())


@pytest.mark.shows("create-bbox")
def test_create_bbox(chunkflow, raw) -> None:
    chunkflow("create-bbox -s 60 61 62 -p 70 81 92", raw.load, "save-h5 -f out/")
    chunkflow("create-bbox -s 0 0 240 -z 5 6 10", raw.load, "save-h5 -f out/")
    found = stored("out")
    assert set(found) == {"60-70_61-81_62-92", "0-5_0-6_240-250"}
    assert are_cutouts_of(raw.array, found)


@pytest.mark.shows("generate-tasks", "fetch-task-from-file", "adjust-bbox")
def test_boxes_from_a_file_are_enlarged(chunkflow, raw) -> None:
    chunkflow(f"generate-tasks {REGION} -f boxes.npy")
    assert sorted(map(tuple, np.load("boxes.npy").tolist())) == sorted(
        (*(part.start for part in at), *(part.stop for part in at)) for at in BOXES.values()
    )
    chunkflow(
        "fetch-task-from-file -f boxes.npy -i 1 -g 6",
        "adjust-bbox -c -1 -2 -3 4 5 6",
        raw.load,
        "save-h5 -f out/",
    )
    found = stored("out")
    assert set(found) == {"75-96_74-97_57-98", "75-96_74-97_89-130"}, (
        "the last two of the eight boxes"
    )
    assert are_cutouts_of(raw.array, found)


@pytest.mark.shows("mark-complete", "skip-task-by-file", "cleanup")
def test_boxes_with_a_flag_are_skipped(chunkflow, raw) -> None:
    chunkflow(
        f"generate-tasks {REGION}",
        raw.load,
        "save-h5 -f first/",
        "mark-complete -p flags/ -s .done",
    )
    assert {path.name for path in Path("flags").iterdir()} == {f"{box}.done" for box in BOXES}
    assert are_cutouts_of(raw.array, stored("first"))
    lost, *_ = BOXES
    Path(f"flags/{lost}.done").unlink()
    Path("flags/notes.txt").write_text("kept")
    chunkflow(
        f"generate-tasks {REGION}",
        "skip-task-by-file -p flags/ -s .done",
        raw.load,
        "save-h5 -f second/",
    )
    assert set(stored("second")) == {lost}
    assert are_cutouts_of(raw.array, stored("second"))
    chunkflow("cleanup -d flags -s .done")
    assert [path.name for path in Path("flags").iterdir()] == ["notes.txt"]


@pytest.mark.shows("skip-all-zero")
def test_boxes_without_the_neuron_are_skipped(chunkflow, bodies) -> None:
    ids = bodies.array[SLICES]
    there = {box: np.unique(bodies.array[at]) for box, at in BOXES.items()}
    neuron = next(i for i in np.unique(ids) if 2 < sum(i in found for found in there.values()) < 6)
    chunkflow(
        f"generate-tasks {REGION}",
        bodies.load,
        f"mask-out-objects -s {neuron}",
        "skip-all-zero -p none/ -s .empty",
        "save-h5 -f out/",
    )
    assert set(stored("out")) == {box for box, found in there.items() if neuron in found}
    assert are_cutouts_of(bodies.array * (bodies.array == neuron), stored("out"))
    assert {path.name for path in Path("none").iterdir()} == {
        f"{b}.empty" for b, found in there.items() if neuron not in found
    }


@pytest.mark.shows("skip-task-by-blocks-in-volume")
def test_boxes_whose_blocks_exist_are_skipped(chunkflow, raw) -> None:
    chunkflow(
        "create-info -v file://em -z 32 32 64 -o 60 60 60 -s 10 10 10 -b 8 16 16 -t image -d uint8"
    )
    chunkflow(
        "generate-tasks -b 60-92_60-92_60-92 -c 16 16 32", raw.load, "save-precomputed -v file://em"
    )
    printed = chunkflow(
        f"generate-tasks {REGION}",
        "skip-task-by-blocks-in-volume -v file://em",
        raw.load,
        "save-precomputed -v file://em",
    )
    skipped = set(re.findall(r"skipped (\S+): all blocks are in", printed))
    assert skipped == {box for box in BOXES if box.endswith("60-92")}
    assert np.array_equal(
        CloudVolume(f"file://{Path('em').absolute()}", progress=False)[:][..., 0].T,
        raw.array[SLICES],
    )


@pytest.mark.shows("fetch-task-from-sqs", "delete-task-in-queue")
def test_boxes_from_a_queue(chunkflow, raw, aws, unique_name, monkeypatch) -> None:
    monkeypatch.setattr(fetch_task_from_sqs, "_POLL_SECONDS", 0)
    client = make_client("us-east-1")
    queue, _ = create_queue(client, unique_name, max_receives=2, visibility_seconds=30)
    for box in BOXES:
        client.send_message(QueueUrl=queue.url, MessageBody=box)
    chunkflow(
        f"fetch-task-from-sqs -q {unique_name} -r 0",
        raw.load,
        "save-h5 -f out/",
        "delete-task-in-queue",
    )
    assert set(stored("out")) == set(BOXES)
    assert are_cutouts_of(raw.array, stored("out"))
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    left = client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=names)["Attributes"]
    assert [left[name] for name in names] == ["0", "0"]


@pytest.mark.shows("log-summary")
def test_log_summary_of_a_run(chunkflow, raw) -> None:
    chunkflow(
        "--ledger log",
        f"generate-tasks {REGION}",
        raw.load,
        "normalize-intensity",
        "save-h5 -f out/",
    )
    timers = [json.loads(path.read_text())["timer"] for path in Path("log").glob("*.json")]
    rows = {
        line.split()[0]: line.split()[1:]
        for line in chunkflow("log-summary -l log").splitlines()
        if line.strip()
    }
    assert len(timers) == len(BOXES)
    for name in ("load-h5", "normalize-intensity", "save-h5"):
        tasks, seconds, mean, *_ = rows[name]
        assert int(tasks) == 8
        assert float(seconds) == pytest.approx(sum(timer[name] for timer in timers), abs=0.006)
        assert float(mean) == pytest.approx(sum(timer[name] for timer in timers) / 8, abs=0.006)
    assert " ".join(rows["8"]).startswith(
        f"tasks, {raw.array[SLICES].size / 1e6:.1f} Mvoxel, within"
    )


@pytest.mark.shows("setup-env")
def test_run_a_job_prepared_by_setup_env(chunkflow, raw) -> None:
    options: dict[str, Any] = {
        "voxel_offset": (60, 60, 60),
        "chunk_size": (32, 32, 32),
        "layer_type": "image",
    }
    CloudVolume.from_numpy(
        raw.array[SLICES].T,
        f"file://{Path('em').absolute()}",
        resolution=(10, 10, 10),
        progress=False,
        **options,
    )
    printed = chunkflow(
        "setup-env --volume-start 60 60 60 -s 32 32 64 -l file://copy -r 0.0006 "
        "-z 8 16 16 -o 2 4 4 -d uint8 -v 10 10 10 -x 3"
    )
    memory = re.search(r"memory: (\S+) GB for two tasks in flight", printed)
    assert memory is not None
    assert float(memory[1]) <= 0.9 * 0.0006
    chain = yaml.safe_load(Path("pipeline.yaml").read_text())
    chain["operators"][0]["volume_path"] = "file://em"
    chain["operators"][1] |= {"framework": "identity"}
    Path("pipeline.yaml").write_text(yaml.safe_dump(chain))
    chunkflow("--pipeline pipeline.yaml")
    copy = CloudVolume(f"file://{Path('copy').absolute()}", progress=False)
    assert copy.voxel_offset.tolist() == [60, 60, 60]
    assert copy.resolution.tolist() == [10, 10, 10]
    assert copy.dtype == "uint8"
    assert np.abs(copy[:][..., 0].T - raw.array[SLICES].astype(int)).max() <= 1
    size = chain["tasks"]["chunk_size"]
    boxes = np.prod([-(-n // step) for n, step in zip((32, 32, 64), size, strict=True)])
    assert boxes > 1
    assert len(list(Path("copy/thumbnail").iterdir())) == boxes
