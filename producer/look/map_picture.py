"""The map of a job as a picture beside its ledger, which a notice can show."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from chunkflow_worker.config.extras import needs
from chunkflow_worker.report.aws_session import aws_session
from chunkflow_worker.storage.bucket import client_options
from chunkflow_worker.storage.files import Files

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from chunkflow_worker.job.ledger import Ledger
    from producer.look.survey import Survey

SECONDS = 7 * 24 * 3600
"""For which the address of a picture in S3 is valid, or until the keys that signed it expire."""

_COLOURS = {  # those of the page
    "outside": (255, 255, 255),
    "waiting": (211, 216, 223),
    "done": (0, 158, 115),
    "failed": (230, 159, 0),
}
_SIDE = 512  # pixels at most, unless the grid has more boxes
_CELL = 32  # pixels of a box at most


def put_picture(ledger: Ledger, job: str, survey: Survey) -> str:
    """Write <ledger>/reports/<job>.map.png; returns its address.

    In S3 it is a signed URL that anyone may read for a week, elsewhere the path.
    Raises ConfigError without Pillow, and StorageUnavailable.
    """
    files, name = Files(f"{ledger.path}/reports"), f"{job}.map.png"
    files.put(name, picture(survey), "image/png")
    return _address(f"{files.path}/{name}")


def picture(survey: Survey) -> bytes:
    """PNG: the grid seen along z, y down and x to the right.

    A column of boxes is orange if one of them failed; else the greener, the more of them are done.
    Raises ConfigError without Pillow.
    """
    image = needs("PIL.Image", extra="page", by="the picture of a map")
    cells = _cells(survey)
    side = max(1, min(_CELL, _SIDE // max(cells.shape[:2])))
    pixels = cells.repeat(side, axis=0).repeat(side, axis=1)
    if side >= 8:
        pixels[side - 1 :: side] = pixels[:, side - 1 :: side] = _COLOURS["outside"]
    file = BytesIO()
    image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def _cells(survey: Survey) -> NDArray[np.uint8]:
    """The colours of the columns of boxes, yx and RGB."""
    boxes, marks = survey.boxes, survey.marks()
    size = tuple(boxes.grid_size)

    def counts(mark: NDArray[np.bool_]) -> NDArray[np.int64]:
        whole = np.zeros(int(np.prod(size)), np.bool_)
        whole[boxes.first : boxes.first + len(mark)] = mark
        summed: NDArray[np.int64] = whole.reshape(size).sum(axis=0)
        return summed

    of_job, done, failed = counts(marks.of_job), counts(marks.done), counts(marks.failed)
    share = (done / np.maximum(of_job, 1))[..., np.newaxis]
    waiting, full = (np.array(_COLOURS[name], float) for name in ("waiting", "done"))
    cells: NDArray[Any] = waiting + share * (full - waiting)
    cells[failed > 0] = _COLOURS["failed"]
    cells[of_job == 0] = _COLOURS["outside"]
    return cells.round().astype(np.uint8)


def _address(path: str) -> str:
    if not path.startswith("s3://"):
        return path
    place = urlsplit(path)
    client = aws_session().client("s3", **client_options(place.netloc))
    asked = {"Bucket": place.netloc, "Key": place.path.lstrip("/")}
    return str(client.generate_presigned_url("get_object", Params=asked, ExpiresIn=SECONDS))
