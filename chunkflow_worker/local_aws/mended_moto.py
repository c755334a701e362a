"""moto, mended: requests take as long as what they ask for.

For each page of a listing, moto looks at every key of the bucket, and workers list once for each
task. It takes a millisecond to write each key of a page, most of it to read its own dates. For each
request, it looks at every folder of its own package.

moto also looks whether a write's condition holds, and writes later: of two writers of an absent
object, both were told that they made it. Here each write is one step, as in S3.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from functools import cache, wraps
from itertools import chain, islice
from typing import Any
from xml.sax.saxutils import escape

from moto import backends
from moto.s3 import models, responses
from moto.s3.utils import _VersionedKeyStore

_LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{}</ListBucketResult>'
)


@cache
def mend_moto() -> None:
    """Mend moto in this process, for buckets that are made from now on."""
    modules = frozenset(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: modules
    _list_only_what_is_asked_for()
    _write_listings_directly()
    _make_writes_one_step()


def _list_only_what_is_asked_for() -> None:
    made_of: Any = models
    made_of._VersionedKeyStore = SortedKeys
    backend: Any = models.S3Backend
    list_all = backend.list_objects_v2

    def list_objects_v2(
        self: Any,
        bucket: Any,
        prefix: str | None,
        delimiter: str | None,
        continuation_token: str | None,
        start_after: str | None,
        max_keys: int,
    ) -> Any:
        if not isinstance(bucket.keys, SortedKeys):
            rest = (prefix, delimiter, continuation_token, start_after, max_keys)
            return list_all(self, bucket, *rest)
        after = self._pagination_tokens.get(continuation_token, "") or start_after or ""
        # One more, so that moto sees that there are more.
        found = bucket.keys.page(prefix or "", delimiter or "", after, max_keys + 1)
        return self._truncate_result(found, max_keys)

    backend.list_objects_v2 = list_objects_v2


def _write_listings_directly() -> None:
    responder: Any = responses.S3Response
    write = responder.serialized

    def serialized(self: Any, action_result: Any) -> Any:
        if self.data.get("Action") != "ListObjectsV2":
            return write(self, action_result)
        headers = {"Content-Type": "application/xml"} | self.response_headers
        entries = (_elements(*entry) for entry in action_result.result.items())
        return 200, headers, _LISTING.format("".join(chain.from_iterable(entries)))

    responder.serialized = serialized


def _make_writes_one_step() -> None:
    responder: Any = responses.S3Response
    lock = threading.RLock()

    def one_step(handle: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(handle)
        def handled(*arguments: Any, **options: Any) -> Any:
            with lock:
                return handle(*arguments, **options)

        return handled

    # The last one also completes uploads in parts.
    for name in ("put_object", "copy_object", "delete_object", "_key_response_post"):
        setattr(responder, name, one_step(getattr(responder, name)))


def _elements(name: str, value: Any) -> Iterator[str]:
    """An element of XML: of a dictionary with an element for each entry, of a list one for each."""
    if isinstance(value, list):
        for each in value:
            yield from _elements(name, each)
        return
    yield f"<{name}>"
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _elements(key, inner)
    else:
        yield escape(str(value).lower() if isinstance(value, bool) else str(value))
    yield f"</{name}>"


class SortedKeys(_VersionedKeyStore):
    """The objects of a bucket by their keys, whose order is kept. For many threads."""

    def __init__(self) -> None:
        super().__init__()
        self._sorted: list[str] = []
        self._lock = threading.RLock()

    def __setitem__(self, key: str, value: Any) -> None:
        with self._lock:
            self._note(key)
            super().__setitem__(key, value)

    def setlist(self, key: str, versions: Any) -> None:
        with self._lock:
            self._note(key)
            super().setlist(key, versions)

    def pop(self, key: str) -> None:  # type: ignore[override]
        with self._lock:
            super().pop(key)
            del self._sorted[bisect_left(self._sorted, key)]

    def page(self, prefix: str, delimiter: str, after: str, most: int) -> list[Any]:
        """Objects and folders (as text) that begin with `prefix`, in order.

        A folder is what keys have in common up to the first delimiter behind the prefix.
        after: the name of the last one that is not wanted.
        """
        with self._lock:
            return list(islice(self._entries(prefix, delimiter, after), most))

    def _note(self, key: str) -> None:
        if key not in self:
            insort(self._sorted, key)

    def _entries(self, prefix: str, delimiter: str, after: str) -> Iterator[Any]:
        at = max(bisect_left(self._sorted, prefix), bisect_right(self._sorted, after))
        while at < len(self._sorted) and (key := self._sorted[at]).startswith(prefix):
            at += 1
            held = self[key]
            if isinstance(held, models.FakeDeleteMarker):
                continue
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            if end < 0:
                yield held
                continue
            folder = key[: end + len(delimiter)]
            if folder > after:
                yield folder
            at = bisect_left(self._sorted, _behind(folder), at)


def _behind(folder: str) -> str:
    """The first text in order that does not begin with a folder, and comes after it."""
    return folder[:-1] + chr(ord(folder[-1]) + 1)
