"""A labelling made box by box and region by region, in memory, as its operators make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chunkflow_worker.errors import DataMissing
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.labels.answer import settle_all
from chunkflow_worker.labels.faces import Faces
from chunkflow_worker.labels.folder import Folder
from chunkflow_worker.labels.gather import gather
from chunkflow_worker.labels.layout import Layout, Links
from chunkflow_worker.labels.leaf import label_box
from chunkflow_worker.labels.objects import Filter, Objects
from chunkflow_worker.labels.rows import final_rows
from chunkflow_worker.labels.unite import unite


class FolderInMemory(Folder):
    """A folder that keeps arrays in a dictionary."""

    def __init__(self, layout: Layout):
        super().__init__("mem://labels")
        self._layout = layout
        self.stored: dict[str, Any] = {}

    def put(self, kind: Any, box: BoundingBox, arrays: Any) -> int:
        self.stored[self.name(kind, box)] = arrays
        return sum(array.nbytes for array in arrays.values())

    def _read(self, kind: Any, box: BoundingBox, parse: Callable[[Any], Any]) -> Any:
        if self.name(kind, box) not in self.stored:
            raise DataMissing(f"there is no {self.name(kind, box)}")
        return parse(self.stored[self.name(kind, box)])

    def faces(self, box: BoundingBox) -> Faces | None:
        return (
            self._read("faces", box, Faces.of) if self.name("faces", box) in self.stored else None
        )


@dataclass(frozen=True)
class Labelled:
    """Final ids, zyx; and the table of all objects, in the order of their ids."""

    ids: np.ndarray
    final_ids: np.ndarray
    objects: Objects
    folder: FolderInMemory


def labelled(
    volume: np.ndarray,
    segment: Callable[[np.ndarray], np.ndarray],
    chunk_size: tuple[int, int, int],
    *,
    start: tuple[int, int, int] = (0, 0, 0),
    links: Links | None = None,
    cut: bool = False,
    keeps: Filter | None = None,
    compact: bool = False,
    classes: bool = False,
    skip: Callable[[BoundingBox], bool] = lambda box: False,
) -> Labelled:
    """Segment a volume by boxes, and make one labelling of it.

    cut: the last box of each axis ends with the volume, and does not stick out.
    classes: the volume's values are classes. skip: boxes that leave no file.
    """
    links = links or Links()
    first = Vec3.of(start)
    whole = BoundingBox.sized(first, volume.shape)
    grid = Grid(
        roi_start=first,
        roi_stop=whole.stop,
        chunk_size=chunk_size,
        respect_chunk_size=not cut,
    )
    boxes = grid.boxes()
    folder = FolderInMemory(Layout(boxes, links, (40.0, 4.0, 4.0)))
    layout, keeps = folder.layout(), keeps or Filter()
    ids = np.zeros(volume.shape, np.uint64)
    for box in boxes:
        if skip(box):
            continue
        read = box.grow(links.overlap).clip(whole)
        assert read is not None
        part = np.ascontiguousarray(volume[read.slices(first)])
        leaf = label_box(segment(part), read.start, box, layout, part if classes else None)
        folder.put("objects", box, leaf.objects.arrays())
        folder.put("faces", box, leaf.faces.arrays())
        core = box.clip(whole)
        assert core is not None
        ids[core.slices(first)] = leaf.ids[core.slices(read.start)]
    regions = [region for wave in layout.tree.waves() for region in wave]
    for region in regions:
        children, pairs = gather(folder, region, keeps, True)
        made = unite(layout, region, list(children.values()), pairs, keeps)
        for child, answer in zip(children, made.answers, strict=True):
            folder.put("answers", child, answer.arrays())
        folder.put("complete", region, made.complete.arrays())
        folder.put("open", region, made.node.arrays())
    found, place = np.unique(ids, return_inverse=True)
    table = np.zeros(len(found), np.uint64)
    table[found > 0] = settle_all(layout, found[found > 0], folder.answer, compact)
    rows = [final_rows(folder, region, compact) for region in regions]
    final, objects = np.concatenate([r[0] for r in rows]), [r[1] for r in rows]
    order = np.argsort(final)
    unsorted = Objects(
        *(np.concatenate([o.arrays()[n] for o in objects]) for n in Objects.none().arrays())
    )
    return Labelled(table[place].reshape(volume.shape), final[order], unsorted.take(order), folder)
