from __future__ import annotations

import re

import pytest

from chunkflow_worker.report.timings import Timing, print_timings

TASKS = [
    Timing({"load": 1.0, "net": 3.0}, voxels=2_000_000),
    Timing({"load": 2.0, "net": 5.0}, voxels=4_000_000),
    Timing({"load": 9.0}),  # of another chain; its voxels are not known
]


def table(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    """The cells of each row by its first one."""
    lines = capsys.readouterr().out.splitlines()
    rows = [re.split(r" {2,}", line.strip()) for line in lines if line.strip()]
    return {name: cells for name, *cells in rows}


def test_each_operator_and_whole_tasks_have_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_timings(TASKS)
    assert table(capsys) == {
        "operator": ["tasks", "seconds", "mean", "median", "share", "Mvoxel/s"],
        # Of all 20 seconds. 6 million voxels took the first two tasks 3, 8 and 11 seconds.
        "load": ["3", "12.00", "4.00", "2.00", "60%", "2"],
        "net": ["2", "8.00", "4.00", "4.00", "40%", "0.75"],
        "whole task": ["3", "20.00", "6.67", "7.00", "100%", "0.545"],
    }


def test_a_speed_that_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_timings([Timing({"load": 9.0}), Timing({"load": 0.0}, voxels=5)])
    assert table(capsys)["load"] == ["2", "9.00", "4.50", "4.50", "100%"]


def test_without_tasks_there_is_only_the_heading(capsys: pytest.CaptureFixture[str]) -> None:
    print_timings([])
    assert list(table(capsys)) == ["operator"]


def test_tasks_that_took_no_time_have_no_shares(capsys: pytest.CaptureFixture[str]) -> None:
    print_timings([Timing({"load": 0.0}, voxels=5)])
    assert table(capsys)["load"] == ["1", "0.00", "0.00", "0.00"]


def test_the_table_can_have_a_title_and_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    print_timings(TASKS, "Some GPU:", stderr=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].strip() == "Some GPU:"
    assert max(map(len, err.splitlines())) <= 120
