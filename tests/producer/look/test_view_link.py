from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.volumes.scene.source import source_of
from producer.look.view_link import view_link
from producer.plan.pipeline_file import PipelineFile
from tests.support.output import Output


@pytest.mark.parametrize(
    ("place", "driver", "source"),
    [
        ("s3://lab/em", "", "s3://lab/em|neuroglancer-precomputed:"),
        ("gs://lab/em.zarr", "zarr", "gs://lab/em.zarr|zarr2:"),
        ("https://lab.org/em", "zarr3", "https://lab.org/em|zarr3:"),
        ("https://me:secret@lab.org/em", "n5", "https://me:***@lab.org/em|n5:"),
        ("file:///em", "", ""),
        ("mem://em", "zarr3", ""),
    ],
)
def test_a_source_is_named_as_neuroglancer_does(
    place: str, driver: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    assert source_of(place, driver) == source


def test_there_is_no_link_to_what_no_browser_reads(tmp_path: Path) -> None:
    load = {"op": "load-volume", "volume_path": Output(tmp_path).path}
    save = {"op": "save-volume", "volume_path": "s3://no-such-bucket-of-the-tests/out"}
    assert view_link(PipelineFile(Path("chain.yaml"), [load, save], {})) == ""
