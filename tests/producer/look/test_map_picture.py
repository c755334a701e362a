"""Pictures of the map: their pixels, and that anyone with the address can read them."""

from __future__ import annotations

import urllib.request
from io import BytesIO
from pathlib import Path

import boto3
import numpy as np
from PIL import Image

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.grid import Boxes
from chunkflow_worker.job.ledger import Ledger
from chunkflow_worker.job.record import Record
from producer.look.map_picture import picture, put_picture
from producer.look.survey import Survey

GREEN, GREY, ORANGE, WHITE = (0, 158, 115), (211, 216, 223), (230, 159, 0), (255, 255, 255)
BOXES = Boxes(Vec3(0, 0, 0), Vec3(4, 4, 4), Vec3(2, 2, 3), None, 0, 11)  # without the last box


def survey(ledger: Ledger) -> Survey:
    """The column at y 0, x 0 is done, half of that beside it; one box at y 1, x 0 has failed."""
    for place, state in ((0, "done"), (6, "done"), (1, "done"), (3, "failed"), (9, "done")):
        ledger.write(
            Record(
                bbox=str(BOXES[place]), job="j", task_id="t", state=state, attempts=1, worker="w"
            )
        )
    made = Survey(ledger, BOXES)
    made.look()
    return made


def test_each_column_of_boxes_is_a_cell(tmp_path: Path) -> None:
    pixels = np.array(Image.open(BytesIO(picture(survey(Ledger(str(tmp_path), to_write=True))))))
    cells = pixels[::32, ::32]
    assert cells.shape == (2, 3, 3)
    half = tuple((np.add(GREEN, GREY) / 2).round().astype(int))
    found = [[tuple(int(value) for value in cell) for cell in row] for row in cells]
    assert found[0] == [GREEN, half, GREY]
    assert found[1][0] == ORANGE
    assert found[1][2] == GREY, "its other box is not of the job"
    assert tuple(pixels[31, 31]) == WHITE, "a line between the cells"


def test_a_cell_without_boxes_of_the_job_is_white(tmp_path: Path) -> None:
    boxes = Boxes(Vec3(0, 0, 0), Vec3(4, 4, 4), Vec3(1, 1, 3), None, 1, 3)
    made = Survey(Ledger(str(tmp_path), to_write=True), boxes)
    made.look()
    cells = np.array(Image.open(BytesIO(picture(made))))[::32, ::32]
    assert [tuple(int(value) for value in cell) for cell in cells[0]] == [WHITE, GREY, GREY]


def test_the_address_in_s3_needs_no_keys(aws: dict[str, str], unique_name: str) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    ledger = Ledger(f"s3://{unique_name}/ledger", to_write=True)
    url = put_picture(ledger, "j", survey(ledger))
    assert "/reports/j.map.png?" in url
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["Content-Type"] == "image/png"
        assert Image.open(BytesIO(answer.read())).size == (96, 64)


def test_on_a_disk_the_address_is_the_path(tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path), to_write=True)
    path = put_picture(ledger, "j", survey(ledger)).removeprefix("file://")
    assert path == f"{tmp_path}/reports/j.map.png"
    assert Path(path).is_file()
