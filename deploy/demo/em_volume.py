"""A synthetic electron microscopy volume with known membranes.

The demo uses it, and the training of the demo's net.

Neurites are strings of Voronoi cells in a warped space. They contain mitochondria, vesicle
clusters, synaptic densities and tubules of the endoplasmic reticulum. All of these are as dark as
the membranes, so no threshold finds the membranes.

Axes are zyx. Lengths are in voxels of a section unless a name says otherwise. One section is as
thick as `THICKNESS` of these voxels. The first voxel is at the global position 0 0 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

VOXEL_SIZE_NM = (32.0, 8.0, 8.0)
THICKNESS = 4.0
SPACING = 33.0
SLAB = 8
TILE = 32

# Grey values.
CYTOPLASM, MEMBRANE = 174.0, 68.0
MATRIX, CRISTA, RIM = 114.0, 72.0, 62.0  # of a mitochondrion
VESICLE, TUBULE, DENSITY = 64.0, 96.0, 80.0

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Labels = NDArray[np.int32]
Shape = tuple[int, int, int]
Lattice = tuple[Floats, NDArray[np.int64], Floats]


def make_volume(shape_zyx: Shape, seed: int) -> tuple[NDArray[np.uint8], Mask]:
    """Return the image (uint8, zyx) and its true membranes (bool, zyx).

    Membranes are two to three voxels thick in a section. The same seed gives the same volume.
    """
    shape = tuple(int(n) for n in shape_zyx)
    rng = np.random.default_rng(seed)
    labels = _neurites(shape, rng)
    membranes = _membranes(labels, rng)
    grey = _cytoplasm(labels, rng)
    _add_synapses(grey, labels, membranes, rng)
    _add_mitochondria(grey, labels, membranes, rng)
    _add_membranes(grey, membranes, rng)
    return _photograph(grey, rng), membranes


# ---------------------------------------------------------------- smooth noise and small filters


class Noise:
    """A smooth random field, mean 0 and standard deviation 1, computed a few sections at a time.

    wavelength: distance between the random values along z (in sections), y and x (in voxels).
    """

    def __init__(
        self, shape: Shape, wavelength: tuple[float, float, float], rng: np.random.Generator
    ):
        self._bases = [_spline_basis(n, w) for n, w in zip(shape, wavelength, strict=True)]
        self._values = rng.standard_normal([b.shape[1] for b in self._bases], dtype=np.float32)

    def __getitem__(self, sections: slice) -> Floats:
        along_z, along_y, along_x = self._bases
        values = np.tensordot(along_z[sections], self._values, 1)
        return along_y @ (values @ along_x.T)


def _spline_basis(size: int, wavelength: float) -> Floats:
    """Return a matrix (size, knots) that interpolates random values with cubic B-splines.

    It keeps the standard deviation of the values.
    """
    knot, t = np.divmod(np.arange(size) / wavelength, 1)
    weights = (
        np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3])
        / 6
    )
    weights /= np.sqrt((weights**2).sum(0))
    basis = np.zeros((size, int(knot[-1]) + 4), np.float32)
    for i in range(4):
        basis[np.arange(size), knot.astype(int) + i] = weights[i]
    return basis


def _slabs(shape: Shape) -> Iterator[slice]:
    return (slice(z, min(z + SLAB, shape[0])) for z in range(0, shape[0], SLAB))


def _blur(image: Floats, sigma: float) -> Floats:
    """Gaussian blur along the last two axes."""
    radius = int(np.ceil(2.5 * sigma))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).astype(np.float32)
    taps /= taps.sum()
    for axis in (-2, -1):
        size = image.shape[axis]
        around = [(0, 0)] * image.ndim
        around[axis] = (radius, radius)
        padded = np.pad(image, around, "edge")
        image = sum(tap * padded.take(range(i, i + size), axis) for i, tap in enumerate(taps))
    return image


def _dilate(mask: Mask, steps: int) -> Mask:
    """Grow a mask within its sections, alternately to 4 and to 8 neighbours."""
    for step in range(steps):
        grown = mask.copy()
        grown[..., 1:, :] |= mask[..., :-1, :]
        grown[..., :-1, :] |= mask[..., 1:, :]
        rows = grown.copy() if step % 2 else mask
        grown[..., 1:] |= rows[..., :-1]
        grown[..., :-1] |= rows[..., 1:]
        mask = grown
    return mask


# ---------------------------------------------------------------- cells


def _neurites(shape: Shape, rng: np.random.Generator) -> Labels:
    """Return the cell of each voxel: int32, zyx."""
    lattice = _seeds(shape, rng)
    warps = [(Noise(shape, (12, 44, 44), rng), Noise(shape, (5, 17, 17), rng)) for _ in range(3)]
    drift = rng.normal(0, 0.7, (3, shape[0])).astype(np.float32)
    drift[0] = 0
    labels = np.empty(shape, np.int32)
    for slab in _slabs(shape):
        grid = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape[1:]), indexing="ij")
        place = [
            np.arange(slab.start, slab.stop, dtype=np.float32)[:, None, None] * THICKNESS,
            *grid,
        ]
        at = [
            p + 11 * coarse[slab] + 2.6 * fine[slab] + d[slab, None, None]
            for p, (coarse, fine), d in zip(place, warps, drift, strict=True)
        ]
        for y, x in product(range(0, shape[1], TILE), range(0, shape[2], TILE)):
            tile = (slice(None), slice(y, y + TILE), slice(x, x + TILE))
            points = np.stack([a[tile] for a in at], -1)
            labels[slab][tile] = _cells_at(points.reshape(-1, 3), lattice).reshape(points.shape[:3])
    return labels


def _cells_at(points: Floats, lattice: Lattice) -> NDArray[np.int64]:
    """Return the cell of the nearest seed of each point: least squared distance minus the bulge."""
    low, high = points.min(0), points.max(0)
    middle, half = (low + high) / 2, (high - low) / 2
    first, last = np.maximum(0, low // SPACING - 1).astype(int), (high // SPACING + 6).astype(int)
    seeds, cells, bulge = (
        a[tuple(map(slice, first, last))].reshape(-1, *a.shape[3:]) for a in lattice
    )
    away = seeds - middle
    least = (np.maximum(0, abs(away) - half) ** 2).sum(1) - bulge
    most = ((abs(away) + half) ** 2).sum(1) - bulge
    near = least <= most.min()
    away, bulge = away[near], bulge[near]
    distance = (points - middle) @ (-2 * away.T) + ((away**2).sum(1) - bulge)
    return cells[near][distance.argmin(1)]


def _seeds(shape: Shape, rng: np.random.Generator) -> Lattice:
    """Return seeds on a jittered lattice larger than the volume, with their cells and bulges."""
    extent = np.array([shape[0] * THICKNESS, shape[1], shape[2]])
    lattice = np.ceil(extent / SPACING).astype(int) + 4
    index = np.stack(np.meshgrid(*(np.arange(n) for n in lattice), indexing="ij"), -1).reshape(
        -1, 3
    )
    seeds = (index - 1.5 + rng.uniform(-0.48, 0.48, index.shape)) * SPACING
    cells = np.full(len(seeds), -1)
    for trunk in range(max(1, round(extent.prod() / 2.5e7))):
        through = rng.uniform(0, 1, 3) * extent
        along = rng.normal(0, (1.5, 1, 1))
        along /= np.linalg.norm(along)
        offset = seeds - through
        from_axis = np.linalg.norm(offset - np.outer(offset @ along, along), axis=1)
        cells[from_axis < rng.uniform(35, 60)] = trunk
    steps = np.array([s for s in product((-1, 0, 1), repeat=3) if any(s)])
    strides = np.array([lattice[1] * lattice[2], lattice[2], 1])
    label = cells.max() + 1
    for start in rng.permutation(len(seeds)):
        if cells[start] >= 0:
            continue
        way, here, length = rng.normal(0, 1, 3), start, rng.geometric(0.1)
        for _ in range(length):
            cells[here] = label
            to = index[here] + steps
            legal = to[((to >= 0) & (to < lattice)).all(1)] @ strides
            free = legal[cells[legal] < 0]
            if not len(free):
                break
            to_free = seeds[free] - seeds[here]
            turn = to_free @ way / np.linalg.norm(to_free, axis=1)
            there = free[turn.argmax()]
            last_step = (seeds[there] - seeds[here]) / SPACING
            straight = way / np.linalg.norm(way)
            way = 0.6 * straight + 0.4 * last_step + rng.normal(0, 0.15, 3)
            here = there
        label += 1
    bulge = rng.normal(0, 0.22 * SPACING**2, label)[cells]
    return (
        seeds.astype(np.float32).reshape(*lattice, 3),
        cells.reshape(lattice),
        bulge.astype(np.float32).reshape(lattice),
    )


def _membranes(labels: Labels, rng: np.random.Generator) -> Mask:
    """Return the voxels that touch another cell in their section, in places one voxel thicker."""
    edge = np.zeros(labels.shape, bool)
    for axis in (1, 2):
        a = labels.swapaxes(axis, 1)
        e = edge.swapaxes(axis, 1)
        differs = a[:, 1:] != a[:, :-1]
        e[:, 1:] |= differs
        e[:, :-1] |= differs
    thick = Noise(labels.shape, (5, 20, 20), rng)
    for slab in _slabs(labels.shape):
        more = np.zeros_like(edge[slab])
        more[:, 1:, 1:] = edge[slab][:, :-1, 1:] | edge[slab][:, 1:, :-1]
        edge[slab] |= more & (thick[slab] > 0.1)
    return edge


# ---------------------------------------------------------------- what lies in the cells


def _cytoplasm(labels: Labels, rng: np.random.Generator) -> Floats:
    """Return the grey values of the cells, with texture and reticulum: float32."""
    shape = labels.shape
    of_cell = rng.normal(CYTOPLASM, 9, labels.max() + 1).astype(np.float32)
    has_tubules = rng.random(labels.max() + 1) < 0.5
    grain, cloud = Noise(shape, (0.9, 3, 3), rng), Noise(shape, (2, 11, 11), rng)
    tubule, where = Noise(shape, (3, 17, 17), rng), Noise(shape, (5, 30, 30), rng)
    grey = np.empty(shape, np.float32)
    for slab in _slabs(shape):
        grey[slab] = of_cell[labels[slab]] + 9 * grain[slab] + 6 * cloud[slab]
        line = (abs(tubule[slab]) < 0.11) & (where[slab] > 0.45) & has_tubules[labels[slab]]
        grey[slab][line] = TUBULE
    return grey


def _add_mitochondria(
    grey: Floats, labels: Labels, membranes: Mask, rng: np.random.Generator
) -> None:
    """Bent capsules inside the cells: a dark rim around a dark matrix with darker stripes."""
    taken = membranes.copy()
    for _ in range(round(grey.size * THICKNESS / 6e4)):
        middle = rng.integers(0, grey.shape)
        z, y, x = middle
        if taken[z, max(0, y - 9) : y + 10, max(0, x - 9) : x + 10].any():
            continue
        radius, half = rng.uniform(12, 25), rng.uniform(15, 75)
        along = rng.normal(0, 1, 3)
        along /= np.linalg.norm(along)
        box, at = _window(grey.shape, middle, abs(along) * half + radius)
        cell = np.nonzero(labels[box] == labels[z, y, x])
        at = np.stack([a.ravel()[i] for a, i in zip(at, cell, strict=True)])
        t = along @ at
        bend = rng.normal(0, 0.005, 3) * t[:, None] ** 2
        off = at - np.outer(along, np.clip(t, -half, half)) - bend.T
        inside = np.zeros(labels[box].shape, bool)
        inside[cell] = (off**2).sum(0) < radius**2
        inside &= ~_dilate(taken[box], 3)
        if inside.sum() < 1200:
            continue
        core = ~_dilate(~inside, 2)
        side = np.cross(along, rng.normal(0, 0.5, 3))
        wave = np.zeros(inside.shape, np.float32)
        wave[cell] = np.sin(
            (t + side @ at + 4 * np.sin(at[1] / 7 + at[0] / 9)) * (2 * np.pi / rng.uniform(8, 11))
        )
        texture = Noise(inside.shape, (1.5, 6, 6), rng)[:]
        stripes = (wave > 0.35) & (texture > -0.6) & ~_dilate(~core, 1)
        part = grey[box]
        taken[box] |= inside
        part[inside] = RIM
        part[core] = MATRIX + 7 * texture[core]
        part[stripes] = CRISTA


def _add_synapses(grey: Floats, labels: Labels, membranes: Mask, rng: np.random.Generator) -> None:
    """Clusters of vesicles on one side of a membrane, and a dark density on the other."""
    for _ in range(round(grey.size * THICKNESS / 5e5)):
        middle = rng.integers(0, grey.shape)
        box, (z, y, x) = _window(grey.shape, middle, 48)
        near = labels[box]
        rows = np.argwhere(membranes[middle[0]][box[1:]])
        if not len(rows):
            continue
        site = rows[rng.integers(len(rows))]
        z, y, x = z, y - y[0, site[0], 0], x - x[0, 0, site[1]]
        here = near[middle[0] - box[0].start]
        pair = np.unique(here[max(0, site[0] - 2) : site[0] + 3, max(0, site[1] - 2) : site[1] + 3])
        if len(pair) < 2:
            continue
        before, after = rng.permutation(pair)[:2]
        edge = membranes[box]
        disc = z**2 + y**2 + x**2 < rng.uniform(14, 24) ** 2
        cleft = _dilate(edge & _dilate(near == before, 3) & _dilate(near == after, 3), 1)
        grey[box][disc & _dilate(cleft, 4) & (near == after)] = DENSITY
        around = z**2 + y**2 + x**2 < rng.uniform(26, 44) ** 2
        room = (near == before) & ~_dilate(edge, 3) & around
        places = np.argwhere(room)
        if len(places):
            some = places[rng.permutation(len(places))[:600]]
            _add_vesicles(grey[box], some, room, int(rng.integers(30, 120)))


def _add_vesicles(part: Floats, places: NDArray[np.int64], room: Mask, count: int) -> None:
    """Draw dark rings with a light middle: five voxels wide, one section thick, never touching."""
    y, x = np.mgrid[-3:4, -3:4]
    distance = np.hypot(y, x)
    free = room.copy()
    for z, y0, x0 in places:
        window = (z, slice(y0 - 3, y0 + 4), slice(x0 - 3, x0 + 4))
        if count and free[z, y0, x0] and part[window].shape == distance.shape:
            part[window][distance < 2.5] = VESICLE
            part[window][distance < 1.2] = CYTOPLASM - 5
            free[window] &= distance > 3.2
            free[z, max(0, y0 - 5) : y0 + 6, max(0, x0 - 5) : x0 + 6] = False
            count -= 1


def _window(
    shape: Shape, middle: NDArray[np.int64], reach: float | NDArray[np.float64]
) -> tuple[tuple[slice, ...], list[Floats]]:
    """Return the part of the volume within `reach` of a voxel, and its positions relative to it.

    reach: one length for all axes, or one for each.
    """
    reaches = (np.broadcast_to(reach, 3) / (THICKNESS, 1, 1)).astype(int) + 1
    box = tuple(
        slice(max(0, m - r), min(n, m + r + 1))
        for m, r, n in zip(middle, reaches, shape, strict=True)
    )
    axes = zip(np.ogrid[box], middle, (THICKNESS, 1, 1), strict=True)
    return box, [(axis - m).astype(np.float32) * step for axis, m, step in axes]


# ---------------------------------------------------------------- membranes, and the microscope


def _add_membranes(grey: Floats, membranes: Mask, rng: np.random.Generator) -> None:
    """Draw the membranes, with varying darkness, and a shade where the next sections have them."""
    fade = Noise(grey.shape, (3, 22, 22), rng)
    for slab in _slabs(grey.shape):
        cover = 0.78 + 0.12 * np.clip(fade[slab], -2, 1.5)
        neighbours = np.zeros(cover.shape, np.float32)
        below, above = np.arange(slab.start, slab.stop) - 1, np.arange(slab.start, slab.stop) + 1
        neighbours += membranes[np.maximum(below, 0)]
        neighbours += membranes[np.minimum(above, grey.shape[0] - 1)]
        cover = np.where(membranes[slab], cover, 0.13 * neighbours)
        grey[slab] += cover * (MEMBRANE - grey[slab])


def _photograph(grey: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the image of a microscope: uint8.

    Each section has its own focus, light, brightness and contrast, and shot and detector noise.
    """
    shape = grey.shape
    light = Noise(shape, (3, 200, 200), rng)
    image = np.empty(shape, np.uint8)
    for z in range(shape[0]):
        section = _blur(grey[z], rng.uniform(0.75, 1.05))
        contrast, brightness = rng.normal(0.95, 0.06), rng.normal(0, 7)
        section = 128 + (section - 128) * contrast + brightness + 5 * light[z : z + 1][0]
        noise = rng.standard_normal(section.shape, dtype=np.float32)
        section += noise * (4 + 0.85 * np.sqrt(np.maximum(section, 0)))
        image[z] = np.clip(np.rint(section), 0, 255)
    return image
