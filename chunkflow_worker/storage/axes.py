"""`Axes`: what the axes of a stored array are, and how its part becomes a chunk, (c)zyx."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ChunkMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Window = tuple[slice, slice, slice]
Selection = tuple[slice | int | list[int], ...]

_KNOWN = "tczyx"
_COLOURS = 4  # at most: red, green, blue and opacity
_PICTURE = 16  # pixels at least, so that thin cutouts are none
_NAMES = {"channel": "c", "channels": "c", "time": "t"}


def axis_letters(names: Sequence[str]) -> str | None:
    """Letters of axes that a file names, for example ["c^", "z", "y", "x"]; None if not known."""
    plain = [name.strip().lower().removesuffix("^") for name in names]
    letters = [_NAMES.get(name, name) for name in plain]
    known = all(letter in _KNOWN and len(letter) == 1 for letter in letters)
    return "".join(letters) if known and len(set(letters)) == len(letters) else None


def check_letters(text: str | None) -> str | None:
    """Check an option that gives axes, as a pydantic validator. Raises ValueError."""
    if text is None:
        return None
    letters = axis_letters([*text])
    if letters is None or not {"y", "x"} <= set(letters):
        raise ValueError("takes the letters c, z, y and x in the file's order, for example zyxc")
    return letters


def colours_last(shape: Sequence[int], letters: str) -> str:
    """What to tell of an array whose file names no axes, if it looks like pictures in colours.

    Their last axis is of 1 to 4 colours, behind two of pixels. Empty for others.
    letters: of the axes that are taken: zyx, czyx or tczyx.
    """
    other = {3: "yxc", 4: "zyxc", 5: "tzyxc"}.get(len(shape))
    if other is None or shape[-1] > _COLOURS or min(shape[-3:-1]) < _PICTURE:
        return ""
    sizes = "x".join(map(str, shape))
    return f"has shape {sizes} and names no axes: {letters} is taken, though it looks like {other}"


@dataclass(frozen=True)
class Axes:
    """The axes of a stored array.

    letters: c, z, y or x for each axis, slowest first. Another letter is an axis of length 1.
    shape: of the array.
    place: names the array in errors.
    Raises ChunkMismatch unless they are those of a chunk; an axis z may be missing.
    """

    letters: str
    shape: tuple[int, ...]
    place: str

    def __post_init__(self) -> None:
        if len(self.letters) != len(self.shape):
            raise ChunkMismatch(
                f"{self.place} has {len(self.shape)} axes, of shape {list(self.shape)}, and not "
                f"the {len(self.letters)} of {self.letters!r}: give --axes a letter for each"
            )
        if 0 in self.shape:
            raise ChunkMismatch(f"{self.place} holds no voxels: its shape is {list(self.shape)}")
        pairs = zip(self.letters, self.shape, strict=True)
        odd = [letter for letter in self.letters if self.letters.count(letter) > 1]
        long = [
            f"{letter} ({size})"
            for letter, size in pairs
            if size > 1 and (letter in odd or letter not in "czyx")
        ]
        if long or not {"y", "x"} <= set(self.letters):
            named = f"axes {self.letters} of shape {list(self.shape)}"
            problem = f" and {', '.join(long)} does not fit in" if long else ":"
            raise ChunkMismatch(
                f"{self.place} has the {named}{problem} a chunk, which is zyx or czyx; "
                "--axes names them in another way, for example czyx"
            )

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along z, y and x."""
        z, y, x = (self._length(letter) for letter in "zyx")
        return z, y, x

    @property
    def channels(self) -> int | None:
        """Number of channels; None without an axis of channels."""
        return self._length("c") if "c" in self.letters else None

    def _length(self, letter: str) -> int:
        return self.shape[self.letters.index(letter)] if letter in self.letters else 1

    def selection(self, window: Window, channels: list[int] | None = None) -> Selection:
        """The index of a window, zyx, in the stored array. channels: in rising order; or all."""
        parts: dict[str, slice | list[int]] = dict(zip("zyx", window, strict=True))
        parts["c"] = slice(None) if channels is None else channels
        return tuple(parts.get(letter, 0) for letter in self.letters)

    def arrange(self, part: NDArray[Any], window: Window) -> NDArray[Any]:
        """The part of the array that `selection` gave, as (c)zyx; a view.

        window: is applied along z if the array has no such axis.
        """
        kept = [letter for letter in self.letters if letter in "czyx"]
        order = [letter for letter in "czyx" if letter in kept]
        turned = part.transpose([kept.index(letter) for letter in order])
        if "z" in kept:
            return turned
        return turned[..., None, :, :][..., window[0], :, :]
