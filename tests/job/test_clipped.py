from __future__ import annotations

from chunkflow_worker.job.clipped import Clipped, clipped_lines, clipped_shares


def test_shares_are_over_all_values_that_an_operator_converted() -> None:
    found = [Clipped("a", 1, 10), Clipped("b", 0, 5), Clipped("a", 0, 90)]
    assert clipped_shares(found) == {"a": 0.01, "b": 0}
    assert clipped_shares([]) == {}


def test_a_line_from_one_in_a_thousand_on() -> None:
    assert list(clipped_lines({"a": 0.001, "b": 0.00099, "c": 1})) == [
        "0.1 % of the voxels were clipped by a",
        "100.0 % of the voxels were clipped by c",
    ]
