"""A state has one colour: on the page, in Neuroglancer and in the picture of a notice."""

from __future__ import annotations

import re
from importlib.resources import files

from producer.look import box_layer, map_picture


def of_page() -> dict[str, tuple[int, ...]]:
    """RGB of the variables of the page, as it is where the desktop is light."""
    css = (files("producer.page") / "assets" / "page.css").read_text()
    light = css.partition("@media (prefers-color-scheme: dark)")[0]
    found = re.findall(r"--([a-z]+): #([0-9a-f]{6})", light)
    return {name: tuple(bytes.fromhex(digits)) for name, digits in found}


def test_boxes_in_neuroglancer_have_the_colours_of_the_page() -> None:
    page = of_page()
    for state, shares in box_layer._COLOURS.items():
        if state != "waiting":  # on black it is a darker grey
            colour = tuple(round(255 * float(share)) for share in shares.split(", "))
            assert all(abs(a - b) <= 2 for a, b in zip(colour, page[state], strict=True)), state


def test_a_picture_of_the_map_has_them_too() -> None:
    page = of_page()
    assert {state: page[state] for state in map_picture._COLOURS} == map_picture._COLOURS
