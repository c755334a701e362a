"""A small disk that can be made full or read-only. It is a tmpfs, which only root may mount."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TRIES = 500


class NoMount(RuntimeError):
    """The system does not allow a mount here."""


class SmallDisk:
    """A tmpfs at `path`."""

    def __init__(self, path: Path):
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Write until nothing more fits, then free that many bytes, in whole pages of 4096."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                file.truncate(max(0, file.tell() - leave))

    def free(self) -> None:
        self._ballast.unlink()

    def read_only(self, on: bool) -> None:
        """Remount it. Raises NoMount; also when some file is open for writing all the time."""
        for _ in range(_TRIES):
            try:
                return _mount("-o", f"remount,{'ro' if on else 'rw'}", str(self.path))
            except NoMount:
                threading.Event().wait(0.01)
        _mount("-o", f"remount,{'ro' if on else 'rw'}", str(self.path))


@contextmanager
def small_disk(path: Path, megabytes: int = 2) -> Iterator[SmallDisk]:
    """Mount a disk, and unmount it when the block ends. Raises NoMount."""
    path.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=False)


def _mount(*arguments: str) -> None:
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise NoMount("there is no mount command") from None
    if done.returncode:
        raise NoMount(done.stderr.strip())
