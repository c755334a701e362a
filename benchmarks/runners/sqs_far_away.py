"""An SQS that takes all messages, keeps none, and answers after a while: `<seconds>`.

It takes little CPU time, so that it limits nobody. It prints its URL, and serves until killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: "
_POLICY = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:0:sending-dead", "maxReceiveCount": 5}
_ATTRIBUTES = {
    "RedrivePolicy": json.dumps(_POLICY),
    "VisibilityTimeout": "60",
    "MessageRetentionPeriod": "864000",
    "ApproximateNumberOfMessages": "0",
}


class Connection(asyncio.Protocol):
    def __init__(self, url: str, latency: float):
        self._url, self._latency, self._received = f"{url}/0/sending", latency, b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            lines = self._received[:end].decode().lower().split("\r\n")[1:]
            headers = dict(line.split(": ", 1) for line in lines)
            end += 4 + int(headers.get("content-length", 0))
            if len(self._received) < end:
                return
            body = self._received[self._received.find(b"\r\n\r\n") + 4 : end]
            self._received = self._received[end:]
            self._answer(headers["x-amz-target"].rpartition(".")[2], json.loads(body))

    def _answer(self, operation: str, given: dict[str, Any]) -> None:
        content: dict[str, Any] = {"Attributes": _ATTRIBUTES}
        if operation == "sendmessagebatch":
            accepted = {"MessageId": "0" * 36, "MD5OfMessageBody": "0" * 32}
            content = {
                "Successful": [{"Id": entry["Id"], **accepted} for entry in given["Entries"]]
            }
        elif operation == "getqueueurl":
            content = {"QueueUrl": self._url}
        elif operation == "listqueues":
            content = {"QueueUrls": [self._url]}
        body = json.dumps(content)
        answer = f"{_HEAD}{len(body)}\r\n\r\n{body}".encode()
        asyncio.get_running_loop().call_later(self._latency, self._transport.write, answer)


async def main() -> None:
    latency, url = float(sys.argv[1]), ""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(url, latency), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(url, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
