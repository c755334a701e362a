"""`list_s3`: the objects of a bucket with sizes, times and ETags, a thousand for each request.

botocore makes a dictionary and a time of each object, which takes a processor 30 ms for a thousand.
A parser of four texts, which its session takes in place of its own, needs a few.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from chunkflow_worker.report.aws_session import aws_session
from chunkflow_worker.storage.bucket import client_options

_CONNECTIONS = 64
_FIELDS = {"Key": 0, "Size": 1, "LastModified": 2, "ETag": 3}


class Listed(NamedTuple):
    """An object in storage, as a listing tells of it.

    name: below the path that was listed. size: in bytes.
    time: when it was stored, in ISO 8601 and as the storage writes it; empty where it keeps none.
    tag: another one whenever the object is written anew; empty where there is none.
    """

    name: str
    size: int
    time: str
    tag: str


def list_s3(path: str, prefix: str = "", *, deep: bool = False) -> Iterator[Listed]:
    """The objects below an ``s3://`` path whose names begin with `prefix`.

    deep: also those in folders below it. Raises the errors of boto3.
    """
    bucket, _, folder = path.removeprefix("s3://").partition("/")
    below = f"{folder}/" if folder else ""
    query = {"Bucket": bucket, "Prefix": posixpath.join(below, prefix)}
    if not deep:
        query["Delimiter"] = "/"
    while True:
        answer = _client(bucket).list_objects_v2(**query)
        for key, size, time, tag in answer["Contents"]:
            if not key.endswith("/"):
                yield Listed(key[len(below) :], int(size), time, tag)
        if not answer.get("NextContinuationToken"):
            return
        query["ContinuationToken"] = answer["NextContinuationToken"]


@cache
def _client(bucket: str) -> Any:
    import boto3
    from botocore.config import Config
    from botocore.handlers import BUILTIN_HANDLERS
    from botocore.session import get_session

    class Provider:
        load_credentials = staticmethod(aws_session().get_credentials)

    session = get_session()
    session.register_component("credential_provider", Provider)
    session.register_component("response_parser_factory", _parsers())
    config = Config(
        max_pool_connections=_CONNECTIONS, retries={"mode": "standard", "total_max_attempts": 6}
    )
    own = boto3.Session(botocore_session=session)
    client = own.client("s3", config=config, **client_options(bucket))
    # botocore parses each answer twice, the first time to see whether it is an error in spite of
    # its status. `_read_page` sees that, too.
    for event, handler, *_ in BUILTIN_HANDLERS:
        if event.startswith("before-parse.s3") and handler.__name__.endswith("_200_error"):
            client.meta.events.unregister(event, handler)
    client.meta.events.register("before-parse.s3.ListObjectsV2", _read_page)
    return client


def _read_page(response_dict: dict[str, Any], **_: Any) -> None:
    """Parse a page. What is none, although its status says so, is tried again as after a 500."""
    if response_dict["status_code"] != 200:
        return
    try:
        root = ElementTree.fromstring(response_dict["body"])
    except ElementTree.ParseError:
        root = ElementTree.Element("Error")
    if root.tag.endswith("ListBucketResult"):
        response_dict["page"] = _page(root)
    else:
        response_dict["status_code"] = 500


def _parsers() -> Any:
    from botocore.parsers import ResponseParserFactory, RestXMLParser

    class Parser(RestXMLParser):  # type: ignore[misc]
        def parse(self, response: Any, shape: Any) -> Any:
            if "page" not in response:
                return super().parse(response, shape)
            about = {"HTTPStatusCode": 200, "HTTPHeaders": dict(response["headers"])}
            return {**response["page"], "ResponseMetadata": about}

    class Parsers(ResponseParserFactory):  # type: ignore[misc]
        def create_parser(self, protocol_name: str) -> Any:
            if protocol_name == "rest-xml":
                return Parser()
            return super().create_parser(protocol_name)

    return Parsers()


def _page(root: ElementTree.Element) -> dict[str, Any]:
    """What a page of a listing says; its keys as they are."""
    space = root.tag.rpartition("}")[0]
    start = len(space) + 1 if space else 0
    token, is_quoted, contents = "", False, []
    for element in root:
        tag = element.tag[start:]
        if tag == "Contents":
            found = ["", "0", "", ""]
            for child in element:
                place = _FIELDS.get(child.tag[start:])
                if place is not None:
                    found[place] = child.text or ""
            contents.append(found)
        elif tag == "NextContinuationToken":
            token = element.text or ""
        elif tag == "EncodingType":
            is_quoted = element.text == "url"
    if is_quoted:
        for found in contents:
            if "%" in found[0] or "+" in found[0]:
                found[0] = unquote_plus(found[0])
    return {"Contents": contents, "NextContinuationToken": token}
