"""Parts of pictures in SVG. All text in them is escaped."""

from __future__ import annotations

from html import escape
from math import floor, log10


def element(name: str, content: str = "", **attributes: object) -> str:
    """An element. content: SVG, not text. Underscores in names of attributes become hyphens."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
    )
    return f"<{name}{given}>{content}</{name}>" if content else f"<{name}{given}/>"


def label(text: str, x: float, y: float, **attributes: object) -> str:
    """Text at a place."""
    return element("text", escape(text), x=x, y=y, **attributes)


def title(text: str) -> str:
    """What a browser shows when the pointer rests on the element around it."""
    return f"<title>{escape(text)}</title>"


def picture(width: float, height: float, name: str, about: str, parts: list[str]) -> str:
    """A whole picture. name, about: for people who cannot see it."""
    words = f"{title(name)}<desc>{escape(about)}</desc>"
    return element(
        "svg",
        words + "".join(parts),
        viewBox=f"0 0 {_text(width)} {_text(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=f"{name}. {about}",
    )


def ticks(largest: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to about the largest."""
    if largest <= 0:
        return [0.0]
    rough = largest / count
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [step * i for i in range(int(largest / step + 1e-9) + 1)]


def time_ticks(length: float, most: int = 8) -> list[tuple[float, str]]:
    """Round times from 0 on, in seconds, and their names."""
    steps = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)
    step = next((s for s in steps if length / s <= most), 86400 * max(1, round(length / 86400 / 6)))
    unit, name = next(
        (u, n) for u, n in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")) if step >= u
    )
    return [(at, f"{at / unit:g} {name}") for at in range(0, int(length) + 1, int(step))]


def _text(value: object) -> str:
    return f"{round(value, 2):g}" if isinstance(value, float) else str(value)
