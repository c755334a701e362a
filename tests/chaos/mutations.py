"""Malformed and forbidden messages, made at random from good ones; the same ones for a seed.

A value, or a whole body, is replaced by known troublemakers and by what hypothesis generates.
"""

from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import strategies as st

from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.message import TaskMessage, encode

ODD: list[Any] = [
    None, True, 0, -1, 2**63, 10**400, 1e308, "", " ", "x" * 5000, "\u202e\u0007\n", "🧠",
    [], {}, [[]], {"a": {"b": []}}, "../../../etc/passwd", "__import__('os')",
    "s3://elsewhere/volume", float("nan"),
]  # fmt: skip
PLAIN = [
    "",
    " ",
    "null",
    "0",
    "[]",
    "{}",
    '""',
    "not json",
    "\ufeff{}",
    "🧠" * 100,
    "[" * 90_000,
    '{"a":' * 5_000,
    "<xml/>",
    "A" * 200_000,
]
CONTENT_TYPES = [
    "application/x-python-serialize",
    "application/x-yaml",
    "application/x-msgpack",
    "text/plain",
    "",
    None,
    7,
]
LIMIT_BYTES = 200_000
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=8,
)


def generated(count: int, seed: int) -> list[Any]:
    """JSON values that hypothesis generates."""
    values: list[Any] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(max_examples=count, database=None, deadline=None)
    @hypothesis.given(_JSON)
    def collect(value: Any) -> None:
        values.append(value)

    collect()
    return values


def _is_accepted(c: str) -> bool:
    """True for a character that SQS accepts in a body."""
    return c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"


class Mutator:
    """Makes bodies of messages to `queue`, for boxes of `job`."""

    def __init__(self, seed: int, queue: str, job: str, boxes: list[BoundingBox]):
        self._random = random.Random(seed)
        self._queue, self._job, self._boxes = queue, job, boxes
        self._odd = ODD + generated(500, seed)
        self._kinds: list[Callable[[], str]] = [
            self._good, self._plain, self._flipped, self._truncated,
            self._outer_lost, self._outer_odd, self._outer_more,
            self._inner_lost, self._inner_odd, self._inner_more,
            self._version, self._box, self._content_type, self._encoding,
            self._callback, self._noise, self._headers,
        ]  # fmt: skip

    def body(self) -> str:
        """A body that SQS accepts: of its characters, and not too long."""
        kind = self._random.choice(self._kinds)
        text = kind() or " "
        allowed = "".join(c if _is_accepted(c) else "?" for c in text)
        return allowed.encode()[:LIMIT_BYTES].decode(errors="ignore")

    def _envelope(self) -> dict[str, Any]:
        message = TaskMessage(job=self._job, bbox=str(self._random.choice(self._boxes)))
        made: dict[str, Any] = json.loads(
            encode(message, self._queue, f"id-{self._random.getrandbits(64):x}")
        )
        return made

    def _with_inner(self, change: Callable[[list[Any]], None]) -> str:
        envelope = self._envelope()
        inner = json.loads(base64.b64decode(envelope["body"]))
        change(inner)
        return json.dumps(
            envelope | {"body": base64.b64encode(json.dumps(inner).encode()).decode()}
        )

    def _place(self, envelope: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """A field somewhere in the envelope."""
        parents = [
            envelope,
            envelope["headers"],
            envelope["properties"],
            envelope["properties"]["delivery_info"],
        ]
        parent = self._random.choice(parents)
        return parent, self._random.choice(sorted(parent))

    def _good(self) -> str:
        text = json.dumps(self._envelope())
        return text if self._random.random() < 0.5 else base64.b64encode(text.encode()).decode()

    def _plain(self) -> str:
        return self._random.choice([*PLAIN, *map(json.dumps, self._odd)])

    def _flipped(self) -> str:
        raw = bytearray(json.dumps(self._envelope()).encode())
        for _ in range(self._random.randint(1, 8)):
            raw[self._random.randrange(len(raw))] ^= 1 << self._random.randrange(8)
        return raw.decode(errors="replace")

    def _truncated(self) -> str:
        text = json.dumps(self._envelope())
        return text[: self._random.randrange(len(text))]

    def _outer_lost(self) -> str:
        envelope = self._envelope()
        parent, key = self._place(envelope)
        del parent[key]
        return json.dumps(envelope)

    def _outer_odd(self) -> str:
        envelope = self._envelope()
        parent, key = self._place(envelope)
        parent[key] = copy.deepcopy(self._random.choice(self._odd))
        return json.dumps(envelope)

    def _outer_more(self) -> str:
        envelope = self._envelope()
        parent, _ = self._place(envelope)
        parent[str(self._random.choice(["x", "args", "callbacks", "a\nb"]))] = self._random.choice(
            self._odd
        )
        return json.dumps(envelope)

    def _inner_lost(self) -> str:
        return self._with_inner(lambda inner: inner[1].pop(self._random.choice(sorted(inner[1]))))

    def _inner_odd(self) -> str:
        def change(inner: list[Any]) -> None:
            inner[1][self._random.choice(["v", "job", "bbox", "attempts"])] = self._random.choice(
                self._odd
            )

        return self._with_inner(change)

    def _inner_more(self) -> str:
        key = self._random.choice(
            ["volume_path", "plugin", "x\n2026 INFO forged line", "🧠", "k" * 3000]
        )
        return self._with_inner(
            lambda inner: inner[1].update({key: self._random.choice(self._odd)})
        )

    def _version(self) -> str:
        return self._with_inner(
            lambda inner: inner[1].update(v=self._random.choice([0, 2, -1, "1", 1.0, 10**50]))
        )

    def _box(self) -> str:
        n = self._random.randint
        texts = [
            "0-16_0-64_900000-900064", "-16-0_0-64_0-64", "0-16_0-64_0-63", "0-16_0-64_1-65",
            "0-0_0-64_0-64", "16-0_64-0_64-0",
            f"0-{10**18}_0-{10**18}_0-{10**18}",
            f"0-16_0-64_0-{'9' * 4000}", f"0-16_0-64_0-{'9' * 5000}", "0-16_0-64",
            "a-b_c-d_e-f",
            f"0-16_0-64_{n(-999, 999)}-{n(1000, 9999)}", "\u0660-\u0661\u0666_0-64_0-64",
            "0-16_0-64_0-64/../../x", "0-16_0-64_0-64\n",
        ]  # fmt: skip
        return self._with_inner(lambda inner: inner[1].update(bbox=self._random.choice(texts)))

    def _content_type(self) -> str:
        return json.dumps(self._envelope() | {"content-type": self._random.choice(CONTENT_TYPES)})

    def _encoding(self) -> str:
        envelope = self._envelope()
        if self._random.random() < 0.5:
            envelope["content-encoding"] = self._random.choice(["binary", "utf-16", "gzip", "x"])
        else:
            envelope["properties"]["body_encoding"] = self._random.choice(
                ["", "hex", None, "base32"]
            )
        return json.dumps(envelope)

    def _callback(self) -> str:
        call = {"task": "chunkflow.task", "args": [], "kwargs": {}, "options": {}}

        def change(inner: list[Any]) -> None:
            inner[2][self._random.choice(["callbacks", "errbacks", "chain", "chord"])] = [call]

        return self._with_inner(change)

    def _noise(self) -> str:
        raw = self._random.randbytes(self._random.randint(1, 300))
        return (
            raw.decode("latin-1") if self._random.random() < 0.5 else base64.b64encode(raw).decode()
        )

    def _headers(self) -> str:
        envelope = self._envelope()
        envelope["headers"] |= self._random.choice(
            [{"eta": "2999-01-01T00:00:00"}, {"expires": 1}, {"timelimit": [1, 1]},
             {"compression": "application/x-bz2"}, {"task": "os.system"},
             {"task": "celery.backend_cleanup"}, {"id": "x" * 101}, {"id": "a\u2028b"},
             {"group": "g"}, {"ignore_result": False}]
        )  # fmt: skip
        return json.dumps(envelope)
