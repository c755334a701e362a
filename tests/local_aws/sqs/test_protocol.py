"""Answers have the shapes of Amazon's model of SQS, in both protocols; boto3 reads them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from typing import Any
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, fromstring

import boto3
import pytest
from botocore.model import Shape
from botocore.session import get_session

from chunkflow_worker.local_aws.sqs.protocol import SqsProtocol, service_of
from chunkflow_worker.local_aws.sqs.sqs import OPERATIONS, LocalSqs

MODEL = get_session().get_service_model("sqs")
SIGNED = "AWS4-HMAC-SHA256 Credential=local/20260101/eu-west-1/sqs/aws4_request, Signature=0"
BODY = 'a "quoted" <text>\r\n & \u00e4 \U0001f9e0'
BINARY = {"DataType": "Binary", "BinaryValue": "AP8="}


class Client:
    """Sends requests as bytes, and keeps the last status and headers."""

    def __init__(self) -> None:
        self.app = SqsProtocol(LocalSqs())
        self.status, self.headers = "", dict[str, str]()

    def request(self, body: bytes, path: str = "/", **environ: str) -> bytes:
        def start(status: str, headers: list[tuple[str, str]]) -> None:
            self.status, self.headers = status, {k.lower(): v for k, v in headers}

        full = {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": path,
            "QUERY_STRING": "",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_HOST": "127.0.0.1:5000",
            "HTTP_AUTHORIZATION": SIGNED,
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
        }
        return b"".join(self.app(full | environ, start))

    def json(self, operation: str, **given: Any) -> dict[str, Any]:
        kind = {"CONTENT_TYPE": "application/x-amz-json-1.0"}
        target = {"HTTP_X_AMZ_TARGET": f"AmazonSQS.{operation}"}
        answer = self.request(json.dumps(given).encode(), **kind, **target)
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def query(self, operation: str, path: str = "/", **given: str) -> Element:
        """The answer as XML, without namespaces."""
        form = {"Action": operation, "Version": "2012-11-05"}
        fields = {name.replace("_", "."): value for name, value in given.items()}
        kind = {"CONTENT_TYPE": "application/x-www-form-urlencoded"}
        answer = self.request(urlencode(form | fields).encode(), path, **kind).decode()
        return fromstring(re.sub(r' xmlns="[^"]*"', "", answer))


@pytest.fixture
def client() -> Client:
    return Client()


def misfits(value: Any, shape: Shape, place: str = "") -> Iterator[str]:
    """Yield where a value is not of a shape."""
    kinds: dict[str, Any] = {"structure": dict, "map": dict, "list": list, "boolean": bool}
    kinds |= {"integer": int, "long": int, "string": str, "blob": str, "timestamp": datetime}
    if not isinstance(value, kinds[shape.type_name]):
        yield f"{place}: {value!r} is no {shape.type_name}"
        return
    if shape.type_name == "structure":
        yield from (f"{place}.{name}: unknown" for name in value.keys() - shape.members.keys())
        yield from (f"{place}.{name}: absent" for name in shape.required_members - value.keys())
        for name in value.keys() & shape.members.keys():
            yield from misfits(value[name], shape.members[name], f"{place}.{name}")
    elif shape.type_name == "map":
        for name, each in value.items():
            if shape.key.enum and name not in shape.key.enum:
                yield f"{place}: {name!r} is none of {shape.key.enum}"
            yield from misfits(each, shape.value, f"{place}.{name}")
    elif shape.type_name == "list":
        for each in value:
            yield from misfits(each, shape.member, f"{place}[]")


def test_each_answer_has_the_shape_of_the_model(client: Client) -> None:
    seen = set()

    def do(operation: str, **given: Any) -> Any:
        seen.add(operation)
        answer = client.json(operation, **given)
        shape = MODEL.operation_model(operation).output_shape
        assert client.status.startswith("200"), answer
        assert not answer if shape is None else not list(misfits(answer, shape))
        return answer

    def arn(url: str) -> str:
        answer = do("GetQueueAttributes", QueueUrl=url, AttributeNames=["All"])
        return str(answer["Attributes"]["QueueArn"])

    dead = do("CreateQueue", QueueName="dead", tags={"a": "b"})["QueueUrl"]
    url = do("CreateQueue", QueueName="q")["QueueUrl"]
    policy = json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": 1})
    do("SetQueueAttributes", QueueUrl=url, Attributes={"RedrivePolicy": policy})
    assert do("GetQueueUrl", QueueName="q") == {"QueueUrl": url}
    do("ListQueues", MaxResults=1)
    do("ListDeadLetterSourceQueues", QueueUrl=dead)
    do("TagQueue", QueueUrl=url, Tags={"a": "b"})
    do("ListQueueTags", QueueUrl=url)
    do("UntagQueue", QueueUrl=url, TagKeys=["a"])
    attributes = {"x": BINARY}
    do("SendMessage", QueueUrl=url, MessageBody=BODY, MessageAttributes=attributes)
    entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate("ab\0")]
    assert do("SendMessageBatch", QueueUrl=url, Entries=entries)["Failed"]
    asked = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}
    many = {"QueueUrl": url, "MaxNumberOfMessages": 10}
    first, *others = do("ReceiveMessage", **many, **asked)["Messages"]
    assert (first["Body"], first["MessageAttributes"]) == (BODY, attributes)
    held = {"QueueUrl": url, "ReceiptHandle": first["ReceiptHandle"]}
    do("ChangeMessageVisibility", **held, VisibilityTimeout=0)
    entries = [{"Id": m["Body"], "ReceiptHandle": m["ReceiptHandle"]} for m in others]
    hidden = [{**entry, "VisibilityTimeout": 60} for entry in entries]
    do("ChangeMessageVisibilityBatch", QueueUrl=url, Entries=hidden)
    assert do("ReceiveMessage", **many) == {}
    do("DeleteMessage", **held)
    do("DeleteMessageBatch", QueueUrl=url, Entries=entries)
    do("StartMessageMoveTask", SourceArn=arn(dead))
    do("ListMessageMoveTasks", SourceArn=arn(dead))
    do("PurgeQueue", QueueUrl=url)
    do("DeleteQueue", QueueUrl=url)
    assert seen == set(OPERATIONS.split()) - {"CancelMessageMoveTask"}


def texts(answer: Element, path: str) -> list[str]:
    return [found.text or "" for found in answer.iterfind(f".//{path}")]


def test_the_query_protocol_is_read_and_written(client: Client) -> None:
    delay = {"Attribute_1_Name": "DelaySeconds", "Attribute_1_Value": "0"}
    (url,) = texts(client.query("CreateQueue", QueueName="q", **delay), "QueueUrl")
    sent = client.query("SendMessage", QueueUrl=url, MessageBody=BODY)
    entry = "SendMessageBatchRequestEntry_1"
    batch = {f"{entry}_Id": "a", f"{entry}_MessageBody": "b"}
    answer = client.query("SendMessageBatch", path="/123456789012/q", **batch)
    assert texts(answer, "SendMessageBatchResultEntry/Id") == ["a"]
    many = {"MaxNumberOfMessages": "10", "AttributeName_1": "ApproximateReceiveCount"}
    received = client.query("ReceiveMessage", QueueUrl=url, **many)
    assert texts(received, "Message/Body") == [BODY, "b"]
    assert texts(received, "Message/Attribute/Value") == ["1", "1"]
    assert texts(received, "MD5OfBody")[:1] == texts(sent, "MD5OfMessageBody")
    handle, _ = texts(received, "ReceiptHandle")
    client.query("DeleteMessage", QueueUrl=url, ReceiptHandle=handle)
    name = "ApproximateNumberOfMessagesNotVisible"
    counted = client.query("GetQueueAttributes", QueueUrl=url, AttributeName_1=name)
    assert texts(counted, "Attribute/Value") == ["1"]
    error = client.query("GetQueueUrl", QueueName="absent")
    assert texts(error, "Error/Code") == ["AWS.SimpleQueueService.NonExistentQueue"]


@pytest.mark.parametrize(
    ("operation", "given", "kind", "code"),
    [
        (
            "GetQueueUrl",
            {"QueueName": "absent"},
            "QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue",
        ),
        ("GetQueueUrl", {}, "MissingRequiredParameterException", "MissingParameter"),
        ("GetQueueUrl", {"QueueName": 3}, "InvalidParameterValue", "InvalidParameterValue"),
        ("Invented", {}, "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation"),
        (
            "CreateQueue",
            {"QueueName": "a.fifo"},
            "UnsupportedOperation",
            "AWS.SimpleQueueService.UnsupportedOperation",
        ),
    ],
)
def test_errors_have_the_codes_of_both_protocols(
    client: Client, operation: str, given: dict[str, Any], kind: str, code: str
) -> None:
    answer = client.json(operation, **given)
    assert client.status.startswith("400")
    assert answer["__type"].rpartition("#")[2] == kind
    assert answer["Message"]
    assert client.headers["x-amzn-query-error"] == f"{code};Sender"


@pytest.mark.parametrize("body", [b"{", b"[]", b"3", b"\xff", b'{"Entries": 3}', b"null"])
def test_what_is_no_request_is_refused(client: Client, body: bytes) -> None:
    client.request(body, HTTP_X_AMZ_TARGET="AmazonSQS.SendMessageBatch")
    assert client.status.startswith("400")


def test_queues_of_other_regions_are_others(client: Client) -> None:
    client.json("CreateQueue", QueueName="q")
    assert client.json("ListQueues")["QueueUrls"]
    kind = {"HTTP_AUTHORIZATION": SIGNED.replace("eu-west-1", "us-east-1")}
    answer = client.request(b"{}", HTTP_X_AMZ_TARGET="AmazonSQS.ListQueues", **kind)
    assert json.loads(answer) == {}


def test_boto3_raises_the_errors_of_sqs(aws: dict[str, str], unique_name: str) -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=unique_name)["QueueUrl"]
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName="absent")
    with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
        sqs.delete_message(QueueUrl=url, ReceiptHandle="mine")
    with pytest.raises(sqs.exceptions.EmptyBatchRequest):
        sqs.send_message_batch(QueueUrl=url, Entries=[])
    with pytest.raises(sqs.exceptions.QueueNameExists):
        sqs.create_queue(QueueName=unique_name, Attributes={"DelaySeconds": "1"})


@pytest.mark.parametrize(
    ("environ", "service"),
    [
        ({"HTTP_X_AMZ_TARGET": "AmazonSQS.ListQueues"}, "sqs"),
        ({"HTTP_AUTHORIZATION": SIGNED}, "sqs"),
        ({"HTTP_AUTHORIZATION": SIGNED.replace("/sqs/", "/monitoring/")}, "monitoring"),
        ({"QUERY_STRING": "Action=ListQueues&Version=2012-11-05"}, "sqs"),
        ({"PATH_INFO": "/bucket/key"}, "s3"),
    ],
)
def test_a_request_names_its_service(environ: dict[str, str], service: str) -> None:
    assert service_of(environ) == service
