from __future__ import annotations

from datetime import datetime
from xml.etree import ElementTree

import boto3
import pytest

from chunkflow_worker.errors import StorageUnavailable
from chunkflow_worker.storage import s3_listing as module
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.listed_objects import ListedObjects, listing_of
from tests.support.s3_semantics import S3Semantics


@pytest.fixture
def bucket(aws: dict[str, str], unique_name: str) -> str:
    boto3.client("s3").create_bucket(Bucket=unique_name)
    return unique_name


@pytest.fixture
def files(bucket: str) -> Files:
    files = Files(f"s3://{bucket}/a folder/x")
    for name in ("b", "b c+d%20é&<>.json", "below/1", "below/2", "z"):
        files.put(name, b"1" * len(name), "text/plain")
    return files


def test_names_sizes_times_and_tags_are_those_of_boto3(files: Files, bucket: str) -> None:
    found = {one.name: one for one in files.listed(deep=True)}
    listed = boto3.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
    assert {f"a folder/x/{name}" for name in found} == {one["Key"] for one in listed}
    for one in listed:
        same = found[one["Key"].removeprefix("a folder/x/")]
        assert (same.size, same.tag) == (one["Size"], one["ETag"])
        assert datetime.fromisoformat(same.time) == one["LastModified"]


def test_folders_and_prefixes(files: Files) -> None:
    assert [*files.names()] == ["b", "b c+d%20é&<>.json", "z"]
    assert [*files.names("b ")] == ["b c+d%20é&<>.json"]
    assert [one.name for one in files.listed("below/", deep=True)] == ["below/1", "below/2"]
    assert [*files.names("none")] == []


def test_pages_are_joined(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = files.path.removeprefix("s3://").partition("/")[0]
    client = module._client(bucket)
    list_objects = client.list_objects_v2
    monkeypatch.setattr(client, "list_objects_v2", lambda **query: list_objects(**query, MaxKeys=2))
    assert [*files.names()] == ["b", "b c+d%20é&<>.json", "z"]


def test_a_bucket_that_refuses_is_an_error(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = files.path.removeprefix("s3://").partition("/")[0]
    client = boto3.client("s3")
    for one in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.delete_object(Bucket=bucket, Key=one["Key"])
    client.delete_bucket(Bucket=bucket)
    with pytest.raises(StorageUnavailable):
        list(files.listed())


def test_an_error_with_the_status_of_a_success_is_tried_again(
    real_s3: S3Semantics, unique_name: str
) -> None:
    """As boto3 does by itself."""
    boto3.client("s3").create_bucket(Bucket=unique_name)
    files = Files(f"s3://{unique_name}/x")
    files.put("a", b"1", "text/plain")
    assert [*files.names()] == ["a"]
    real_s3.fail(f"/{unique_name}", "InternalError", 200, methods="GET", count=2)
    assert [*files.names()] == ["a"]
    real_s3.fail(f"/{unique_name}", "InternalError", 200, methods="GET")
    with pytest.raises(StorageUnavailable, match="InternalError"):
        list(files.names())


@pytest.mark.parametrize("body", [b"<ListBucketResult", b"", b"<Error/>"])
def test_what_is_no_page_counts_as_an_error(body: bytes) -> None:
    answer = {"status_code": 200, "body": body}
    module._read_page(answer)
    assert answer == {"status_code": 500, "body": body}


def test_a_listing_tells_what_each_object_would(files: Files) -> None:
    names = ["b", "below/1", "none", "z"]
    listed = listing_of(files.path, ["b", "z"])
    assert listed is not None
    assert listed.stored(names) == files.stored(names)
    assert listed.stored([]) == {}


def test_too_many_objects_are_asked_for_one_by_one(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chunkflow_worker.storage.listed_objects.MOST", 2)
    listed = ListedObjects(files.path)
    assert listed.stored(["b", "none"]) == files.stored(["b", "none"])
    assert listed._rows is None


def test_an_empty_folder_and_other_stores(bucket: str) -> None:
    assert ListedObjects(f"s3://{bucket}/none").stored(["a"]) == {"a": None}
    assert listing_of("file:///tmp") is None
    assert listing_of("gs://bucket/a") is None
    page = ElementTree.fromstring("<a><Contents><Key>k</Key></Contents></a>")
    (one,) = module._page(page)["Contents"]
    assert one == ["k", "0", "", ""]
