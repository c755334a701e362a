from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.job.written_paths import WrittenPaths

UNREAD = (
    "http://169.254.169.254/latest/meta-data",
    "https://bucket.s3.amazonaws.com/out",
    "file:///etc",
    "/etc/passwd",
    "s3://bucket/out/../other",
    "s3://bucket/out2",
    "s3://other/out",
    "s3://bucket",
    "gs://bucket/out",
    "s3://bucket/${env:HOME}",
    "s3://bucket/out\n",
    "s3://bucket/out\x1b[2J",
    "mem://out",
    "",
    "://",
    "s3:bucket/out",
    "s3://http://bucket/out",
)


def chain(*operators: dict[str, Any]) -> list[Configured]:
    return [Configured.read(operator) for operator in operators]


SAVED = {"op": "save-precomputed", "volume_path": "s3://bucket/out"}
LOADED = {"op": "load-precomputed", "volume_path": "s3://bucket/em"}


@pytest.mark.parametrize("path", [*UNREAD, "s3://bucket/em"])
def test_only_what_the_chain_writes_is_opened(path: str) -> None:
    paths = WrittenPaths.of_chain(chain(LOADED, SAVED))
    assert paths.refusal("s3://bucket/out") is None
    assert paths.refusal("precomputed://s3://bucket/out/") is None
    assert paths.refusal("s3://bucket/out/mesh") is None
    assert (paths.refusal(path) or "").startswith("its record names ")


@pytest.mark.parametrize("path", UNREAD)
def test_without_a_pipeline_only_the_ledger_s_own_volume_is_opened(path: str) -> None:
    paths = WrittenPaths.of_ledger("s3://bucket/out/log/")
    assert paths.refusal("s3://bucket/out") is None
    assert paths.refusal(path)


@pytest.mark.parametrize(
    "ledger", ["s3://bucket/records", "file:///log", "/log", "s3://bucket/catalog"]
)
def test_a_ledger_elsewhere_has_no_volume(ledger: str) -> None:
    why = WrittenPaths.of_ledger(ledger).refusal("file:///etc") or ""
    assert why.endswith(": give --pipeline")
    assert WrittenPaths.of_ledger(ledger).refusal("s3://bucket/cata")


def test_variables_of_the_pipeline_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERE", "s3://bucket/out")
    paths = WrittenPaths.of_chain(chain(SAVED | {"volume_path": "${env:WHERE}"}))
    assert paths.refusal("s3://bucket/out") is None
    assert paths.refusal("${env:WHERE}")


def test_files_may_have_names_that_begin_so(tmp_path: Path) -> None:
    paths = WrittenPaths.of_chain(chain({"op": "save-h5", "file_name": f"{tmp_path}/seg-"}))
    assert paths.refusal(f"{tmp_path}/seg-0-4_0-4_0-4.h5") is None
    assert paths.refusal(f"file://{tmp_path}/seg-0-4_0-4_0-4.h5") is None
    assert paths.refusal(f"{tmp_path}/other.h5")
    assert paths.refusal(f"{tmp_path}/seg-x/../../other.h5")
    assert paths.refusal(str(tmp_path))


def test_stores_and_folders_hold_what_lies_below(tmp_path: Path) -> None:
    store, folder = f"zarr://{tmp_path}/out.zarr", f"{tmp_path}/files/"
    paths = WrittenPaths.of_chain(
        chain({"op": "save-zarr", "store": store}, {"op": "save-h5", "file_name": folder})
    )
    assert paths.refusal(f"{tmp_path}/out.zarr/0") is None
    assert paths.refusal(f"{tmp_path}/files/a.h5") is None
    assert paths.refusal(f"{tmp_path}/files-of-others")
