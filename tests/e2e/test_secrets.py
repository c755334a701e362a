"""Credentials in the text of an error stay out of the log, the records and the dead letters."""

from __future__ import annotations

import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.sqs import find_queue
from tests.support.service import Service

pytestmark = pytest.mark.e2e

BOX = "0-16_0-64_0-64"
KEY, TOKEN = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEBYaDkExample/Token+Value=="


@pytest.mark.parametrize("permanent", [True, False])
def test_secrets_in_an_error_are_shown_nowhere(service: Service, permanent: bool) -> None:
    service.volumes(Vec3(16, 64, 64))
    words = f"signing with {KEY} and {TOKEN} failed; AWS_SECRET_ACCESS_KEY={KEY}"
    service.chain({"op": "fail", "box": BOX, "permanent": permanent, "words": words})
    service.create_queue(visibility=3, max_receives=2)
    service.enqueue()
    service.environment |= {"AWS_SECRET_ACCESS_KEY": KEY, "AWS_SESSION_TOKEN": TOKEN}
    service.start_worker(log_level="DEBUG", metrics="none")
    service.wait(lambda: service.messages() == (0, 0, 1), "one dead letter")
    (failure,) = service.records()
    assert "signing with *** and *** failed" in failure.error
    queue = find_queue(service.sqs, service.queue)
    (letter,) = service.sqs.receive_message(QueueUrl=queue.dead_letter_url)["Messages"]
    log, record = service.root.glob("worker-*.log"), (service.root / "out/log").glob("*.json")
    files = [file.read_text() for file in (*log, *record)]
    assert len(files) == 2
    for text in (*files, letter["Body"]):
        assert KEY not in text
        assert TOKEN not in text
