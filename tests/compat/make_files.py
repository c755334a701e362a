"""Make `files/`: what a version of this package leaves behind when a job stops half-way.

Run it with the interpreter of an environment in which that version is installed:

    python tests/compat/make_files.py tests/compat/files

It uses only the commands of that version and its local AWS. The files in this repository are those
of 0.1.0 at commit cd6ecae. `test_version_before.py` reads them with the code of today, so they are
made once for each version and never brought up to date.

    in/, out/                 precomputed volumes, of which the chain copies one to the other
    voxels.npy                the voxels of `in`, before box 1 became zero and that of box 2 deleted
    out.zarr/, out.zarr3/     the output once more, as Zarr 2 and Zarr 3
    pipeline.yaml             the chain, frozen by `chunkflow --freeze`
    out/log/                  the ledger: records of tasks, and of the job that has twelve boxes
    messages.json             bodies of messages, see `Messages`

The boxes are numbered in the order of the grid. The job was enqueued in three parts: 0 to 6, 6 to 8
and 9 to 11. What the worker did:

    0, 3, 4, 5, 7    done
    1                skipped, since its input is all zero
    2                failed for good, since its input is missing: a dead letter
    6                done twice, since two parts of the job hold it
    8                failed once, since its input was damaged; preempted in its second attempt
    9, 10, 11        not started

Paths in the pipeline and in the job are relative, so that the chain has the same digest in every
folder. Records name the volumes that were written by absolute paths: in their place stands PLACE,
which the reader must replace by the folder of its copy.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypedDict

import boto3

PLACE = "/place-of-the-files"
QUEUE = "compat"
JOB = "before"
START, BOX, COUNT = (3, 10, 20), (4, 16, 16), (2, 2, 3)  # zyx: first voxel, voxels, boxes
ZERO, MISSING, PREEMPTED, LAST_DONE = 1, 2, 8, 7

_COMMANDS = Path(sys.executable).parent
_SETTINGS = {
    "BACKOFF_SECONDS": "3",
    "GRACE_SECONDS": "0",
    "IN_FLIGHT": "1",
    "METRICS": "none",
    "POLL_SECONDS": "1",
    "SPOT_NOTICE": "false",
    "WORKER_NAME": "worker-before",
}


class Messages(TypedDict):
    """Bodies of SQS messages.

    waiting: those in the queue, of the boxes 8 to 11. dead: those among the dead letters, of box 2.
    done: those of tasks that are done; SQS may deliver them once more.
    """

    waiting: list[str]
    dead: list[str]
    done: list[str]


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder, _local_aws(Path(folder)):
        root = Path(folder).resolve()
        _make_chain(root)
        _make_input(root)
        messages = _run_half_of_the_job(root)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in ("in", "out", "out.zarr", "out.zarr3"):
            shutil.copytree(root / name, target / name)
        for name in ("voxels.npy", "pipeline.yaml"):
            shutil.copy(root / name, target)
        (target / "messages.json").write_text(json.dumps(messages, indent=1) + "\n")
    for record in (target / "out" / "log").rglob("*.json"):
        record.write_text(record.read_text().replace(str(root), PLACE))


def box_name(number: int) -> str:
    """The box of that number, as text."""
    return "_".join(f"{start}-{stop}" for start, stop in _edges(number))


def block_name(number: int) -> str:
    """The file that holds just the voxels of that box, below the folder of a precomputed volume."""
    name = "_".join(f"{start}-{stop}" for start, stop in reversed(_edges(number)))
    return f"8_8_40/{name}.gz"


def _edges(number: int) -> list[tuple[int, int]]:
    """First and last voxel, the latter exclusive, on the axes z, y and x."""
    place = (number // (COUNT[1] * COUNT[2]), number // COUNT[2] % COUNT[1], number % COUNT[2])
    starts = [first + n * size for first, n, size in zip(START, place, BOX, strict=True)]
    return [(start, start + size) for start, size in zip(starts, BOX, strict=True)]


def _make_chain(root: Path) -> None:
    chain = "generate-tasks -v in -c 4 16 16 load-precomputed -v in skip-all-zero"
    chain += " inference -f identity -s 2 8 8 -v 0 0 0 -c 1 -d uint8"
    for store, driver in (("out.zarr", "zarr"), ("out.zarr3", "zarr3")):
        chain += f" save-zarr -s {store} -b {driver} -c 4 16 16"
    _run(root, "chunkflow", "--freeze pipeline.yaml", chain, "save-precomputed -v out")


def _make_input(root: Path) -> None:
    size = " ".join(str(count * n) for count, n in zip(COUNT, BOX, strict=True))
    geometry = f"-s 40 8 8 -o {' '.join(map(str, START))} -z {size} -b 4 16 16 -d uint8"
    for name in ("in", "out"):
        _run(root, "chunkflow", f"create-info -v {name}", geometry)
    _run(root, "chunkflow generate-tasks -v in create-chunk -e 40 8 8 save-precomputed -v in")
    _run(root, "chunkflow load-precomputed -v in save-npy -f voxels.npy")
    box = f"generate-tasks -b {box_name(ZERO)}"
    _run(root, "chunkflow", box, "create-chunk -p zero -e 40 8 8 save-precomputed -v in")
    (root / "in" / block_name(MISSING)).unlink()


def _run_half_of_the_job(root: Path) -> Messages:
    log = root / "out" / "log"
    sqs = boto3.client("sqs")
    _run(root, f"chunkflow-producer queue create {QUEUE} --max-receives 3")
    dead, waiting = (sqs.get_queue_url(QueueName=n)["QueueUrl"] for n in (f"{QUEUE}-dead", QUEUE))
    enqueue = f"chunkflow-producer enqueue --queue {QUEUE} --job {JOB} --pipeline pipeline.yaml"

    _run(root, enqueue, "--task-index-stop 7")
    with _worker(root):
        _wait(lambda: len(list(log.glob("*.json"))) == 7)
    block = root / "in" / block_name(PREEMPTED)
    sound = block.read_bytes()
    block.write_bytes(gzip.compress(b"too few voxels"))
    _run(root, enqueue, "--task-index-start 6 --task-index-stop 9")
    second_part = _take(sqs, waiting)
    for body in second_part:  # put back as copies that were never received
        sqs.send_message(QueueUrl=waiting, MessageBody=body)
    with _worker(root) as worker:
        _wait((log / f"{box_name(PREEMPTED)}.failed.json").exists)
        block.unlink()
        with _pipe(block):
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
    block.write_bytes(sound)
    _run(root, enqueue, "--task-index-start 9")
    return {
        "waiting": _take(sqs, waiting),
        "dead": _take(sqs, dead),
        "done": [body for body in second_part if f'"{box_name(LAST_DONE)}"' in body],
    }


def _run(root: Path, *command: str) -> None:
    words = " ".join(command).split()
    subprocess.run([_COMMANDS / words[0], *words[1:]], cwd=root, check=True)


@contextmanager
def _local_aws(folder: Path) -> Iterator[None]:
    """Serve until the block ends; the variables that lead to it are set."""
    command: list[str | Path] = [_COMMANDS / "chunkflow-worker", "local-aws"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as server:
        assert server.stdout is not None
        try:
            for _ in range(6):
                name, _, value = server.stdout.readline().removeprefix("export ").partition("=")
                os.environ[name] = value.strip()
            yield
        finally:
            server.terminate()


@contextmanager
def _worker(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process until the block ends."""
    command: list[str | Path] = [
        _COMMANDS / "chunkflow-worker",
        "run",
        "--pipeline=pipeline.yaml",
        f"--queue={QUEUE}",
    ]
    settings = {f"CHUNKFLOW_{name}": value for name, value in _SETTINGS.items()}
    with subprocess.Popen(command, cwd=root, env=os.environ | settings) as process:
        try:
            yield process
        finally:
            process.terminate()


def _take(sqs: Any, url: str) -> list[str]:
    """Take all messages out of a queue; returns their bodies."""
    bodies = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        for message in messages:
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


@contextmanager
def _pipe(file: Path) -> Iterator[None]:
    """Make the file a named pipe. The block begins when someone reads it, and holds the reader."""
    os.mkfifo(file)
    writers: list[int] = []

    def is_being_read() -> bool:
        with suppress(OSError):  # it has no reader yet
            writers.append(os.open(file, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writers)

    try:
        _wait(is_being_read)
        yield
    finally:
        file.unlink()
        for writer in writers:
            os.close(writer)


def _wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the worker did not do what it was given")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
