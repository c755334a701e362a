from __future__ import annotations

import inspect

import pytest

from chunkflow_worker.config.settings import Settings
from producer.send.queue import create_queue
from producer.simulate.assumptions import Assumptions


@pytest.mark.parametrize("name", ["in_flight", "grace_seconds", "backoff_seconds", "poll_seconds"])
def test_defaults_are_those_of_workers(name: str) -> None:
    ours, theirs = Assumptions.model_fields[name], Settings.model_fields[name]
    assert ours.default == theirs.default


def test_defaults_are_those_of_new_queues() -> None:
    queue = inspect.signature(create_queue).parameters
    assert Assumptions().max_receives == queue["max_receives"].default
    assert Assumptions().lease_seconds == queue["visibility_seconds"].default


def test_a_worker_must_give_tasks_back_before_its_machine_ends() -> None:
    with pytest.raises(ValueError, match="is longer than the notice"):
        Assumptions(grace_seconds=130)
    assert Assumptions(grace_seconds=130, drain=False).grace_seconds == 130
