"""`Synapses`: presynaptic sites, and the postsynaptic sites that belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.image.chunk import VoxelSize

# Arrays that a file may leave out, by name.
_OPTIONAL = {
    "pre_confidence": np.float32,
    "post_confidence": np.float32,
    "pre_users": np.int32,
    "post_users": np.int32,
}
# In the older JSON, every other key holds one synapse.
_NOT_ENTRIES = ("order", "resolution", "users", "pre", "post", *_OPTIONAL)


@dataclass(frozen=True, eq=False)
class Synapses:
    """Synapses of one box: n presynaptic sites and m postsynaptic sites.

    pre: shape (n, 3), zyx, in voxels of `voxel_size`; in nanometres when that is None or ones.
    post: shape (m, 3), in the same units.
    parents: the row of `pre` that each post belongs to, shape (m,).
    pre_confidence, post_confidence: from 0 to 1, shapes (n,) and (m,); None when not known.
    voxel_size: edge lengths of a voxel in nanometres, zyx; None when not known.
    users: names of the people who made or changed the synapses.
    pre_users, post_users: indices into `users`, -1 for nobody, shapes (n,) and (m,).
    Raises ChunkMismatch when the shapes do not agree, or a parent does not exist.
    """

    pre: NDArray[np.int32]
    post: NDArray[np.int32]
    parents: NDArray[np.int32]
    pre_confidence: NDArray[np.float32] | None = None
    post_confidence: NDArray[np.float32] | None = None
    voxel_size: VoxelSize | None = None
    users: tuple[str, ...] = ()
    pre_users: NDArray[np.int32] | None = None
    post_users: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        n, m = len(self.pre), len(self.post)
        shapes = {
            "pre": (n, 3),
            "post": (m, 3),
            "parents": (m,),
            "pre_confidence": (n,),
            "post_confidence": (m,),
            "pre_users": (n,),
            "post_users": (m,),
        }
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise ChunkMismatch(f"synapses: {name} has the shape {array.shape}, not {shape}")
        unknown = self.parents[(self.parents < 0) | (self.parents >= n)]
        if len(unknown):
            raise ChunkMismatch(f"synapses: a post belongs to pre {unknown[0]}, and there are {n}")

    def __len__(self) -> int:
        """Number of presynaptic sites."""
        return len(self.pre)

    @classmethod
    def empty(cls, voxel_size: VoxelSize | None = None) -> Synapses:
        """No synapses at all."""
        no_sites, no_parents = np.zeros((0, 3), np.int32), np.zeros(0, np.int32)
        return cls(no_sites, no_sites.copy(), no_parents, voxel_size=voxel_size)

    @classmethod
    def from_mapping(
        cls, content: Mapping[str, Any], *, zyx: bool = True, voxel_size: VoxelSize | None = None
    ) -> Synapses:
        """Read the content of a file of chunkflow.

        content: `pre` of shape (n, 3), `post` of shape (m, 4) with the parent first, and more; or
            chunkflow's older JSON with one entry per synapse, which has `coord` and `postsynapses`.
        zyx: whether the axes are zyx, and not xyz, when the content does not give their order.
        voxel_size: overrides the content's, zyx.
        Raises ChunkMismatch for any other content.
        """
        order = [str(n).lower() for n in content.get("order", "zyx" if zyx else "xyz")]
        if order not in (["z", "y", "x"], ["x", "y", "z"]):
            raise ChunkMismatch(f"synapses: order is {order}, not z y x or x y z")
        to_zyx = slice(None, None, 1 if order[0] == "z" else -1)
        resolution = content.get("resolution")
        if voxel_size is None and resolution is not None and len(resolution) == 3:
            z, y, x = (float(n) for n in list(resolution)[to_zyx])
            voxel_size = (z, y, x)
        table: Mapping[str, Any] = content if "pre" in content else _from_entries(content)
        pre, post = _integers(table["pre"], 3, "pre"), _integers(table.get("post"), 4, "post")
        optional: dict[str, Any] = {
            name: np.asarray(table[name], dtype)
            for name, dtype in _OPTIONAL.items()
            if table.get(name) is not None
        }
        users = content.get("users", ())
        return cls(
            np.ascontiguousarray(pre[:, to_zyx]),
            np.ascontiguousarray(post[:, 1:][:, to_zyx]),
            post[:, 0].copy(),
            voxel_size=voxel_size,
            users=tuple(users.split(";") if isinstance(users, str) else users),
            **optional,
        )

    def mapping(self) -> dict[str, Any]:
        """The content of a file of chunkflow; `from_mapping` reads it back."""
        content: dict[str, Any] = {
            "pre": self.pre,
            "post": np.column_stack([self.parents, self.post]),
        }
        arrays = {name: getattr(self, name) for name in _OPTIONAL}
        content |= {name: array for name, array in arrays.items() if array is not None}
        if self.voxel_size is not None:
            content["resolution"] = np.array(self.voxel_size)
        if self.users:
            content["users"] = ";".join(self.users)
        return content

    def inside(self, box: BoundingBox, voxel_size: VoxelSize | None = None) -> Synapses:
        """The synapses whose presynaptic site lies in the box, with all their postsynaptic sites.

        voxel_size: of the box's voxels, in nanometres; that of the synapses when None.
        """
        ratio = np.ones(3)
        if voxel_size is not None and self.voxel_size is not None:
            ratio = np.divide(self.voxel_size, voxel_size)
        positions = self.pre * ratio
        kept: NDArray[np.bool_] = np.all((positions >= box.start) & (positions < box.stop), axis=1)
        kept_posts = kept[self.parents]
        new_row = np.cumsum(kept) - 1
        return replace(
            self,
            pre=self.pre[kept],
            post=self.post[kept_posts],
            parents=new_row[self.parents[kept_posts]].astype(np.int32),
            pre_confidence=_rows(self.pre_confidence, kept),
            post_confidence=_rows(self.post_confidence, kept_posts),
            pre_users=_rows(self.pre_users, kept),
            post_users=_rows(self.post_users, kept_posts),
        )


def _rows(array: NDArray[Any] | None, kept: NDArray[np.bool_]) -> NDArray[Any] | None:
    return None if array is None else array[kept]


def _integers(rows: Any, width: int, name: str) -> NDArray[np.int32]:
    """`rows` as an array of shape (n, width); None and an empty list have no rows."""
    try:
        array = np.asarray(rows if rows is not None and len(rows) else np.zeros((0, width)))
        integers = array.astype(np.int32)
    except (TypeError, ValueError):
        raise ChunkMismatch(
            f"synapses: {name} holds something else than rows of {width} numbers"
        ) from None
    if array.shape != (len(array), width):
        raise ChunkMismatch(f"synapses: {name} has the shape {array.shape}, not (n, {width})")
    if not np.array_equal(integers, array):
        raise ChunkMismatch(
            f"synapses: {name} holds numbers that are not whole, or too large for 32 bits"
        )
    return integers


def _from_entries(content: Mapping[str, Any]) -> dict[str, Any]:
    """`pre` and `post` of chunkflow's older JSON."""
    entries = [value for key, value in content.items() if key not in _NOT_ENTRIES]
    if not all(isinstance(entry, Mapping) and "coord" in entry for entry in entries):
        raise ChunkMismatch(
            "synapses: there is neither a list `pre` nor an entry with `coord` for each synapse"
        )
    post = [
        [row, *site] for row, entry in enumerate(entries) for site in entry.get("postsynapses", [])
    ]
    return {"pre": [entry["coord"] for entry in entries], "post": post}
