"""Arrays of any order of axes become zyx or czyx, by views that numpy's transpose confirms."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from chunkflow_worker.errors import ChunkMismatch
from chunkflow_worker.storage.axes import Axes, axis_letters, check_letters

CZYX = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
WINDOW = (slice(1, 3), slice(0, 2), slice(2, 5))


@pytest.mark.parametrize("letters", ["".join(order) for order in permutations("czyx")])
def test_a_window_of_any_order_is_the_same_part(letters: str) -> None:
    stored = CZYX.transpose(["czyx".index(letter) for letter in letters])
    axes = Axes(letters, stored.shape, "a")
    assert (axes.size, axes.channels) == ((3, 4, 5), 2)
    part = axes.arrange(stored[axes.selection(WINDOW)], WINDOW)
    assert np.array_equal(part, CZYX[:, 1:3, 0:2, 2:5])
    one = axes.arrange(stored[axes.selection(WINDOW, [1])], WINDOW)
    assert np.array_equal(one, CZYX[1:, 1:3, 0:2, 2:5])


@pytest.mark.parametrize(
    ("letters", "expected"),
    [("zyx", CZYX[0]), ("tzyx", CZYX[0]), ("tzyxc", CZYX[:1]), ("yx", CZYX[0, :1])],
)
def test_axes_may_be_missing_or_of_one_voxel(letters: str, expected: np.ndarray) -> None:
    sizes = {"t": 1, "z": 3, "y": 4, "x": 5, "c": 1}
    shape = tuple(sizes[letter] for letter in letters)
    stored = expected.reshape(shape)
    axes = Axes(letters, shape, "a")
    whole = tuple(slice(0, n) for n in axes.size)
    window = (whole[0], whole[1], whole[2])
    assert np.array_equal(axes.arrange(stored[axes.selection(window)], window), expected)


@pytest.mark.parametrize(
    ("letters", "shape", "problem"),
    [
        ("tzyx", (2, 3, 4, 5), r"t \(2\) does not fit in a chunk"),
        ("zzyx", (2, 3, 4, 5), r"z \(2\), z \(3\) does not fit"),
        ("czy", (2, 3, 4), "axes czy of shape"),
        ("zyx", (2, 3, 4, 5), "has 4 axes, of shape .* and not the 3 of 'zyx'"),
    ],
)
def test_axes_that_are_no_chunk_are_refused(
    letters: str, shape: tuple[int, ...], problem: str
) -> None:
    with pytest.raises(ChunkMismatch, match=f"a.h5 .*{problem}.*--axes"):
        Axes(letters, shape, "a.h5")


@pytest.mark.parametrize(
    ("names", "letters"),
    [
        (["c^", "z", "y", "x"], "czyx"),
        (["Z", "Y", "X"], "zyx"),
        (["time", "channel", "z", "y", "x"], "tczyx"),
        (["row", "column", "section"], None),
        (["z", "z", "x"], None),
        (["", "", ""], None),
    ],
)
def test_names_that_files_give_their_axes(names: list[str], letters: str | None) -> None:
    assert axis_letters(names) == letters


@pytest.mark.parametrize("text", ["zy", "zyxq", "zzyx", "", "channels"])
def test_an_option_of_axes_is_checked(text: str) -> None:
    with pytest.raises(ValueError, match="takes the letters c, z, y and x"):
        check_letters(text)
    assert check_letters("ZYXC") == "zyxc"
