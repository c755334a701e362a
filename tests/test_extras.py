"""Optional libraries."""

from __future__ import annotations

import json

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.extras import needs


def test_needs_returns_the_module() -> None:
    assert needs("json", extra="files") is json


def test_an_absent_library_is_told_with_the_extra_that_brings_it() -> None:
    with pytest.raises(ConfigError, match=r'nosuchlibrary: .*not installed\n +pip install "chunkflow-worker\[files\]"'):
        needs("nosuchlibrary.part", extra="files")


def test_a_library_that_lacks_one_of_its_own_is_not_called_absent(tmp_path, monkeypatch) -> None:
    (tmp_path / "brokenlibrary.py").write_text("import nosuchlibrary\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="nosuchlibrary"):
        needs("brokenlibrary", extra="files")
