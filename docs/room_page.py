"""The page of a room, in Markdown: what it answers, its files, what it may import, its tests."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from os.path import relpath
from pathlib import Path

from house import Room, houses, importable, importers


def room_page(room: Room) -> str:
    """The page, to be placed at `room.page`."""
    files = [
        f"| `{module.name}`{{ #{_anchor(module.name)} }} | {module.says} | {module.lines} |"
        for module in room.modules
    ]
    lines = sum(module.lines for module in room.modules)
    facts = [
        f"| may import | {_links(room, importable(room))} |",
        f"| may be imported by | {_links(room, importers(room))} |",
        f"| tests | {f'`{room.tests}/`' if room.tests else 'in those of the other rooms'} |",
        f"| size | {_count(len(room.modules), 'file')}, {_count(lines, 'line')} |",
    ]
    parts = [
        f"# `{room.path}`",
        room.question,
        "\n".join(["| | |", "| --- | --- |", *facts]),
        "## Files",
        "\n".join(["| file | what it holds | lines |", "| --- | --- | ---: |", *files]),
    ]
    return "\n\n".join(parts) + "\n"


@cache
def pages_of_code() -> dict[str, str]:
    """Where the site describes each file, by the file's path in the repository."""
    rooms = [room for house in houses() for room in house.rooms]
    files = {
        (room.path / module.name if room.is_folder else room.path).as_posix(): (
            f"{room.page}#{_anchor(module.name)}"
        )
        for room in rooms
        for module in room.modules
    }
    return files | {room.code.as_posix(): room.page for room in rooms}


def _anchor(name: str) -> str:
    return name.removesuffix(".py").replace("/", "-").strip("_")  # those of __main__ are emphasis


def _links(room: Room, others: Iterable[Room]) -> str:
    folder = Path(room.page).parent
    links = [f"[`{_name(room, other)}`]({relpath(other.page, folder)})" for other in others]
    return ", ".join(links) or "nothing"


def _name(room: Room, other: Room) -> str:
    return other.title if other.house == room.house else str(other.path)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("s" if number != 1 else "")
