"""`Reduction`: what the blended channels become on the device, before they leave it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chunkflow_worker.errors import Mistake

_LEGAL = "legal: argmax, max, threshold, or for example threshold:0.3"
MOST_CLASSES = 256  # that a uint8 counts, from 0


@dataclass(frozen=True)
class Reduction:
    """kind: what of. threshold: of the kind threshold; channels above it become 1, all others 0.

    argmax: the number of the channel with the highest value, from 0; the first of several.
    max: the highest value of all channels.
    """

    kind: Literal["threshold", "argmax", "max"]
    threshold: float = 0.5

    @classmethod
    def parse(cls, text: str) -> Reduction:
        """From argmax, max, threshold or threshold:0.3. Raises Mistake."""
        kind, _, value = text.partition(":")
        if kind not in ("threshold", "argmax", "max") or (value and kind != "threshold"):
            raise Mistake(f"{text!r} is no reduction", _LEGAL)
        try:
            threshold = float(value) if value else 0.5
        except ValueError:
            raise Mistake(f"{value!r} is no number", _LEGAL) from None
        if threshold != threshold:
            raise Mistake("nothing is above nan", _LEGAL)
        return cls(kind, threshold)  # type: ignore[arg-type]

    def channels(self, count: int) -> int:
        """Number of channels that are left of `count`."""
        return count if self.kind == "threshold" else 1
