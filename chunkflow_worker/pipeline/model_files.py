"""`model_digests`: which files of code and weights a result depends on, for the records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from chunkflow_worker.pipeline.operator import Operator

_LENGTH = 12  # hexadecimal digits of a digest: as many as people compare


def model_digests(label: str, operator: Operator) -> dict[str, str]:
    """Digests of the operator's `model_files`, by label and option.

    A Python file may import others. The digest is that of the file alone.
    """
    return {
        f"{label}.{option}": file_digest(path)
        for option, path in operator.model_files()
        if path.exists()
    }


def file_digest(path: Path) -> str:
    """The first digits of the SHA-256 of a file, or of the names and files in a folder."""
    digest = hashlib.sha256()
    for name, file in _files(path):
        digest.update(name.encode())
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:_LENGTH]


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """The files at a path, with their names below it; a file alone has no name."""
    if path.is_file():
        yield "", path
    elif path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            yield str(file.relative_to(path)), file
