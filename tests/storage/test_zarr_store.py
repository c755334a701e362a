"""Small objects in folders of tensorstore, and its errors."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier, Thread

import boto3
import pytest

from chunkflow_worker.errors import (
    BlockDamaged,
    DataMissing,
    StorageFull,
    StorageUnavailable,
)
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.zarr_store import (
    read_json,
    store_errors,
    write_if_absent,
    write_json,
)


@pytest.fixture(params=["file", "mem", "s3"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, aws: dict[str, str], unique_name: str
) -> str:
    """A folder on a local disk, in memory or in S3."""
    if request.param == "file":
        return f"file://{tmp_path}/folder"
    if request.param == "s3":
        boto3.client("s3").create_bucket(Bucket=unique_name)
    return f"{request.param}://{unique_name}/folder"


def test_objects_read_back(place: str) -> None:
    content, generation = read_json(place, "a.json")
    assert content is None
    assert write_json(place, "a.json", {"x": [1, "ä"]}, generation)
    assert read_json(place, "a.json")[0] == {"x": [1, "ä"]}
    assert read_json(f"{place}/below", "a.json")[0] is None


def test_an_object_that_has_changed_is_not_overwritten(place: str) -> None:
    _, before = read_json(place, "a.json")
    assert write_json(place, "a.json", 1, before)
    assert not write_json(place, "a.json", 2, before), "it has been made in the meantime"
    _, first = read_json(place, "a.json")
    assert write_json(place, "a.json", 3, first)
    assert not write_json(place, "a.json", 4, first), "it has changed in the meantime"
    assert read_json(place, "a.json")[0] == 3


def test_an_object_that_exists_is_kept(place: str) -> None:
    write_if_absent(place, "a.json", "first")
    write_if_absent(place, "a.json", "second")
    assert read_json(place, "a.json")[0] == "first"


def test_of_many_writers_one_wins(place: str) -> None:
    _, generation = read_json(place, "a.json")
    together, results = Barrier(8), {}

    def write(i: int) -> None:
        together.wait(20)
        results[i] = write_json(place, "a.json", i, generation)

    threads = [Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    [winner] = [i for i, written in results.items() if written]
    assert read_json(place, "a.json")[0] == winner


def test_content_that_is_not_json_counts_as_absent(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff{")
    assert read_json(f"file://{tmp_path}", "a.json")[0] is None


def test_objects_are_those_that_cloudfiles_reads(aws: dict[str, str], unique_name: str) -> None:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    write_if_absent(f"s3://{unique_name}/x", "a.json", {"by": "tensorstore"})
    assert Files(f"s3://{unique_name}/x").get_json("a.json") == {"by": "tensorstore"}


def test_a_bucket_that_does_not_exist_is_unavailable_storage(
    aws: dict[str, str], unique_name: str
) -> None:
    with pytest.raises(StorageUnavailable, match=f"s3://{unique_name}/x: "):
        write_json(f"s3://{unique_name}/x", "a.json", 1, generation=b"")


@pytest.mark.parametrize(
    ("error", "reading", "kind"),
    [
        (ValueError("NOT_FOUND: chunk 0/0/0"), True, DataMissing),
        (ValueError("NOT_FOUND: no such array"), False, StorageUnavailable),
        (ValueError("FAILED_PRECONDITION: other metadata"), False, BlockDamaged),
        (ValueError("INVALID_ARGUMENT: bad JSON"), False, BlockDamaged),
        (ValueError("DATA_LOSS: blosc"), True, BlockDamaged),
        (IndexError("OUT_OF_RANGE: too short"), True, BlockDamaged),
        (OSError("UNAVAILABLE: No space left on device"), False, StorageFull),
        (OSError("UNKNOWN: Read-only file system"), False, StorageFull),
        (OSError("RESOURCE_EXHAUSTED: Disk quota exceeded"), False, StorageFull),
        (RuntimeError("UNAVAILABLE: connection reset"), True, StorageUnavailable),
        (NotImplementedError("UNIMPLEMENTED: x"), False, StorageUnavailable),
    ],
)
def test_errors_of_tensorstore_are_translated(
    error: Exception, reading: bool, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught, store_errors("em.zarr", reading):
        raise error
    assert type(caught.value) is kind
    assert str(caught.value) == f"em.zarr: {error}"


def test_the_rest_of_its_text_is_cut_off() -> None:
    text = "DATA_LOSS: bad [tensorstore_spec='{\"driver\": \"zarr\"}'] [source locations='a.cc:1']"
    with pytest.raises(BlockDamaged, match=r"^em: DATA_LOSS: bad$"), store_errors("em"):
        raise ValueError(text)


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), store_errors("em"):
        raise KeyError("x")
