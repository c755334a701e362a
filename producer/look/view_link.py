"""`view_link`: a page of Neuroglancer with the volumes of a chain as its layers."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from chunkflow_worker.config.facts import GRAPHENE
from chunkflow_worker.errors import ChunkflowError
from chunkflow_worker.report.scrub import scrub
from chunkflow_worker.storage.path import named_format, normal_path

if TYPE_CHECKING:
    from producer.plan.pipeline_file import PipelineFile

_PAGE = "https://neuroglancer-demo.appspot.com/#!"
_FORMATS = {"": "neuroglancer-precomputed", "zarr": "zarr2"}  # others have their driver's name


def view_link(pipeline: PipelineFile) -> str:
    """The address of a page that shows what a chain loads and saves.

    Volumes that a browser can't read, such as those on a local disk, are left out, and those that
    can't be opened. Empty if none is left.
    """
    from chunkflow_worker.volumes.open_volume import open_volume

    layers: dict[str, dict[str, Any]] = {}
    for operator in pipeline.chain:
        for use in (*operator.loads(), *operator.saves()):
            with suppress(ChunkflowError):
                volume = open_volume(use.path, use.mip or 0)
                place = normal_path(use.path)
                if named_format(use.path) == GRAPHENE:
                    source = f"graphene://middleauth+{place}"
                else:
                    source = source_of(place, volume.driver)
                if source:
                    name = place.rpartition("/")[2]
                    layers[source] = {"name": name, "type": volume.layer_type, "source": source}
    if not layers:
        return ""
    return _PAGE + quote(json.dumps({"layers": [*layers.values()]}), safe="/:,")


def source_of(place: str, driver: str) -> str:
    """What Neuroglancer calls a volume; empty for one at a place that no browser reads.

    place: path of the volume in normal form. driver: of its arrays.
    """
    protocol, _, rest = place.partition("://")
    if protocol not in ("s3", "gs", "http", "https"):
        return ""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if protocol == "s3" and endpoint:
        place = f"s3+{endpoint.rstrip('/')}/{rest}"
    return (
        f"{scrub(place)}|{_FORMATS.get(driver, driver)}:"  # scrubbed, since a quoted secret hides
    )
