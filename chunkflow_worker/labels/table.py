"""`columns_of`: the columns of a table of objects; `encoded`: its file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.labels.layout import Ids, Layout
from chunkflow_worker.labels.objects import Objects

Format = Literal["parquet", "csv"]
Columns = Mapping[str, NDArray[Any]]


def columns_of(layout: Layout, ids: Ids, objects: Objects) -> dict[str, NDArray[Any]]:
    """The columns, by their names. ids: the final ones of the objects.

    z, y, x: centroid, the mean of the voxels' places, in voxels; and in nanometres. z_start ...:
    bounding box in voxels, half-open.
    """
    voxels = objects.voxels[:, None]
    # Whole numbers first, so that a double rounds nothing but the fraction.
    whole, rest = np.divmod(objects.sums, voxels)
    centroid = whole + np.array(layout.region.start) + rest / voxels
    nanometres = centroid * np.array(layout.voxel_size)
    columns: dict[str, NDArray[Any]] = {"id": ids, "voxels": objects.voxels}
    for i, axis in enumerate("zyx"):
        columns[f"{axis}_voxel"] = centroid[:, i]
    for i, axis in enumerate("zyx"):
        columns[f"{axis}_nm"] = nanometres[:, i]
    for i, axis in enumerate("zyx"):
        columns[f"{axis}_start"] = objects.starts[:, i]
        columns[f"{axis}_stop"] = objects.stops[:, i]
    return columns | {"class": objects.kinds, "at_border": objects.at_border}


def encoded(columns: Columns, file_format: Format) -> bytes:
    """The content of a file. Raises ConfigError when pyarrow is needed and not installed."""
    if file_format == "csv":
        text = io.StringIO(newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
        return text.getvalue().encode()
    pa = needs("pyarrow", extra="archive", by="a table in Parquet")
    parquet = needs("pyarrow.parquet", extra="archive", by="a table in Parquet")
    sink = io.BytesIO()
    parquet.write_table(pa.table({n: pa.array(c) for n, c in columns.items()}), sink)
    return sink.getvalue()
