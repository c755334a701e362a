from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from chunkflow_worker.errors import MessageMalformed
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.message import TaskMessage, decode, encode, open_envelope, pipeline_digest
from chunkflow_worker.job.stage import STAGE_NAME

starts = st.builds(Vec3, *[st.integers(-(10**9), 10**9)] * 3)
sizes = st.builds(Vec3, *[st.integers(1, 10**6)] * 3)
messages = st.builds(
    TaskMessage,
    job=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", fullmatch=True),
    bbox=st.builds(BoundingBox.sized, starts, sizes).map(str),
    pipeline=st.text("0123456789abcdef", max_size=64),
    stage=st.from_regex(STAGE_NAME, fullmatch=True) | st.just(""),
    attempts=st.integers(0, 1000),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def sample() -> dict[str, Any]:
    envelope: dict[str, Any] = json.loads(
        encode(TaskMessage(job="j", bbox="0-1_0-1_0-1"), "q", "id-1")
    )
    return envelope


def with_inner(inner: Any) -> dict[str, Any]:
    return sample() | {"body": base64.b64encode(json.dumps(inner).encode()).decode()}


def paths(value: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = (
        [p for k, v in value.items() for p in paths(v, (*prefix, k))]
        if isinstance(value, dict)
        else []
    )
    return ([prefix] if prefix else []) + below


@given(messages, st.booleans())
def test_a_message_comes_back_as_it_was(message: TaskMessage, wrapped: bool) -> None:
    body = encode(message, "q", "task-1")
    if wrapped:  # as kombu writes it
        body = base64.b64encode(body.encode()).decode()
    assert open_envelope(body, "q") == (message, "task-1")
    assert message.box == BoundingBox.parse(message.bbox)


def test_every_message_has_an_id_of_its_own() -> None:
    message = TaskMessage(job="j", bbox="0-1_0-1_0-1")
    ids = {open_envelope(encode(message, "q"), "q")[1] for _ in range(10)}
    assert len(ids) == 10


@given(
    st.text()
    | values.map(json.dumps)
    | values.map(lambda v: base64.b64encode(json.dumps(v).encode()).decode())
)
def test_arbitrary_bodies_are_malformed_and_nothing_worse(body: str) -> None:
    with pytest.raises(MessageMalformed) as caught:
        open_envelope(body, "q")
    str(caught.value).encode()


@settings(max_examples=300)
@given(st.sampled_from(paths(sample())), values, st.booleans())
def test_mutated_envelopes_are_read_or_malformed(
    path: tuple[str, ...], value: Any, drop: bool
) -> None:
    envelope = sample()
    parent = envelope
    for key in path[:-1]:
        parent = parent[key]
    if drop:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    open_or_refuse(json.dumps(envelope))


@settings(max_examples=300)
@given(st.sampled_from(["v", "job", "bbox", "pipeline", "attempts", "other", "\ud800"]), values)
def test_mutated_messages_are_read_or_malformed(key: str, value: Any) -> None:
    kwargs = {"v": 1, "job": "j", "bbox": "0-1_0-1_0-1", key: value}
    open_or_refuse(json.dumps(with_inner([[], kwargs, sample_callbacks()])))


@settings(max_examples=300)
@given(st.data())
def test_bodies_with_flipped_characters_are_read_or_malformed(data: st.DataObject) -> None:
    body = json.dumps(sample())
    at = data.draw(st.integers(0, len(body) - 1))
    open_or_refuse(body[:at] + data.draw(st.characters()) + body[at + 1 :])


def open_or_refuse(body: str) -> None:
    try:
        message, task_id = open_envelope(body, "q")
    except MessageMalformed as error:
        str(error).encode()  # it can be logged
    else:
        assert open_envelope(encode(message, "q", task_id), "q") == (message, task_id)


def sample_callbacks() -> Any:
    return json.loads(base64.b64decode(sample()["body"]))[2]


@pytest.mark.parametrize("depth", [10, 900, 1100, 5000, 100_000])
def test_deep_nesting_is_malformed(depth: int) -> None:
    nested = "[" * depth + "]" * depth
    for body in (nested, json.dumps(sample()).replace('"headers":', f'"headers": {nested}, "h":')):
        with pytest.raises(MessageMalformed):
            open_envelope(body, "q")
    envelope = sample()
    text = '{"v": 1, "job": "j", "bbox": "0-1_0-1_0-1", "x": ' + nested + "}"
    envelope["body"] = base64.b64encode(f"[[], {text}, null]".encode()).decode()
    with pytest.raises(MessageMalformed):
        open_envelope(json.dumps(envelope), "q")
    with pytest.raises(MessageMalformed):
        open_envelope(json.dumps(sample()).replace('"chunkflow.task"', nested), "q")


@pytest.mark.parametrize(
    "path",
    [("body",), ("content-type",), ("content-encoding",), ("headers", "id"), ("headers", "task")],
)
def test_what_celery_needs_is_required(path: tuple[str, ...]) -> None:
    envelope = sample()
    parent = envelope if len(path) == 1 else envelope[path[0]]
    del parent[path[-1]]
    with pytest.raises(MessageMalformed):
        open_envelope(json.dumps(envelope), "q")


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("eta", "2030-01-01T00:00:00"),
        ("expires", "x"),
        ("timelimit", "x"),
        ("timelimit", [1, 2]),
        ("compression", "zlib"),
    ],
)
def test_headers_that_celery_would_act_on_are_refused(header: str, value: Any) -> None:
    envelope = sample()
    envelope["headers"][header] = value
    with pytest.raises(MessageMalformed, match=header):
        open_envelope(json.dumps(envelope), "q")


@pytest.mark.parametrize("task_id", ["", "x" * 101, "two\nlines", "\ud800", 7, None, ["a"]])
def test_ids_are_short_plain_text(task_id: Any) -> None:
    envelope = sample()
    envelope["headers"]["id"] = task_id
    with pytest.raises(MessageMalformed, match=r"headers\.id"):
        open_envelope(json.dumps(envelope), "q")


@pytest.mark.parametrize("slot", ["callbacks", "errbacks", "chain", "chord"])
def test_callbacks_and_chains_are_refused(slot: str) -> None:
    kwargs = {"v": 1, "job": "j", "bbox": "0-1_0-1_0-1"}
    inner = [[], kwargs, sample_callbacks() | {slot: [{"task": "os.system"}]}]
    with pytest.raises(MessageMalformed, match="callbacks"):
        open_envelope(json.dumps(with_inner(inner)), "q")


def test_a_message_for_another_queue_or_task_is_refused() -> None:
    body = encode(TaskMessage(job="j", bbox="0-1_0-1_0-1"), "q")
    with pytest.raises(MessageMalformed, match="routing_key"):
        open_envelope(body, "other")
    other = copy.deepcopy(sample())
    other["headers"]["task"] = "os.system"
    with pytest.raises(MessageMalformed, match=r"headers\.task"):
        open_envelope(json.dumps(other), "q")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", 2),
        ("v", "1"),
        ("job", "../escape"),
        ("job", ""),
        ("job", "a\n"),
        ("job", "x" * 81),
        ("bbox", "0-0_0-1_0-1"),
        ("bbox", "../0-1_0-1_0-1"),
        ("bbox", [0, 1, 0, 1, 0, 1]),
        ("pipeline", "XYZ"),
        ("attempts", -1),
        ("attempts", "1"),
        ("code", "print()"),
    ],
)
def test_fields_are_checked_and_named(field: str, value: Any) -> None:
    with pytest.raises(MessageMalformed, match=field):
        decode({"v": 1, "job": "j", "bbox": "0-1_0-1_0-1", field: value})


def test_boxes_have_one_spelling() -> None:
    assert decode({"v": 1, "job": "j", "bbox": "00-01_-0-1_0-1"}).bbox == "0-1_0-1_0-1"


def test_the_digest_depends_on_content_alone() -> None:
    chain = [{"op": "a", "x": 1}, {"op": "b"}]
    assert pipeline_digest(chain) == pipeline_digest([{"x": 1, "op": "a"}, {"op": "b"}])
    assert pipeline_digest(chain) != pipeline_digest(chain[::-1])
    assert pipeline_digest(chain) != pipeline_digest([{"op": "a", "x": 2}, {"op": "b"}])
    TaskMessage(job="j", bbox="0-1_0-1_0-1", pipeline=pipeline_digest(chain))


def test_a_refusal_is_one_line_of_bounded_length_whatever_the_sender_wrote() -> None:
    for key in ("x\n2026-01-01 INFO all is well", "k" * 10_000, "\u2028", "\x1b[2J"):
        with pytest.raises(MessageMalformed) as caught:
            decode({"v": 1, "job": "job", "bbox": "0-4_0-4_0-4", key: 1})
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600


def test_boxes_of_endless_numbers_are_refused() -> None:
    with pytest.raises(MessageMalformed, match="at most 200 characters"):
        decode({"v": 1, "job": "job", "bbox": f"0-4_0-4_0-{'9' * 200}"})


def test_a_message_names_its_stage_only_if_it_has_one() -> None:
    plain = TaskMessage(job="j", bbox="0-1_0-1_0-1")
    inner = base64.b64decode(json.loads(encode(plain, "q", "id"))["body"]).decode()
    assert "stage" not in inner, "older workers refuse fields that they do not know"
    staged = plain.model_copy(update={"stage": "masks"})
    assert open_envelope(encode(staged, "q", "id"), "q") == (staged, "id")
    for wrong in ("a b", "../x", 1, "a" * 41):
        with pytest.raises(ValidationError):
            TaskMessage.model_validate(plain.model_dump() | {"stage": wrong})
