"""Listings of the local S3 are those of S3, and look at no more objects than they list."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.s3.models import S3Backend

from chunkflow_worker.local_aws.mended_moto import SortedKeys

TEXTS = st.text("ab/é", max_size=4)
KEYS = st.lists(st.text("ab/é", min_size=1, max_size=5), unique=True, max_size=25)


class Held:
    """In the place of an object of moto."""

    def __init__(self, name: str):
        self.name = name

    def dispose(self) -> None:
        pass


class Looks(SortedKeys):
    """Counts the objects that are looked at."""

    looks = 0

    def __getitem__(self, key: str) -> Any:
        self.looks += 1
        return super().__getitem__(key)


def filled(keys: Iterable[str], kind: type[SortedKeys] = SortedKeys) -> Any:
    held = kind()
    for key in keys:
        held.setlist(key, [Held(key)])
    return held


def listed(keys: SortedKeys, prefix: str, delimiter: str, after: str, most: int) -> list[str]:
    page = keys.page(prefix, delimiter, after, most)
    return [entry if isinstance(entry, str) else entry.name for entry in page]


def as_s3_says(keys: Iterable[str], prefix: str, delimiter: str, after: str) -> list[str]:
    """By its documentation, and by looking at all keys."""
    names = set()
    for key in (key for key in keys if key.startswith(prefix)):
        head, cut, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        names.add(prefix + head + cut if cut else key)
    return sorted(name for name in names if name > after)


@given(KEYS, KEYS, TEXTS, st.sampled_from(["", "/", "ab"]), TEXTS, st.integers(0, 9))
def test_a_page_has_what_s3_lists(
    keys: list[str], gone: list[str], prefix: str, delimiter: str, after: str, most: int
) -> None:
    held = filled([*keys, *gone])
    for key in gone:
        held.pop(key)
    left = set(keys) - set(gone)
    expected = as_s3_says(left, prefix, delimiter, after)[:most]
    assert listed(held, prefix, delimiter, after, most) == expected


@pytest.mark.parametrize("prefix", ["log/00500.", "folders", "log/"])
def test_no_more_is_looked_at_than_listed(prefix: str) -> None:
    names = (f"{n:05}" for n in range(3000))
    keys = [key for name in names for key in (f"log/{name}.json", f"folders/{name}/info")]
    held = filled(keys, Looks)
    assert len(listed(held, prefix, "/", "", 10)) in (1, 10)
    assert held.looks <= 10


def test_a_request_does_not_look_at_the_disk(
    aws: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    s3, list_folder = boto3.client("s3"), os.listdir
    s3.list_buckets()  # loads what every request needs
    looked_at: list[str] = []

    def note(path: str = ".") -> list[str]:
        looked_at.append(str(path))
        return list_folder(path)

    monkeypatch.setattr(os, "listdir", note)
    s3.list_buckets()
    assert [path for path in looked_at if path.endswith("moto")] == []


def test_clients_get_all_pages(aws: dict[str, str], unique_name: str) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=unique_name)
    kept = ["a", "b/1", "b/2", "c", "d/1", "e"]
    for key in [*kept, "gone"]:
        s3.put_object(Bucket=unique_name, Key=key)
    s3.delete_object(Bucket=unique_name, Key="gone")
    pages = s3.get_paginator("list_objects_v2").paginate
    found = list(pages(Bucket=unique_name, Delimiter="/", PaginationConfig={"PageSize": 2}))
    assert [page["KeyCount"] for page in found] == [2, 2, 1]
    names = [each["Key"] for page in found for each in page.get("Contents", [])]
    folders = [each["Prefix"] for page in found for each in page.get("CommonPrefixes", [])]
    assert (names, folders) == (["a", "c", "e"], ["b/", "d/"])
    (after,) = pages(Bucket=unique_name, StartAfter="b/1")
    assert [each["Key"] for each in after["Contents"]] == ["b/2", "c", "d/1", "e"]


def test_a_listing_says_of_each_object_what_its_head_says(
    aws: dict[str, str], unique_name: str
) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=unique_name)
    for key in ('a b&<é>"/1', "a+%2F"):
        s3.put_object(Bucket=unique_name, Key=key, Body=key.encode())
    found = s3.list_objects_v2(Bucket=unique_name, EncodingType="url", FetchOwner=True)
    assert (found["IsTruncated"], found["KeyCount"], found["MaxKeys"]) == (False, 2, 1000)
    assert [unquote(each["Key"]) for each in found["Contents"]] == ['a b&<é>"/1', "a+%2F"]
    found = s3.list_objects_v2(Bucket=unique_name)  # its names are as they were given
    for each in found["Contents"]:
        head = s3.head_object(Bucket=unique_name, Key=each["Key"])
        assert (each["ETag"], each["Size"]) == (head["ETag"], head["ContentLength"])
        assert each["LastModified"] == head["LastModified"]
    assert [each["Key"] for each in found["Contents"]] == ['a b&<é>"/1', "a+%2F"]
    assert "Contents" not in s3.list_objects_v2(Bucket=unique_name, Prefix="b<")


def test_an_object_with_a_delete_marker_is_not_listed(
    aws: dict[str, str], unique_name: str
) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=unique_name)
    versioning = {"Status": "Enabled"}
    s3.put_bucket_versioning(Bucket=unique_name, VersioningConfiguration=versioning)
    for key in ("a", "folder/b"):
        s3.put_object(Bucket=unique_name, Key=key)
        s3.delete_object(Bucket=unique_name, Key=key)
    assert s3.list_objects_v2(Bucket=unique_name, Delimiter="/")["KeyCount"] == 0
    s3.put_object(Bucket=unique_name, Key="folder/b")
    answer = s3.list_objects_v2(Bucket=unique_name, Delimiter="/")
    assert [each["Prefix"] for each in answer["CommonPrefixes"]] == ["folder/"]


def test_of_two_writers_of_an_absent_object_one_makes_it(
    aws: dict[str, str], unique_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=unique_name)
    both_looked, look = Barrier(2), S3Backend.get_object

    def look_together(*arguments: Any, **options: Any) -> Any:
        found = look(*arguments, **options)
        with suppress(BrokenBarrierError):
            both_looked.wait(0.5)  # the other cannot look before this one has written
        return found

    monkeypatch.setattr(S3Backend, "get_object", look_together)

    def write(body: bytes) -> bool:
        try:
            s3.put_object(Bucket=unique_name, Key="a", Body=body, IfNoneMatch="*")
        except s3.exceptions.ClientError as error:
            return error.response["Error"]["Code"] != "PreconditionFailed"
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(write, (b"1", b"2"))) == [False, True]
