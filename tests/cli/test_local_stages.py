from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from chunkflow_worker.cli import chunkflow, worker
from chunkflow_worker.job.ledger import Ledger
from tests.support.run_command import run_command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    grid = {"op": "generate-tasks", "chunk_size": [2, 4, 4], "grid_size": [1, 1, 3]}

    def save(folder: str) -> dict[str, str]:
        return {"op": "save-npy", "file_name": f"{tmp_path}/{folder}/"}

    stages = [
        {
            "name": "late",
            "tasks": grid,
            "operators": [
                {"op": "load-npy", "file_name": f"{tmp_path}/first/"},
                {"op": "threshold", "threshold": 0},
                save("late"),
            ],
            "needs": ["first"],
            "queue": "gpu",
        },
        {
            "name": "first",
            "tasks": grid,
            "operators": [
                {"op": "create-chunk", "size": [2, 4, 4], "pattern": "sin"},
                save("first"),
            ],
            "needs": [],
        },
        {
            "name": "tree",
            "tasks": {"tree_of": "first"},
            "operators": [{"op": "create-chunk", "size": [1, 1, 1]}, save("tree")],
        },
    ]
    path = tmp_path / "em.yaml"
    path.write_text(yaml.safe_dump({"stages": stages}))
    return path


def test_all_stages_run_here_one_after_the_other(file: Path) -> None:
    folder = file.parent
    done = run_command(chunkflow.main, "--pipeline", str(file), "--ledger", str(folder / "log"))
    assert done.status == 0, done.stderr
    headings = [line for line in done.stderr.splitlines() if line.startswith("stage ")]
    assert headings == [
        *["stage first", "stage late"],
        *["stage tree, wave 1 of 2", "stage tree, wave 2 of 2"],
    ]
    boxes = {f"0-2_0-4_{x}" for x in ("0-4", "4-8", "8-12")}
    for stage, expected in (
        ("first", boxes),
        ("late", boxes),
        ("tree", {"0-2_0-4_0-8", "0-2_0-4_0-12"}),
    ):
        assert Ledger(str(folder / "log/stages" / stage)).listing().done == expected
        assert {path.stem for path in (folder / stage).glob("*.npy")} == expected
    (record,) = Ledger(str(folder / "log/stages/tree")).jobs()[:1]
    assert record.job == "local.tree.1"
    assert np.load(folder / "late" / "0-2_0-4_0-4.npy").max() == 1


def test_a_job_name_too_long_for_a_stage_is_refused_before_any_stage_runs(file: Path) -> None:
    refused = run_command(chunkflow.main, "--pipeline", str(file), "--job", "j" * 74)
    assert refused.status == 2
    assert f"{'j' * 74}.tree.99: is not a job name" in refused.stderr
    assert not (file.parent / "first").exists()


def test_one_stage_runs_alone_and_check_knows_all(file: Path) -> None:
    alone = run_command(chunkflow.main, "--pipeline", f"{file}#first")
    assert alone.status == 0, alone.stderr
    assert not (file.parent / "late").exists()
    wrong = run_command(
        chunkflow.main, "--pipeline", str(file), "generate-tasks", "-c", "1", "1", "1"
    )
    assert wrong.status == 2
    assert "em.yaml#first" in wrong.stderr
    place = ["check", str(file), "--ledger", "s3://lab/log"]
    said = run_command(worker.main, *place).stdout
    assert "== stage late: after first, queue QUEUE-gpu ==" in said
    assert "tasks: a tree over first" in said
    assert "ledger s3://lab/log/stages/tree" in said
    one = run_command(worker.main, *place, "--stage", "first").stdout
    assert one.count("== stage") == 1
