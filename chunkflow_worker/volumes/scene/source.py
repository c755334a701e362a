"""`source_of`: what Neuroglancer calls a stored volume."""

from __future__ import annotations

import os

from chunkflow_worker.report.scrub import scrub

_FORMATS = {"": "neuroglancer-precomputed", "zarr": "zarr2"}  # others have their driver's name


def source_of(place: str, driver: str = "") -> str:
    """The source of a layer; empty for a volume at a place that no browser reads.

    place: path of the volume in normal form. driver: of its arrays; empty for the precomputed
        format.
    """
    protocol, _, rest = place.partition("://")
    if protocol not in ("s3", "gs", "http", "https"):
        return ""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if protocol == "s3" and endpoint:
        place = f"s3+{endpoint.rstrip('/')}/{rest}"
    # Scrubbed here: in a link, a secret is quoted, and no longer found.
    return f"{scrub(place)}|{_FORMATS.get(driver, driver)}:"
