"""`Folder`: the files of a labelling, on a local disk or in object storage.

    layout.json             the grid and the links
    faces/<box>.npz         labels at the faces of a box
    objects/<box>.npz       all objects of a box
    complete/<region>.npz   the objects whose last parts were joined in a region
    open/<region>.npz       what a region passes up
    answers/<box>.npz       what the region above tells a box or a region

Names are those of tasks. What a task writes has the same bytes each time.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.labels.answer import Answer
from chunkflow_worker.labels.faces import Faces
from chunkflow_worker.labels.layout import Layout
from chunkflow_worker.labels.node import Node
from chunkflow_worker.labels.objects import Objects
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.written_file import note_shared, noting

_LAYOUT = "layout.json"
_ERRORS = (KeyError, TypeError, ValueError, OSError, EOFError, zipfile.BadZipFile)

Kind = Literal["faces", "objects", "complete", "open", "answers"]
Arrays = Mapping[str, NDArray[Any]]
T = TypeVar("T")


class Folder:
    """The files of a labelling. Several threads may share it.

    Methods raise StorageUnavailable, and DataMissing for a file that is absent or damaged.
    """

    def __init__(self, path: str):
        self.files = Files(path)
        self._layout: Layout | None = None

    @staticmethod
    def name(kind: Kind, box: BoundingBox) -> str:
        """The file of a box or of a region, below the folder."""
        return f"{kind}/{box}.npz"

    def layout(self) -> Layout:
        """Raises DataMissing when no box is labelled yet."""
        if self._layout is None:
            self._layout = self._stored_layout()
        if self._layout is None:
            raise DataMissing(f"there is no {self.files.path}/{_LAYOUT}: first label the boxes")
        return self._layout

    def put_layout(self, layout: Layout) -> None:
        """Store the layout, once. Raises ConfigError when another one is stored."""
        if self._layout is None:
            stored = self._stored_layout()
            if stored is None:
                with noting(None):
                    self.files.put_json(_LAYOUT, layout.dump())
            self._layout = stored or layout
        if self._layout != layout:
            raise ConfigError.one(
                self.files.path,
                _LAYOUT,
                f"has another grid, or other links: {_difference(self._layout, layout)}",
                "give all boxes the same options, or another work_path",
            )
        note_shared(f"{self.files.path}/{_LAYOUT}")

    def _stored_layout(self) -> Layout | None:
        content = self.files.get_json(_LAYOUT)
        if content is None:
            return None
        try:
            return Layout.parse(content)
        except _ERRORS as error:
            raise DataMissing(f"{self.files.path}/{_LAYOUT} is damaged: {error!r}") from error

    def put(self, kind: Kind, box: BoundingBox, arrays: Arrays) -> int:
        """Write a file, completely or not at all; the number of its bytes."""
        content = io.BytesIO()
        np.savez_compressed(content, **dict(arrays))  # type: ignore[arg-type]
        self.files.put(self.name(kind, box), content.getvalue(), "application/octet-stream")
        return len(content.getvalue())

    def faces(self, box: BoundingBox) -> Faces | None:
        """None when the box has no file."""
        content = self.files.get(self.name("faces", box))
        return None if content is None else self._parsed("faces", box, content, Faces.of)

    def objects(self, box: BoundingBox) -> Objects:
        return self._read("objects", box, Objects.of)

    def complete(self, region: BoundingBox) -> Objects:
        return self._read("complete", region, Objects.of)

    def node(self, region: BoundingBox) -> Node:
        return self._read("open", region, Node.of)

    def answer(self, box: BoundingBox) -> Answer:
        return self._read("answers", box, Answer.of)

    def _read(self, kind: Kind, box: BoundingBox, parse: Callable[[Arrays], T]) -> T:
        content = self.files.get(self.name(kind, box))
        if content is None:
            place = f"{self.files.path}/{self.name(kind, box)}"
            raise DataMissing(f"there is no {place}: {_CURES[kind]}")
        return self._parsed(kind, box, content, parse)

    def _parsed(
        self, kind: Kind, box: BoundingBox, content: bytes, parse: Callable[[Arrays], T]
    ) -> T:
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return parse(dict(arrays))
        except _ERRORS as error:
            place = f"{self.files.path}/{self.name(kind, box)}"
            raise DataMissing(f"{place} is damaged: {error}; {_CURES[kind]}") from error


_CURES: Mapping[Kind, str] = {
    "faces": "label this box first",
    "objects": "label this box first",
    "complete": "join this region first",
    "open": "join this region first",
    "answers": "join the region above it first",
}


def _difference(one: Layout, other: Layout) -> str:
    """What differs, in words."""
    left, right = (_flat(layout.dump()) for layout in (one, other))
    return "; ".join(f"{n} {left[n]}, not {right[n]}" for n in left if left[n] != right[n])


def _flat(content: Mapping[str, Any]) -> dict[str, str]:
    """Names and values in words, without the level between."""
    values: dict[str, str] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            values |= _flat(value)
        else:
            values[name] = str(list(value) if isinstance(value, tuple) else value)
    return values
