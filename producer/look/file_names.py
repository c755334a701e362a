"""`FileNames`: the files of a folder by the ends of their names, which name their box.

The folder of a job's meshes has files of all boxes, so it is listed once, and not for each of them.
"""

from __future__ import annotations

import re

from chunkflow_worker.storage.files import Files


class FileNames:
    """The files whose names are a beginning, the id of an object, and an end.

    Raises StorageUnavailable.
    """

    def __init__(self, folder: str, beginning: str):
        self._by_end: dict[str, list[str]] = {}
        pattern = re.compile(rf"{re.escape(beginning)}[0-9]+")
        for name in Files(folder).list(beginning):
            if match := pattern.match(name):
                self._by_end.setdefault(name[match.end() :], []).append(name)

    def ending(self, end: str) -> list[str]:
        """The files whose names end so after the id."""
        return self._by_end.get(end, [])
