"""The local AWS keeps queues and objects in its folder, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.local_aws.database import open_database
from producer.send.queue import create_queue
from tests.support.local_process import MAIN, LocalProcess, local_aws_process

KEYS = ["info", "log/a b.json", "4_4_40/0-64_0-64", "ä+%2F/ß"]


def queues(local: LocalProcess) -> dict[str, str]:
    """Fill a queue: two messages wait, one is in flight, one is dead; returns the receipt."""
    sqs = local.client("sqs")
    queue, _ = create_queue(sqs, "boxes", max_receives=1, visibility_seconds=600)
    url = queue.url
    for body in ("dead", "flying", "b", "c"):
        binary = {"DataType": "Binary", "BinaryValue": b"\0\xff"}
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes={"kind": binary})
    (dead,) = sqs.receive_message(QueueUrl=url, VisibilityTimeout=0)["Messages"]
    assert dead["Body"] == "dead"
    (flying,) = sqs.receive_message(QueueUrl=url)["Messages"]  # the first moves away
    return {"ReceiptHandle": flying["ReceiptHandle"]}


def bodies(sqs: Any, name: str) -> list[str]:
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], VisibilityTimeout=0
    )
    found = answer.get("Messages", [])
    assert all(m["MessageAttributes"]["kind"]["BinaryValue"] == b"\0\xff" for m in found)
    return [message["Body"] for message in found]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_queues_are_there_after_a_restart(tmp_path: Path, number: signal.Signals) -> None:
    with local_aws_process(tmp_path) as local:
        receipt = queues(local)
        local.stop(number)
    with local_aws_process(tmp_path) as local:
        sqs = local.client("sqs")
        url = sqs.get_queue_url(QueueName="boxes")["QueueUrl"]
        asked = {"QueueUrl": url, "AttributeNames": ["All"]}
        attributes = sqs.get_queue_attributes(**asked)["Attributes"]
        assert attributes["VisibilityTimeout"] == "600"
        assert attributes["ApproximateNumberOfMessagesNotVisible"] == "1"
        assert bodies(sqs, "boxes") == ["b", "c"]
        assert bodies(sqs, "boxes-dead") == ["dead"]
        sqs.change_message_visibility(QueueUrl=url, VisibilityTimeout=0, **receipt)
        sqs.send_message(QueueUrl=url, MessageBody="new")
        sqs.delete_message(QueueUrl=url, **receipt)
        attributes = sqs.get_queue_attributes(**asked)["Attributes"]
        assert attributes["ApproximateNumberOfMessages"] == "3"
        sqs.delete_queue(QueueUrl=url)
        local.stop()
    with local_aws_process(tmp_path) as local:
        (left,) = local.client("sqs").list_queues()["QueueUrls"]
        assert left.endswith("/boxes-dead")


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.long)]
)
def test_objects_are_there_after_a_restart(tmp_path: Path, number: signal.Signals) -> None:
    described = {"CacheControl": "no-cache", "ContentEncoding": "gzip", "ContentType": "image/x"}
    with local_aws_process(tmp_path) as local:
        s3 = local.client("s3")
        s3.create_bucket(Bucket="kept")
        for key in KEYS:
            s3.put_object(Bucket="kept", Key=key, Body=b"old")
            s3.put_object(
                Bucket="kept", Key=key, Body=key.encode(), Metadata={"a": "b"}, **described
            )
        s3.copy_object(Bucket="kept", Key="copy", CopySource={"Bucket": "kept", "Key": "info"})
        for key in ("gone", "1", "2"):
            s3.put_object(Bucket="kept", Key=key, Body=b"x")
        s3.delete_object(Bucket="kept", Key="gone")
        s3.delete_objects(Bucket="kept", Delete={"Objects": [{"Key": "1"}, {"Key": "2"}]})
        upload = {"Bucket": "kept", "Key": "parts"}
        upload["UploadId"] = s3.create_multipart_upload(**upload)["UploadId"]
        etag = s3.upload_part(**upload, PartNumber=1, Body=b"one")["ETag"]
        parts = {"Parts": [{"ETag": etag, "PartNumber": 1}]}
        s3.complete_multipart_upload(**upload, MultipartUpload=parts)
        s3.create_bucket(Bucket="emptied")
        s3.delete_bucket(Bucket="emptied")
        before = {key: s3.head_object(Bucket="kept", Key=key) for key in [*KEYS, "copy", "parts"]}
        listed = s3.list_objects_v2(Bucket="kept")["Contents"]
        local.stop(number)
    with local_aws_process(tmp_path) as local:
        s3 = local.client("s3")
        assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["kept"]
        assert s3.list_objects_v2(Bucket="kept")["Contents"] == listed
        for key, head in before.items():
            answer = s3.get_object(Bucket="kept", Key=key)
            if key in KEYS:
                assert answer["Body"].read() == key.encode()
            after = s3.head_object(Bucket="kept", Key=key)
            for name in ("ETag", "LastModified", "Metadata", "ContentType", "ContentLength"):
                assert after[name] == head[name]
            for name in ("CacheControl", "ContentEncoding"):
                assert after.get(name) == head.get(name)
        s3.put_object(Bucket="kept", Key="info", Body=b"new")
    assert len(list((tmp_path / "objects").iterdir())) == len(before)


def start_in_vain(data: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MAIN, "local-aws", f"--data={data}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    return done


def test_a_folder_in_use_is_refused_with_the_cure(tmp_path: Path) -> None:
    with local_aws_process(tmp_path) as local:
        done = start_in_vain(tmp_path)
        assert "another local-aws uses this folder" in done.stderr
        assert "stop it, or give another --data" in done.stderr
        local.stop()
    with local_aws_process(tmp_path):
        pass


def test_a_file_of_another_version_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    open_database(tmp_path, "a.sqlite", 1, "CREATE TABLE t (x TEXT);").close()
    with pytest.raises(ConfigError, match="another version of local-aws"):
        open_database(tmp_path, "a.sqlite", 2, "")
    open_database(tmp_path, "a.sqlite", 1, "").close()
    (tmp_path / "b.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match="cannot be used"):
        open_database(tmp_path, "b.sqlite", 1, "")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="a folder that you can write"):
        open_database(tmp_path / "file", "a.sqlite", 1, "")


def test_a_reset_forgets_all(tmp_path: Path) -> None:
    with local_aws_process(tmp_path) as local:
        queues(local)
        local.client("s3").create_bucket(Bucket="gone")
        local.client("s3").put_object(Bucket="gone", Key="a", Body=b"a")
        url = f"{local.variables['AWS_ENDPOINT_URL']}/moto-api/reset"
        with urlopen(Request(url, method="POST"), timeout=20) as answer:
            assert answer.status == 200
        local.stop(signal.SIGKILL)
    with local_aws_process(tmp_path) as local:
        assert "QueueUrls" not in local.client("sqs").list_queues()
        assert local.client("s3").list_buckets()["Buckets"] == []
    assert list((tmp_path / "objects").iterdir()) == []


def test_an_object_without_its_file_is_told_at_the_start(tmp_path: Path) -> None:
    with local_aws_process(tmp_path) as local:
        local.client("s3").create_bucket(Bucket="kept")
        local.client("s3").put_object(Bucket="kept", Key="a", Body=b"a")
        local.stop()
    (file,) = (tmp_path / "objects").iterdir()
    file.unlink()
    done = start_in_vain(tmp_path)
    assert "the content of an object cannot be read: No such file" in done.stderr
    assert "put the file back, or give another folder as --data" in done.stderr
