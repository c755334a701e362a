"""`unite`: joins the children of a region by the pairs of their ids, and answers each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import DataMissing
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.labels.answer import DROPPED, OPEN, Answer
from chunkflow_worker.labels.find_ids import find_ids
from chunkflow_worker.labels.layout import Ids, Layout, Whole
from chunkflow_worker.labels.node import Node, at_outer_faces
from chunkflow_worker.labels.objects import Filter, Objects


class Child(NamedTuple):
    """A child of a region. complete: its objects that no other box can join; none of a region."""

    node: Node
    complete: Objects = Objects.none()


class United(NamedTuple):
    """A region whose children are joined.

    complete: the objects that got their last part here, and stay; those of boxes are not in it.
    answers: one to each child.
    """

    node: Node
    complete: Objects
    answers: list[Answer]


def unite(
    layout: Layout,
    region: BoundingBox,
    children: Sequence[Child],
    links: Ids,
    keeps: Filter,
) -> United:
    """Join the objects of the children.

    links: pairs of ids that join children that are boxes to their neighbours, also to those
        outside; shape (n, 2).
    keeps: which complete objects stay.
    Raises DataMissing when a child does not know an id that is linked to it.
    """
    nodes = [child.node for child in children]
    objects = Objects.joined(node.objects for node in nodes)
    face_ids, names, touches = _faces(nodes)
    pairs = np.concatenate([links, *(node.pairs for node in nodes)])
    inside = layout.are_in(pairs[:, 0], region) & layout.are_in(pairs[:, 1], region)
    ends = names[_rows(face_ids, pairs[inside].ravel())]
    groups = _groups(_rows(objects.ids, ends).reshape(-1, 2), len(objects))
    merged = objects.merged(groups)
    name_of = merged.ids[groups]
    new_names = name_of[_rows(objects.ids, names)]
    outer = at_outer_faces(layout, region, face_ids, touches)
    is_open = np.isin(merged.ids, new_names[outer])
    stays = ~is_open & keeps.keeps(merged)
    # In the order of their ids, which is that of their first voxels.
    order = np.argsort(merged.ids[stays])
    numbers = np.where(is_open, OPEN, DROPPED)
    numbers[np.flatnonzero(stays)[order]] = np.arange(1, len(order) + 1)
    answers, total = [], len(order)
    for node, complete in children:
        rows = _rows(objects.ids, node.objects.ids)
        own = node.objects.ids, name_of[rows], numbers[groups[rows]]
        answers.append(_answer(own, complete, keeps, total))
        total += node.complete
    complete = merged.take(stays).take(order)
    up = merged.take(is_open)
    up = up.take(np.argsort(up.ids))
    node = Node(up, face_ids[outer], new_names[outer], touches[outer], pairs[~inside], total)
    return United(node, complete, answers)


def _faces(nodes: Sequence[Node]) -> tuple[Ids, Ids, NDArray[np.uint8]]:
    """The ids at the faces of the nodes, in order, with their names and the faces they touch."""
    empty = np.zeros(0, np.uint64)
    face_ids = np.concatenate([empty, *(node.face_ids for node in nodes)])
    names = np.concatenate([empty, *(node.names for node in nodes)])
    touches = np.concatenate([empty.astype(np.uint8), *(node.touches for node in nodes)])
    order = np.argsort(face_ids)
    return face_ids[order], names[order], touches[order]


def _rows(ids: Ids, wanted: Ids) -> Whole:
    """Where the wanted ids are in `ids`, which is in order. Raises DataMissing if one is absent."""
    rows, absent = find_ids(ids, wanted)
    if len(absent):
        raise DataMissing(
            f"{len(absent)} linked ids are not known to the children, for example {absent[0]}: "
            "some of their files are of another run; join them again"
        )
    return rows


def _groups(pairs: Whole, count: int) -> NDArray[Any]:
    """The number of the component of each of `count` nodes of a graph. pairs: its edges."""
    sparse, csgraph = (
        needs("scipy.sparse", extra="image"),
        needs("scipy.sparse.csgraph", extra="image"),
    )
    edges = sparse.coo_array((np.ones(len(pairs), bool), pairs.T), shape=(count, count))
    groups: NDArray[Any] = csgraph.connected_components(edges, directed=False)[1]
    return groups


def _answer(own: tuple[Ids, Ids, Whole], complete: Objects, keeps: Filter, offset: int) -> Answer:
    """own: ids, names and numbers of what the child passed up."""
    kept = keeps.keeps(complete)
    numbers = np.where(kept, offset + np.cumsum(kept), DROPPED)
    ids = np.concatenate([own[0], complete.ids])
    names = np.concatenate([own[1], complete.ids])
    order = np.argsort(ids)
    all_numbers = np.concatenate([own[2], numbers])
    return Answer(ids[order], names[order], all_numbers[order], offset)
