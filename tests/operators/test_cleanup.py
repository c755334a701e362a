from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.operators.cleanup import Cleanup
from chunkflow_worker.pipeline.operator import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub.x").mkdir()
    for name in ("empty.x", "empty.y", ".hidden.x", "sub.x/empty.x"):
        (tmp_path / name).touch()
    for name in ("full.x", "full.y"):
        (tmp_path / name).write_text("1")
    (tmp_path / "gone.x").symlink_to(tmp_path / "nothing")
    return tmp_path


ALL = {"sub.x", "empty.x", "empty.y", ".hidden.x", "full.x", "full.y", "gone.x"}


@pytest.mark.parametrize(
    ("options", "deleted"),
    [
        (["-s", ".x"], {"empty.x", "full.x"}),
        (["-s", ".x", "-m", "empty"], {"empty.x"}),
        (["-s", ".x", "-m", "not-empty"], {"full.x"}),
        (["-m", "empty"], {"empty.x", "empty.y"}),
    ],
)
def test_deletes_only_files_with_this_suffix_and_mode(
    folder: Path, options: list[str], deleted: set[str]
) -> None:
    for arguments, left in ((["--dry-run"], ALL), ([], ALL - deleted)):
        words = [*arguments, "cleanup", "-d", str(folder), *options]
        assert CliRunner().invoke(cli, words).exit_code == 0
        assert {p.name for p in folder.iterdir()} == left
    assert (folder / "sub.x" / "empty.x").exists()


def test_cleanup_without_options_deletes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In chunkflow 1.2.0 this deleted every file of the current folder."""
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match="give a suffix"):
        CliRunner().invoke(cli, ["cleanup"], catch_exceptions=False)
    assert {p.name for p in folder.iterdir()} == ALL


def test_wrong_use_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="delete each other's files"):
        Cleanup(suffix=".x").open(
            Run(needed_box=lambda box, bounds: box, recorded=True)
        ).__enter__()
    with pytest.raises(ConfigError, match="there is no folder"):
        Cleanup(suffix=".x", dir="nowhere").open(
            Run(needed_box=lambda box, bounds: box)
        ).__enter__()
    with pytest.raises(ValidationError, match="without a protocol"):
        Cleanup(suffix=".x", dir="s3://bucket")
