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

_PLAIN = ("pre", "post", "pre_confidence", "post_confidence", "pre_users", "post_users")
_ABOUT = ("order", "resolution", "users", *_PLAIN)


@dataclass(frozen=True, eq=False)
class Synapses:
    """Synapses of one box.

    pre: shape (n, 3), zyx, in voxels of `voxel_size`; in nanometres where that is None or ones.
    post: shape (m, 3), in the same units.
    parents: row of `pre` that each post belongs to, shape (m,).
    pre_confidence, post_confidence: from 0 to 1, shapes (n,) and (m,); None when not known.
    voxel_size: edge lengths of a voxel in nanometres, zyx; None when not known.
    users: names of those who made or changed them; pre_users and post_users are numbers into these, -1 for nobody.
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
        }
        for name, shape in (shapes | {"pre_users": (n,), "post_users": (m,)}).items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise ChunkMismatch(f"synapses: {name} has the shape {array.shape}, not {shape}")
        if m and not (self.parents.min() >= 0 and self.parents.max() < n):
            raise ChunkMismatch(
                f"synapses: a post belongs to pre {self.parents.max()}, and there are {n}"
            )

    def __len__(self) -> int:
        """Number of presynaptic sites."""
        return len(self.pre)

    @classmethod
    def empty(cls, voxel_size: VoxelSize | None = None) -> Synapses:
        return cls(
            np.zeros((0, 3), np.int32),
            np.zeros((0, 3), np.int32),
            np.zeros(0, np.int32),
            voxel_size=voxel_size,
        )

    @classmethod
    def from_mapping(
        cls, content: Mapping[str, Any], *, zyx: bool = True, voxel_size: VoxelSize | None = None
    ) -> Synapses:
        """From what a file of chunkflow holds: `pre` (n, 3), `post` (m, 4) with the parent first, and more.

        Also from its older JSON, which has one entry for each synapse: `coord` and `postsynapses`.
        zyx: order of the axes where the content does not tell. voxel_size: overrides the content's, zyx.
        Raises ChunkMismatch.
        """
        order = [str(n).lower() for n in content.get("order", "zyx" if zyx else "xyz")]
        if order not in (["z", "y", "x"], ["x", "y", "z"]):
            raise ChunkMismatch(f"synapses: order is {order}, not z y x or x y z")
        turn = slice(None, None, 1 if order[0] == "z" else -1)
        plain: Mapping[str, Any] = content if "pre" in content else _from_entries(content)
        pre, post = _numbers(plain["pre"], 3, "pre"), _numbers(plain.get("post"), 4, "post")
        users = content.get("users", ())
        resolution = content.get("resolution")
        if voxel_size is None and resolution is not None and len(resolution) == 3:
            z, y, x = (float(n) for n in list(resolution)[turn])
            voxel_size = (z, y, x)
        dtypes = (np.float32, np.float32, np.int32, np.int32)
        optional: dict[str, Any] = {
            name: None if plain.get(name) is None else np.asarray(plain[name], dtype)
            for name, dtype in zip(_PLAIN[2:], dtypes, strict=True)
        }
        return cls(
            np.ascontiguousarray(pre[:, turn]),
            np.ascontiguousarray(post[:, 1:][:, turn]),
            post[:, 0].copy(),
            voxel_size=voxel_size,
            users=tuple(users.split(";") if isinstance(users, str) else users),
            **optional,
        )

    def mapping(self) -> dict[str, Any]:
        """What a file of chunkflow holds; `from_mapping` reads it back."""
        content: dict[str, Any] = {
            "pre": self.pre,
            "post": np.column_stack([self.parents, self.post]),
        }
        content |= {
            name: value for name in _PLAIN[2:] if (value := getattr(self, name)) is not None
        }
        if self.voxel_size is not None:
            content["resolution"] = np.array(self.voxel_size)
        return content | ({"users": ";".join(self.users)} if self.users else {})

    def inside(self, box: BoundingBox, voxel_size: VoxelSize | None = None) -> Synapses:
        """Those whose pre lies in the box, with their posts wherever they are.

        voxel_size: of the box's voxels, in nanometres; those of the synapses when None.
        """
        ratio = np.ones(3)
        if voxel_size is not None and self.voxel_size is not None:
            ratio = np.divide(self.voxel_size, voxel_size)
        places = self.pre * ratio
        kept: NDArray[np.bool_] = np.all((places >= box.start) & (places < box.stop), axis=1)
        kept_posts = kept[self.parents]
        row = np.cumsum(kept) - 1
        return replace(
            self,
            pre=self.pre[kept],
            post=self.post[kept_posts],
            parents=row[self.parents[kept_posts]].astype(np.int32),
            pre_confidence=_part(self.pre_confidence, kept),
            post_confidence=_part(self.post_confidence, kept_posts),
            pre_users=_part(self.pre_users, kept),
            post_users=_part(self.post_users, kept_posts),
        )


def _part(array: NDArray[Any] | None, kept: NDArray[np.bool_]) -> NDArray[Any] | None:
    return None if array is None else array[kept]


def _numbers(rows: Any, width: int, name: str) -> NDArray[np.int32]:
    try:
        array = np.asarray(rows if rows is not None and len(rows) else np.zeros((0, width)))
        whole = array.astype(np.int32)
    except (TypeError, ValueError):
        raise ChunkMismatch(
            f"synapses: {name} holds something else than rows of {width} numbers"
        ) from None
    if array.shape != (len(array), width):
        raise ChunkMismatch(f"synapses: {name} has the shape {array.shape}, not (n, {width})")
    if not np.array_equal(whole, array):
        raise ChunkMismatch(
            f"synapses: {name} holds numbers that are not whole, or too large for 32 bits"
        )
    return whole


def _from_entries(content: Mapping[str, Any]) -> dict[str, Any]:
    entries = [value for key, value in content.items() if key not in _ABOUT]
    if not all(isinstance(entry, Mapping) and "coord" in entry for entry in entries):
        raise ChunkMismatch(
            "synapses: there is neither a list `pre` nor an entry with `coord` for each synapse"
        )
    post = [
        [i, *place] for i, entry in enumerate(entries) for place in entry.get("postsynapses", [])
    ]
    return {"pre": [entry["coord"] for entry in entries], "post": post}
