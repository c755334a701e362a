from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.operators.fetch_task_from_file import FetchTaskFromFile
from chunkflow_worker.operators.generate_tasks import GenerateTasks
from chunkflow_worker.pipeline.operator import Run

FIVE = [f"0-4_0-4_{x}-{x + 4}" for x in range(-8, 12, 4)]


@pytest.fixture(autouse=True)
def without_index(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_ARRAY_TASK_ID", "DISBATCH_REPEAT_INDEX"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.txt"
    path.write_text("\n".join(FIVE))
    return path


def boxes(path: Path, **options: Any) -> list[str]:
    return [str(task.bbox) for task in FetchTaskFromFile(file_path=str(path), **options).tasks()]


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_reads_the_file_of_generate_tasks(tmp_path: Path, suffix: str) -> None:
    path, grid = (
        tmp_path / f"tasks{suffix}",
        {"chunk_size": (3, 4, 5), "roi_start": (-1, -2, -3), "grid_size": (2, 2, 2)},
    )
    with GenerateTasks(**grid, file_path=str(path)).open(Run(needed_box=lambda box, bounds: box)):
        pass
    assert boxes(path) == [str(task.bbox) for task in GenerateTasks(**grid).tasks()]
    assert len(boxes(path)) == 8


def test_a_text_file_may_contain_boxes_numbers_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "by_hand"
    path.write_text("# z y x\n\n0-4_0-4_-8--4\n 0 1 2  3 4 5 \n-3,-2,-1,0,0,0\n")
    assert boxes(path) == ["0-4_0-4_-8--4", "0-3_1-4_2-5", "-3-0_-2-0_-1-0"]


def test_a_file_with_a_single_box(tmp_path: Path) -> None:
    path = tmp_path / "one.npy"
    np.save(path, np.array([[0, 0, 0, 1, 2, 3]], np.uint16))
    assert boxes(path) == ["0-1_0-2_0-3"]


def test_an_index_selects_its_part_of_the_tasks(file: Path) -> None:
    assert boxes(file) == FIVE
    assert boxes(file, job_index=0) == FIVE[:1]
    assert boxes(file, job_index=1, granularity=2) == FIVE[2:4]
    assert boxes(file, job_index=2, granularity=2) == FIVE[4:], "the last part may be smaller"


@given(count=st.integers(1, 30), granularity=st.integers(1, 35))
def test_the_parts_of_all_indexes_cover_all_tasks_once(
    tmp_path_factory: pytest.TempPathFactory, count: int, granularity: int
) -> None:
    path = tmp_path_factory.mktemp("parts") / "tasks.npy"
    np.save(path, np.array([[i, 0, 0, i + 1, 1, 1] for i in range(count)]))
    parts = (count + granularity - 1) // granularity
    taken = [
        box
        for index in range(parts)
        for box in boxes(path, job_index=index, granularity=granularity)
    ]
    assert taken == [f"{i}-{i + 1}_0-1_0-1" for i in range(count)]
    with pytest.raises(ConfigError, match=f"0 to {parts - 1}$"):
        boxes(path, job_index=parts, granularity=granularity)


def test_slurm_and_disbatch_set_the_index(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert boxes(file) == FIVE, "the index of Slurm is used only with slurm_job_array"
    assert boxes(file, slurm_job_array=True) == FIVE[1:2]
    monkeypatch.setenv("DISBATCH_REPEAT_INDEX", "3")
    assert boxes(file) == FIVE[3:4]
    assert boxes(file, slurm_job_array=True) == FIVE[1:2]
    assert boxes(file, job_index=0) == FIVE[:1]


def test_a_missing_or_illegal_index_is_an_error(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="SLURM_ARRAY_TASK_ID: is not set"):
        boxes(file, slurm_job_array=True)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "%a")
    with pytest.raises(ConfigError, match="SLURM_ARRAY_TASK_ID: is '%a'"):
        boxes(file, slurm_job_array=True)
    monkeypatch.setenv("DISBATCH_REPEAT_INDEX", "-1")
    with pytest.raises(ConfigError, match="DISBATCH_REPEAT_INDEX: is '-1'"):
        boxes(file)
    monkeypatch.setenv("DISBATCH_REPEAT_INDEX", "5")
    with pytest.raises(
        ConfigError,
        match=r"DISBATCH_REPEAT_INDEX: is 5, after the last\n"
        r".* has 5 tasks, 1 for each index: 0 to 4",
    ):
        boxes(file)
    with pytest.raises(ValidationError, match="give one of them"):
        FetchTaskFromFile(file_path=str(file), job_index=0, slurm_job_array=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0-4_0-4_0-4\n0-4_0-4", "tasks.txt, line 2: '0-4_0-4' is not a box"),
        ("0 0 0 4 4", "line 1: '0 0 0 4 4' is not a box"),
        ("0 0 0 4 4 4.5", "is not a box"),
        ("# none\n\n0-4_4-4_0-4", "line 3: box 0-4_4-4_0-4 is empty"),
        ("0 0 4 4 4 0", r"line 1: the box starts at \(0, 0, 4\) and stops at \(4, 4, 0\)"),
        ("# none", "has no boxes"),
    ],
)
def test_the_error_for_a_malformed_line_names_the_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "tasks.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        boxes(path)


def test_a_missing_file_or_one_of_another_format_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        boxes(tmp_path / "absent.npy")
    binary, npy = tmp_path / "tasks.bin", tmp_path / "tasks.npy"
    binary.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match=r"neither text nor named \.npy"):
        boxes(binary)
    for content, message in [
        (np.zeros((2, 3), int), r"int64 of shape \(2, 3\)"),
        (np.zeros((2, 6)), "float64"),
        (np.zeros((2, 6), int), "row 0: the box starts at"),
        (np.array([{}], object), r"is not a \.npy file"),
    ]:
        np.save(npy, content)
        with pytest.raises(ConfigError, match=message):
            boxes(npy)
    np.save(npy, np.zeros((2, 6), int))
    npy.write_bytes(npy.read_bytes().replace(b"}", b"("))
    with pytest.raises(ConfigError, match=r"is not a \.npy file"):
        boxes(npy)
    npy.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"is not a \.npy file"):
        boxes(npy)
