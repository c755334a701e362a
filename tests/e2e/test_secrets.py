"""Credentials stay out of log lines, records and dead letters, whoever puts them into an error text."""

from __future__ import annotations

from pathlib import Path

import pytest

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.sqs import find_queue
from tests.support.service import Service

pytestmark = pytest.mark.e2e

BOX = "0-16_0-64_0-64"
KEY, TOKEN = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEBYaDkExample/Token+Value=="


@pytest.mark.parametrize("permanent", [True, False])
def test_an_operator_that_tells_secrets_tells_them_to_nobody(
    service: Service, permanent: bool
) -> None:
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
    places = [
        file.read_text()
        for file in (
            *service.root.glob("worker-*.log"),
            *Path(service.root, "out", "log").glob("*.json"),
        )
    ]
    assert len(places) == 2
    for text in (*places, letter["Body"]):
        assert KEY not in text
        assert TOKEN not in text
