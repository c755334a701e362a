"""`FileLeases`: processes that share a disk take the boxes of one list, without a queue.

    <folder>/<box>.<n>            attempt n at the box; its time is renewed while a process works
    <folder>/<box>.<n>.failed     this attempt has failed
    <folder>/<box>.done           the box is done
    <folder>/<box>.dead           the box is given up

To take a box, a process creates the file of the next attempt. Only one can, also over NFS. When the
file of an attempt is not renewed for the time of a lease, by the clock of the file server, its
process counts as dead and the box can be taken again.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from chunkflow_worker.errors import LeaseLost, RetryableError
from chunkflow_worker.machine.clock import elapsed
from chunkflow_worker.storage.local_file import create_file, storage_error

log = logging.getLogger(__name__)

_RENEWALS = 3  # in the time of a lease
_NOT_RENEWED = "the lease was not renewed in time"
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds between two looks at the folder
_NAME = re.compile(r"(?P<box>[^.]+)\.(?P<rest>done|dead|(?P<number>\d+)(?P<failed>\.failed)?)")


@dataclass
class _Box:
    """What the folder says of a box. attempt: the number of the latest; 0 for none."""

    attempt: int = 0
    has_failed: bool = False
    is_over: bool = False


class FileLeases:
    """The leases of one list of boxes.

    folder: on a disk that all processes share; it is created.
    attempts: after so many, a box is given up. seconds: of a lease.
    Methods raise StorageUnavailable when the disk fails.
    """

    def __init__(self, folder: Path, attempts: int, seconds: float):
        self.folder, self.attempts, self.seconds = folder, attempts, seconds
        self._probe = folder / f".clock-{uuid.uuid4().hex}"

    def take(self, boxes: Sequence[str], closed: threading.Event) -> Iterator[FileLease]:
        """Take boxes, one by one, until all are done or given up.

        Waits for boxes that other processes have. closed: when it is set, no more are taken.
        """
        left = list(dict.fromkeys(boxes))
        with self.errors():
            self.folder.mkdir(parents=True, exist_ok=True)
        pause, taken = _SHORTEST_PAUSE, list[FileLease]()
        try:
            while left and not closed.is_set():
                known, before = self._look(), left
                left = []
                for box in before:
                    if closed.is_set():
                        return
                    state = known.get(box, _Box())
                    if state.is_over:
                        continue
                    left.append(box)
                    lease = self._lease(box, state)
                    if lease is not None:
                        pause = _SHORTEST_PAUSE
                        taken = [other for other in taken if not other.is_entered] + [lease]
                        yield lease
                if left:
                    closed.wait(pause)
                    pause = min(2 * pause, self.seconds / 4, _LONGEST_PAUSE)
        finally:
            with self.errors():
                self._probe.unlink(missing_ok=True)
            for lease in taken:
                if not lease.is_entered:
                    lease.give_back()

    @property
    def id(self) -> str:
        """By which records tell the tasks of this folder from those of another."""
        path = self.folder / ".id"
        with self.errors():
            if not path.exists():
                create_file(path, uuid.uuid4().hex.encode())
            return path.read_text()

    def is_over(self, box: str) -> bool:
        """Whether a box is done or given up."""
        return any((self.folder / f"{box}.{end}").exists() for end in ("done", "dead"))

    def _look(self) -> dict[str, _Box]:
        """What the folder says of all boxes that were ever taken."""
        known: dict[str, _Box] = {}
        failed = set[tuple[str, int]]()
        with self.errors():
            names = [path.name for path in self.folder.iterdir()]
        for name in names:
            match = _NAME.fullmatch(name)
            if match is None:
                continue
            box = known.setdefault(match["box"], _Box())
            if match["number"] is None:
                box.is_over = True
            elif match["failed"]:
                failed.add((match["box"], int(match["number"])))
            else:
                box.attempt = max(box.attempt, int(match["number"]))
        for name, number in failed:
            known[name].has_failed |= number == known[name].attempt
        return known

    def _lease(self, box: str, state: _Box) -> FileLease | None:
        """Take the box, unless another process has it."""
        is_expired = state.attempt > 0 and not state.has_failed
        if is_expired and not self._is_expired(box, state.attempt):
            return None
        number = state.attempt + 1
        lease = FileLease(self, box, number, is_hopeless=is_expired and number > self.attempts)
        if not lease.begin():
            return None
        if number > 1 and self.is_over(box):  # since the folder was listed
            lease.give_back()
            return None
        return lease

    def _is_expired(self, box: str, attempt: int) -> bool:
        """Whether no process renews an attempt, by the clock of the file server."""
        with self.errors():
            self._probe.touch()
            try:
                renewed = _time(self.folder / f"{box}.{attempt}")
            except FileNotFoundError:  # it was given back a moment ago
                return False
            return _time(self._probe) - renewed > self.seconds

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns errors of the disk into StorageUnavailable."""
        try:
            yield
        except OSError as error:
            text = f"{self.folder} cannot be used: {error.strerror or error}"
            raise storage_error(text, error) from error


class FileLease:
    """A box that this process has taken. It is a context manager that renews the lease.

    box: as text. number: of this attempt, from 1.
    is_hopeless: the processes that made all the attempts were killed.
    """

    def __init__(self, leases: FileLeases, box: str, number: int, *, is_hopeless: bool):
        self.box, self.number, self.is_hopeless = box, number, is_hopeless
        self.is_entered = False
        self._leases = leases
        self._path = leases.folder / f"{box}.{number}"
        self._until = elapsed() + leases.seconds
        self._lost = ""
        self._ended = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name=f"lease-{box}", daemon=True)

    @property
    def attempt(self) -> int:
        """The number of this attempt; of a box without hope, that of the last one."""
        return self.number - self.is_hopeless

    @property
    def is_last(self) -> bool:
        """Whether no other attempt follows when this one fails."""
        return self.number >= self._leases.attempts

    def begin(self) -> bool:
        """Create the file of the attempt; False when another process has done so."""
        self._until = elapsed() + self._leases.seconds
        with self._leases.errors():
            try:
                os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            except FileExistsError:
                return False
        return True

    def __enter__(self) -> FileLease:
        self.is_entered = True
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._renewer.join()

    def check(self) -> None:
        """Raises LeaseLost when another process may have the box.

        Raises RetryableError when all processes that had it were killed.
        """
        if self._lost or elapsed() > self._until:
            raise LeaseLost(self._lost or _NOT_RENEWED)
        if self.is_hopeless:
            raise RetryableError(
                f"box {self.box} was taken {self.number - 1} times, and each time its process "
                "ended without a word: it was killed, for example for lack of memory or of time"
            )

    def done(self) -> None:
        """The box is done. Raises LeaseLost."""
        self.check()
        self._end(f"{self.box}.done")

    def failed(self, *, final: bool) -> None:
        """This attempt has failed. final: so the box is given up."""
        self._end(f"{self.box}.dead" if final else f"{self._path.name}.failed")

    def give_back(self) -> None:
        """The box can be taken again, and this costs it no attempt."""
        if self._lost or elapsed() > self._until:
            return  # others may count on the file
        with self._leases.errors():
            self._path.unlink(missing_ok=True)

    def _end(self, name: str) -> None:
        with self._leases.errors():
            (self._leases.folder / name).touch()

    def _renew(self) -> None:
        while not self._ended.wait(self._leases.seconds / _RENEWALS):
            until = elapsed() + self._leases.seconds
            if elapsed() > self._until:
                self._lost = _NOT_RENEWED
                return
            try:
                os.utime(self._path)
                self._until = until
            except FileNotFoundError:
                self._lost = f"{self._path} was removed"
                return
            except OSError as error:
                log.warning("the lease of %s is not renewed: %s", self.box, error)


def _time(path: Path) -> float:
    """When a file was last touched. Opening it makes NFS ask its server."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime
