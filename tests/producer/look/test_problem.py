from __future__ import annotations

from typing import get_args

from producer.look.problem import KINDS, Kind, Problem


def test_each_kind_is_explained() -> None:
    assert set(KINDS) == set(get_args(Kind))


def test_a_problem_contradicts_the_record_of_a_box_that_is_done() -> None:
    contradicting = {kind for kind in KINDS if Problem("box", kind).contradicts_record}
    assert contradicting == set(KINDS) - {"no-record", "failed", "unreadable", "not-checked"}


def test_what_is_not_known_is_not_wrong() -> None:
    unknown = {kind for kind in KINDS if not Problem("box", kind).is_wrong}
    assert unknown == {"unreadable", "not-checked"}
