"""Mistakes in what users write: paths, names, options. Each ends with status 2 and a cure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.volumes.precomputed.info import create_volume
from tests.support.mistakes import told

BOX = "create-bbox -s 0 0 0 -z 8 8 8"

LINES = {
    # paths
    f"chunkflow {BOX} load-precomputed -v s3:/lab/em save-npy -f o.npy": "did you mean s3://lab/em?",
    "chunkflow load-precomputed -v gs:lab/em save-npy -f o.npy": "did you mean gs://lab/em?",
    "chunkflow load-zarr -f https:/host/em save-npy -f o.npy": "did you mean https://host/em?",
    "chunkflow create-info -v S3://lab/em -z 8 8 8 -b 8 8 8": "did you mean s3://lab/em?",
    "chunkflow create-chunk save-zarr -s gcs://lab/em": "did you mean gs://lab/em?",
    "chunkflow create-chunk save-precomputed -v azure://lab/em": "legal: file://, s3://",
    "chunkflow create-chunk save-h5 -f s3://lab/em.h5": "a path on this machine",
    "chunkflow create-chunk save-tif -f s3:/lab/em_": "./s3:/lab/em_ is a path on this machine",
    "chunkflow create-chunk mesh -o file:/tmp/mesh": "did you mean file:///tmp/mesh?",
    "chunkflow create-chunk mark-complete -p 's3//lab/done/'": "did you mean s3://lab/done/?",
    "chunkflow load-h5 -f ''": "write ./ for the current folder",
    "chunkflow load-precomputed -v 'em '": "did you mean em?",
    "chunkflow load-precomputed -v '~no-such-user/em'": "no user of this machine",
    f"chunkflow --ledger s3:/lab/log {BOX} create-chunk": "did you mean s3://lab/log?",
    "chunkflow log-summary -l S3://lab/log": "did you mean s3://lab/log?",
    "chunkflow-producer status --queue q --ledger s3:/lab/log": "did you mean s3://lab/log?",
    "chunkflow-producer verify --ledger gs:/lab/log": "did you mean gs://lab/log?",
    "chunkflow-producer enqueue --queue q -v s3:/lab/em": "did you mean s3://lab/em?",
    "chunkflow-producer enqueue --queue q --pipeline slash.yaml": "did you mean s3://lab/em?",
    "chunkflow-worker check slash.yaml": "did you mean s3://lab/em?",
    # variables
    "chunkflow create-chunk save-h5 -f '$OUT/em_'": "write ${env:OUT}",
    "chunkflow create-chunk save-precomputed -v '${OUT}/em'": "write ${env:OUT}",
    "chunkflow create-chunk save-zarr -s '{OUT}/em'": "write ${env:OUT}",
    "chunkflow create-chunk save-h5 -f '${env:ABSENT}/em_'": "export ABSENT=",
    "chunkflow-worker check variable.yaml": "write ${env:OUT}",
    "chunkflow-worker check absent-variable.yaml": "export ABSENT=",
    "chunkflow-producer enqueue --queue q --pipeline absent-variable.yaml": "export ABSENT=",
    # outputs that are read only
    "chunkflow create-info -v https://host/em -z 8 8 8 -b 8 8 8": "write to a bucket",
    "chunkflow create-chunk save-precomputed -v https://s3.amazonaws.com/lab/em": "s3://lab/em?",
    "chunkflow create-chunk save-zarr -s https://host/em": "write to a bucket",
    "chunkflow downsample-upload -v https://host/em": "write to a bucket",
    f"chunkflow --ledger https://host/log {BOX} create-chunk": "write to a bucket",
    "chunkflow-worker check read-only.yaml": "write to a bucket",
    "chunkflow-producer enqueue --queue q --pipeline read-only.yaml": "write to a bucket",
    # formats
    "chunkflow download-mesh -i 7 -v zarr://s3://lab/em": "load-volume reads it",
    "chunkflow mesh-manifest -v 's3://lab/em|zarr3:'": "save-volume writes it",
    "chunkflow load-zarr -f precomputed://s3://lab/em": "load-volume reads it",
    "chunkflow create-chunk mesh -o n5://s3://lab/em": "save-volume writes it",
    "chunkflow create-chunk save-volume -v graphene://https://host/seg": "write to a bucket",
    "chunkflow load-zarr -f zarr3://em -b n5": "leave one of them out",
    "chunkflow-producer enqueue --queue q -v graphene://s3://lab/em": "names no server",
    # info files
    "chunkflow load-precomputed -v odd": "legal: uint8, uint16",
    "chunkflow generate-tasks -v odd -c 4 4 4 create-chunk": "legal: uint8, uint16",
    "chunkflow-producer enqueue --queue q -v odd": "legal: uint8, uint16",
    "chunkflow create-info -v odd -z 8 8 8 -b 8 8 8": "legal: uint8, uint16",
    "chunkflow create-chunk -s 8 8 8 save-precomputed -v odd": "legal: uint8, uint16",
    # queues
    "chunkflow-producer status --queue jobs.fifo": "use a standard queue",
    "chunkflow-producer failures --queue sqs://jobs": "give the name of the queue",
    "chunkflow-producer redrive --queue arn:aws:sns:us-east-1:1:jobs": "for example arn:aws:sqs:",
    "chunkflow-producer queue create 'my jobs'": "use up to 75 letters",
    "chunkflow-producer queue create jobs-dead": "give jobs: both queues",
    "chunkflow-producer queue delete jobs.fifo --yes": "use a standard queue",
    "chunkflow-producer enqueue --queue jobs.fifo -c 1 1 1": "use a standard queue",
    "chunkflow fetch-task-from-sqs -q jobs.fifo create-chunk": "use a standard queue",
    "chunkflow-producer status --queue arn:aws:sqs:eu-west-1:1:jobs": "set AWS_REGION=eu-west-1",
    "chunkflow-producer status --queue no-such-queue": "queue create no-such-queue",
    "chunkflow fetch-task-from-sqs -q no-such-queue create-chunk": "queue create no-such-queue",
    # values
    "chunkflow-worker check octal.yaml": "put it in quotes",
    "chunkflow-worker check quotes.yaml": "put it in quotes",
    "chunkflow-worker check number.yaml": "true or false",
    "chunkflow-worker check absent.yaml": "No such file",
    "chunkflow create-chunk -s 4 4": "see chunkflow create-chunk --help",
    "chunkflow create-chunk -s 4 0 4": "takes numbers above 0",
    "chunkflow create-chunk save-zarr -s em --dtype quint8": "for example uint8",
    "chunkflow --pipeline s3://lab/p.yaml": "takes a path on this machine",
    "chunkflow --freeze s3:/lab/p.yaml create-chunk": "./s3:/lab/p.yaml is a path on this",
    "chunkflow --freeze '$OUT/p.yaml' create-chunk": "write ${env:OUT}",
    "chunkflow-worker check s3:/lab/p.yaml": "takes a path on this machine",
    "chunkflow-producer verify --pipeline '$OUT/p.yaml'": "write ${env:OUT}",
    # storage
    "chunkflow load-precomputed -v s3://no-such-bucket-of-anyone/em": "aws s3 mb s3://no-such",
    "chunkflow create-chunk save-h5 -f file.txt/em.h5": "Not a directory",
    "chunkflow load-precomputed -v absent": "check the path",
}  # fmt: skip

FILES = {
    "slash": {"op": "save-precomputed", "volume_path": "s3:/lab/em"},
    "variable": {"op": "save-h5", "file_name": "${OUT}/em_"},
    "absent-variable": {"op": "save-h5", "file_name": "${env:ABSENT}/em_"},
    "read-only": {"op": "save-precomputed", "volume_path": "https://host/em"},
    "quotes": {"op": "save-h5", "file_name": 1.5},
    "number": {"op": "create-chunk", "size": [True, 4, 4]},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws: dict[str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABSENT", raising=False)
    for name, operator in FILES.items():
        chain: dict[str, Any] = {
            "tasks": {"op": "generate-tasks", "chunk_size": [4, 4, 4], "roi_size": [4, 4, 4]},
            "operators": [{"op": "create-chunk"}, operator],
        }
        Path(f"{name}.yaml").write_text(yaml.safe_dump(chain))
    Path("octal.yaml").write_text("operators:\n  - {op: save-h5, file_name: 007}\n")
    Path("file.txt").touch()
    bounds = BoundingBox.sized((0, 0, 0), (8, 8, 8))
    create_volume(
        "odd", bounds=bounds, voxel_size=(1, 1, 1), block_size=Vec3(8, 8, 8), dtype="uint8"
    )
    info = json.loads(Path("odd/info").read_text())
    Path("odd/info").write_text(json.dumps(info | {"data_type": "uchar"}))


@pytest.mark.parametrize("line", LINES)
def test_a_mistake_ends_with_status_2_in_a_few_lines_with_a_cure(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert LINES[line] in told(line, capsys)


def test_there_are_enough_of_them() -> None:
    assert len(LINES) >= 60
