"""The page of the architecture, its picture and the lists of files in the rooms follow the code."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from tests.support.paths import ROOT

sys.path.insert(0, str(ROOT / "docs"))

import hooks
from house import Room, first_sentence, houses, importable, importers
from house_picture import picture
from room_page import room_page

SVG = "{http://www.w3.org/2000/svg}"
WORKER, PRODUCER = houses()
ROOMS = WORKER.rooms + PRODUCER.rooms
FOLDERS = sorted(
    file.parent.relative_to(ROOT)
    for house in houses()
    for file in (ROOT / house.name).rglob("__init__.py")
    # Adding an operator, an engine or a command changes no other file.
    if file.parent.name not in ("operators", "engines", "commands")
)


class Place(NamedTuple):
    """A rectangle in the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, rect: ElementTree.Element) -> Place:
        x, y, width, height = (float(rect.get(key, 0)) for key in ("x", "y", "width", "height"))
        return cls(x, y, x + width, y + height)

    def holds(self, other: Place) -> bool:
        starts = self.left <= other.left and self.top <= other.top
        return starts and self.right >= other.right and self.bottom >= other.bottom

    def meets(self, other: Place) -> bool:
        beside = self.right <= other.left or other.right <= self.left
        return not (beside or self.bottom <= other.top or other.bottom <= self.top)


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_each_folder_lists_its_files_once(folder: Path) -> None:
    listed = re.findall(r"^(\w+(?:\.py|/)) +\S", docstring(folder / "__init__.py"), re.MULTILINE)
    files = [path.name for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"]
    folders = [f"{path.parent.name}/" for path in (ROOT / folder).glob("*/__init__.py")]
    assert Counter(listed) == Counter(files + folders)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.path))
def test_each_room_states_its_question_in_one_sentence(room: Room) -> None:
    first, *_ = docstring(room.code).split("\n")
    assert room.question
    assert room.question == first_sentence(first), "the question stands on the first line"
    assert all(" " in module.says for module in room.modules), "each file says what it holds"


def test_the_reading_order_repeats_the_questions() -> None:
    text = docstring(Path("chunkflow_worker/__init__.py"))
    listed = dict(re.findall(r"^(\w+)/ +(.+)$", text, re.MULTILINE))
    assert listed == {room.name: room.question for room in WORKER.rooms if room.is_folder}


def test_the_house_is_that_of_the_contracts() -> None:
    assert [house.name for house in houses()] == ["chunkflow_worker", "producer"]
    for house in houses():
        assert all((ROOT / room.code).is_file() for room in house.rooms)
        files = {path.name for path in (ROOT / house.name).glob("*.py")} - {"__init__.py"}
        folders = {path.parent.name for path in (ROOT / house.name).glob("*/__init__.py")}
        assert {room.title for room in house.rooms} == files | folders


def test_imports_run_down() -> None:
    by_name = {room.path.name: room for room in WORKER.rooms}
    assert importable(by_name["errors.py"]) == []
    assert set(importable(by_name["service"])) > {by_name["job"], by_name["errors.py"]}
    assert by_name["operators"] not in importable(by_name["service"]), "they share a floor"
    assert not set(importable(by_name["celery.py"])) & set(PRODUCER.rooms)
    assert by_name["machine"] not in importable(PRODUCER.rooms[0])
    assert set(importers(by_name["job"])) > set(PRODUCER.rooms)


def test_the_page_names_only_files_that_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert len(links) > 20
    absent = [link for link in links if not (ROOT / "docs" / link).exists()]
    assert not absent
    for path in re.findall(r"`((?:chunkflow_worker|producer|tests)/[^`]+)`", page):
        wanted = Path(path).parent if "<name>" in path else Path(path)
        assert (ROOT / wanted).exists(), path


def test_the_picture_shows_every_room_and_file() -> None:
    text = picture()
    drawn = {link.get("href"): link for link in ElementTree.fromstring(text).iter(f"{SVG}a")}
    assert drawn.keys() == {f"../{room.code}" for room in ROOMS}
    for room in ROOMS:
        words = [part.text for part in drawn[f"../{room.code}"].iter(f"{SVG}text")]
        assert words[0] == room.title
        assert " ".join(filter(None, words[1:])).startswith(room.question.replace("`", ""))
        if room.is_folder and room.path.name != "operators":
            assert {Path(module.name).stem for module in room.modules} <= set(words)
    assert not re.findall(r"<(?:script|image|use|foreignObject)|url\(|@import", text)


def test_the_picture_s_floors_and_arrows_run_down() -> None:
    tree = ElementTree.fromstring(picture())
    places = {
        link.get("href"): Place.of(rect)
        for link in tree.iter(f"{SVG}a")
        for rect in link.iter(f"{SVG}rect")
        if rect.get("class") == "card"
    }
    whole = Place(0, 0, float(tree.get("width", 0)), float(tree.get("height", 0)))
    assert all(whole.holds(place) for place in places.values())
    assert not any(one.meets(other) for one, other in combinations(places.values(), 2))
    for house in houses():
        for upper, lower in pairwise(house.floors):
            ends = max(places[f"../{room.code}"].bottom for room in upper)
            assert ends < min(places[f"../{room.code}"].top for room in lower)
    arrows = [part.get("d", "") for part in tree.iter(f"{SVG}path") if part.get("class") == "arrow"]
    assert len(arrows) == len(ROOMS) - len(WORKER.floors[-1])
    for arrow in arrows:
        start, end = re.findall(r"M \S+ (\S+) V (\S+)", arrow)[0]
        assert float(start) < float(end)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.path))
def test_each_room_has_a_page(room: Room) -> None:
    page = room_page(room)
    assert room.question in page
    for module in room.modules:
        assert f"`{module.name}`" in page
    row = next(line for line in page.splitlines() if line.startswith("| may import |"))
    assert row.count("](") == len(importable(room))


def test_the_site_shows_the_picture_with_links_to_the_rooms() -> None:
    html = hooks.on_page_content('<p><img alt="rooms" src="architecture.svg" /></p>')
    assert "<svg" in html
    assert 'href="rooms/chunkflow_worker/job.html"' in html
    assert "__init__.py" not in html
    assert hooks.on_page_content("<p>no picture</p>") == "<p>no picture</p>"
