from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.sqs.models import Message as MotoMessage

from chunkflow_worker.local_aws.sqs.message import (
    Handle,
    check_content,
    digest_of_attributes,
)
from chunkflow_worker.local_aws.sqs.refused import Refused

QUEUE = "0123456789abcdef" * 2


def test_the_digest_of_attributes_is_that_of_sqs() -> None:
    attributes: dict[str, dict[str, Any]] = {
        "timestamp": {"DataType": "Number.java.lang.Long", "StringValue": "1493147359900"},
        "job": {"DataType": "String", "StringValue": "ä"},
        "mask": {"DataType": "Binary", "BinaryValue": b"\0\1"},
    }
    moto = MotoMessage("id", "body")
    moto.message_attributes = attributes
    assert digest_of_attributes(attributes) == moto.attribute_md5


def test_a_handle_is_read_back() -> None:
    handle = Handle(QUEUE, 7, 3)
    assert Handle.parse(str(handle), QUEUE) == handle


@given(st.text() | st.sampled_from([str(Handle("f" * 32, 1, 1)), str(Handle(QUEUE, 1, 1))[:-4]]))
def test_a_text_that_is_not_a_handle_of_the_queue_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="ReceiptHandleIsInvalid"):
        Handle.parse(text, QUEUE)


@pytest.mark.parametrize(
    ("attribute", "problem"),
    [
        ({"DataType": "Text", "StringValue": "a"}, "String, Number or Binary"),
        ({"DataType": "String", "StringValue": ""}, "must have a value"),
        ({"DataType": "Binary", "StringValue": "a"}, "must have a value"),
    ],
)
def test_a_wrong_attribute_is_refused(attribute: dict[str, str], problem: str) -> None:
    with pytest.raises(Refused, match=problem):
        check_content("a", {"x": attribute}, 100)


def test_attributes_count_for_the_size() -> None:
    assert check_content("ä", {"x": {"DataType": "String", "StringValue": "yz"}}, 11) == 11
    with pytest.raises(Refused, match="has 2 bytes; this queue takes up to 1"):
        check_content("ä", {}, 1)
