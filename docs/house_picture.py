"""Draws the house: a card for each room, a row for each floor. Arrows run down, as imports do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from pathlib import PurePosixPath
from textwrap import wrap

from house import Room, houses, importers

_WIDTH = 920
_EDGE, _INSET = 12, 14  # from the picture's edge to a wall, and from a wall to the rooms
_TOWER = 284  # width of the producer's house
_GAP, _STOREY, _ROOF = 12, 28, 48  # between rooms of a floor, between floors; height of a roof
_LEAST = 96  # width of a card
_PAD, _TITLE, _LINE, _ROW = 12, 21, 16, 21  # in a card: edge, title, line of text, row of files
_BETWEEN = 4  # files of a row
_MOST_FILES = 60  # a room that has more shows their number alone

# Pixels that a character takes: as wide as in the widest of the usual fonts, so that all fit.
_TEXT, _CODE = 12.5 * 0.53, 11 * 0.605

_COLOURS = {  # in the light and in the dark
    ".paper": ("fill", "#f6f7fa", "#11151b"),
    ".wall": ("fill", "#e6eaf2", "#1a212b"),
    ".card": ("fill", "#ffffff", "#27303d"),
    ".name": ("fill", "#18212d", "#eef2f7"),
    ".text": ("fill", "#465264", "#b9c3d0"),
    ".arrow": ("stroke", "#78869a", "#8391a5"),
    ".worker .file": ("fill", "#e3ebfa", "#30405e"),
    ".both .file": ("fill", "#d9f1ea", "#204a41"),
    ".producer .file": ("fill", "#fbe7d7", "#563d28"),
    ".worker .mark": ("fill", "#4171c9", "#7ba4f4"),
    ".both .mark": ("fill", "#1c9b80", "#45c9aa"),
    ".producer .mark": ("fill", "#d8752a", "#f0a266"),
}
_STYLE = """
svg:root { color-scheme: light dark }
.house { max-width: 100%; height: auto;
  font: 12.5px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
.house .name { font-size: 15px; font-weight: 650 }
.house .code { font: 11px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace }
.house .middle { text-anchor: middle }
.house .end { text-anchor: end }
.house .arrow { fill: none; stroke-width: 1.5; stroke-linecap: round; stroke-linejoin: round }
.house a:hover .card { stroke: #78869a }
"""
_LEGEND = {"worker": "the worker's", "both": "shared by both", "producer": "the producer's"}
_RULE = "A room may import only rooms on lower floors."


@dataclass
class Card:
    """A room in the picture."""

    room: Room
    x: float
    width: float
    y: float = 0
    height: float = 0
    question: list[str] = field(init=False)
    files: list[list[str]] = field(init=False)

    def __post_init__(self) -> None:
        inside = self.width - 2 * _PAD
        self.question = _lines(_question(self.room), inside)
        self.files = [row for group in _file_groups(self.room) for row in _rows(group, inside)]
        text = _LINE * len(self.question) + _ROW * len(self.files)
        self.height = _PAD + _TITLE + text + _PAD

    def draw(self) -> Iterator[str]:
        left, y = self.x + _PAD, self.y + _PAD
        yield f'<a href="../{self.room.code.as_posix()}" class="{_kind(self.room)}">'
        yield _box("card", self.x, self.y, self.width, self.height, 6)
        yield _box("mark", self.x, self.y, 4, self.height, 2)
        yield _text("name", left, y + 13, self.room.title)
        y += _TITLE
        for line in self.question:
            yield _text("text", left, y + 12, line)
            y += _LINE
        for row in self.files:
            yield from _draw_files(row, left, y + 6)
            y += _ROW
        yield "</a>"

    def draw_arrow(self) -> str:
        """From the card to the floor below."""
        x, y = self.x + self.width / 2, self.y + self.height + 5
        end = y + _STOREY - 10
        return f'<path class="arrow" d="M {x:g} {y:g} V {end:g} m -4 -5 l 4 5 l 4 -5"/>'


class Storeys:
    """Floors of cards, one below another, from `x` to `end`."""

    def __init__(self, floors: Iterable[Sequence[Room]], x: float, end: float):
        self.x, self.end = x, end
        self.floors = [_side_by_side(rooms, x, end) for rooms in floors]
        self.height = sum(floor[0].height + _STOREY for floor in self.floors) - _STOREY

    def place(self, top: float) -> None:
        y = self.top = top
        for floor in self.floors:
            for card in floor:
                card.y = y
            y += floor[0].height + _STOREY
        self.bottom = top + self.height

    def draw(self, stands_on_floor: bool) -> Iterator[str]:
        for floor in self.floors:
            for card in floor:
                yield from card.draw()
                if stands_on_floor or floor is not self.floors[-1]:
                    yield card.draw_arrow()


def picture() -> str:
    """The picture as SVG: two towers, on the floors that hold what worker and producer share."""
    worker, producer = houses()
    shared = next(i for i, rooms in enumerate(worker.floors) if "both" in map(_kind, rooms))
    right_wall = _WIDTH - _EDGE
    between = right_wall - _TOWER  # the two towers
    left = Storeys(worker.floors[:shared], _EDGE + _INSET, between - 2 * _INSET)
    right = Storeys(producer.floors, between + _INSET, right_wall - _INSET)
    base = Storeys(worker.floors[shared:], _EDGE + _INSET, right_wall - _INSET)

    ground = _EDGE + _ROOF + _INSET + max(left.height, right.height) + _STOREY
    base.place(ground)
    for tower in (left, right):
        tower.place(ground - _STOREY - tower.height)
    terrace, bottom = ground - _STOREY / 2, base.bottom + _INSET

    return _document(
        [
            _wall(left, f"V {terrace:g} H {right_wall} V {bottom:g} H {_EDGE} Z"),
            _wall(right, f"V {terrace - 4:g} H {between} Z"),
            _roof_name(left, worker.name),
            _roof_name(right, producer.name),
            *left.draw(stands_on_floor=True),
            *right.draw(stands_on_floor=True),
            *base.draw(stands_on_floor=False),
            *_legend(bottom + 24),
        ],
        height=bottom + 42,
    )


def _kind(room: Room) -> str:
    """A key of the legend."""
    if room.house == "producer":
        return "producer"
    return "both" if any(other.house == "producer" for other in importers(room)) else "worker"


def _question(room: Room) -> str:
    return room.question.replace("`", "")


def _lines(text: str, width: float) -> list[str]:
    return wrap(text, int(width / _TEXT), break_on_hyphens=False)


def _side_by_side(rooms: Sequence[Room], x: float, end: float) -> list[Card]:
    """Cards as wide as what they hold asks for, and as high as the highest."""
    needs = [_need(room) for room in rooms]
    free = end - x - _GAP * (len(rooms) - 1) - _LEAST * len(rooms)
    cards = []
    for room, need in zip(rooms, needs, strict=True):
        cards.append(Card(room, x, _LEAST + free * need / sum(needs)))
        x += cards[-1].width + _GAP
    height = max(card.height for card in cards)
    for card in cards:
        card.height = height
    return cards


def _need(room: Room) -> float:
    """Pixels of all that a room's card says, in one line."""
    files = sum(_file_width(name) for group in _file_groups(room) for name in group)
    return len(_question(room)) * _TEXT + files


def _file_groups(room: Room) -> list[list[str]]:
    """Names of files, without endings; those of a folder in the room apart, behind its name."""
    if not room.is_folder:
        return []
    if len(room.modules) > _MOST_FILES:
        return [[f"{len(room.modules)} files"]]
    paths = [PurePosixPath(module.name).with_suffix("") for module in room.modules]
    return [
        [*([f"{folder}/"] if folder.name else []), *(path.name for path in group)]
        for folder, group in groupby(paths, key=lambda path: path.parent)
    ]


def _rows(names: Sequence[str], width: float) -> list[list[str]]:
    rows: list[list[str]] = [[]]
    for name in names:
        if rows[-1] and sum(map(_file_width, [*rows[-1], name])) - _BETWEEN > width:
            rows.append([])
        rows[-1].append(name)
    return rows


def _file_width(name: str) -> float:
    return len(name) * _CODE + 10 + _BETWEEN


def _draw_files(names: Sequence[str], x: float, y: float) -> Iterator[str]:
    for name in names:
        width = _file_width(name) - _BETWEEN
        if not name.endswith("/"):
            yield _box("file", x, y, width, _ROW - _BETWEEN, 4)
        yield _text("code text middle", x + width / 2, y + 12, name)
        x += width + _BETWEEN


def _wall(storeys: Storeys, rest: str) -> str:
    """The outline of a house; `rest` leads from the right end of its roof back to the left wall."""
    left, right, eaves = storeys.x - _INSET, storeys.end + _INSET, storeys.top - _INSET
    ridge = f"{(left + right) / 2:g} {eaves - _ROOF:g}"
    return f'<path class="wall" d="M {left:g} {eaves:g} L {ridge} L {right:g} {eaves:g} {rest}"/>'


def _roof_name(storeys: Storeys, name: str) -> str:
    return _text("name middle", (storeys.x + storeys.end) / 2, storeys.top - _INSET - 4, name)


def _legend(y: float) -> Iterator[str]:
    x = float(_EDGE)
    for kind, words in _LEGEND.items():
        yield f'<g class="{kind}">{_box("mark", x, y - 9, 10, 10, 2)}</g>'
        yield _text("text", x + 16, y, words)
        x += 16 + len(words) * _TEXT + 16
    yield _text("text end", _WIDTH - _EDGE, y, _RULE)


def _document(parts: Iterable[str], height: float) -> str:
    size = f'width="{_WIDTH}" height="{height:g}" viewBox="0 0 {_WIDTH} {height:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="house" {size} role="img">',
        "<title>The rooms of the code, floor by floor</title>",
        f"<style>{_STYLE}{_colours()}</style>",
        _box("paper", 0, 0, _WIDTH, height, 10),
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _colours() -> str:
    """Rules for both schemes. Where light-dark() is not known, the first value of a rule counts."""
    return "".join(
        f".house {what} {{ {key}: {light}; {key}: light-dark({light}, {dark}) }}\n"
        for what, (key, light, dark) in _COLOURS.items()
    )


def _box(kind: str, x: float, y: float, width: float, height: float, radius: int) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{kind}" {place} rx="{radius}"/>'


def _text(kind: str, x: float, y: float, words: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'
