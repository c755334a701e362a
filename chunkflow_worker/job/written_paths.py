"""`WrittenPaths`: the paths that records of a job may name.

Whoever may write to the ledger can put any path into a record, also that of a file or of a server
inside the reader's network. What reads records opens only the paths that the job's own chain
writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.volumes import Configured
from chunkflow_worker.storage.path import normal_path

_HELD = 1000  # paths
_LEDGER = "/log"  # below a volume, where a ledger lies by default


class WrittenPaths:
    """Folders, and beginnings of names, that the tasks of a job write to; in their normal form.

    are_all: the job writes nowhere else, as far as the pipeline file says.
    refusal: why a path from a record must not be opened; None if it may be.
    """

    def __init__(
        self, folders: Iterable[str], beginnings: Iterable[str] = (), *, are_all: bool = True
    ):
        self._folders, self._beginnings = frozenset(folders), frozenset(beginnings)
        self.are_all = are_all
        self.refusal = lru_cache(_HELD)(self._refusal)  # records name the same ones

    @classmethod
    def of_chain(cls, chain: Iterable[Configured]) -> WrittenPaths:
        """The paths that the operators of a chain write. Raises ConfigError for a wrong one."""
        written = [found for operator in chain for found in _written(operator)]
        return cls(
            (path for path, is_beginning in written if not is_beginning),
            (path for path, is_beginning in written if is_beginning),
        )

    @classmethod
    def of_ledger(cls, ledger: str) -> WrittenPaths:
        """Where there is no pipeline file: the volume that has this ledger at its default place."""
        volume = normal_path(ledger).removesuffix(_LEDGER)
        is_default = volume != normal_path(ledger) and volume.partition("://")[2].strip("/")
        return cls([volume] if is_default else (), are_all=False)

    def _refusal(self, path: str) -> str | None:
        try:
            found = None if "${" in path else normal_path(path)  # a record names no variables
        except ConfigError:
            found = None
        if found is None or ".." in found.split("/"):
            return "its record names what is no path"
        if self._holds(found):
            return None
        if self.are_all:
            return "its record names a path that the pipeline does not write"
        return "its record names a path that is not the ledger's own volume: give --pipeline"

    def _holds(self, path: str) -> bool:
        if any(path == folder or path.startswith(f"{folder}/") for folder in self._folders):
            return True
        return any(
            path == name
            or path.startswith(f"{name}/")
            or (path.startswith(name) and "/" not in path[len(name) :])
            for name in self._beginnings
        )


def _written(operator: Configured) -> Iterator[tuple[str, bool]]:
    """The paths that an operator writes, and whether each is only the beginning of names."""
    volumes = {*operator.facts.saves, *operator.facts.creates}
    for place in operator.facts.places(operator.options):
        path = operator.options.get(place.option)
        if not place.is_written or not (isinstance(path, str) or (path is None and place.is_local)):
            continue
        is_folder = place.option in volumes or not path or path.endswith("/")
        yield normal_path(path or str(Path.cwd())), not is_folder
