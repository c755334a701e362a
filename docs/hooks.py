"""Hooks of MkDocs: they add the generated pages, and the pages that lie outside docs/."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from house import houses
from house_picture import picture
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from reference import command_page, grouped_operators, operator_page, operators_index
from room_page import pages_of_code, room_page

from chunkflow_worker.cli.chunkflow import cli as chunkflow
from chunkflow_worker.cli.look import look
from chunkflow_worker.cli.worker import cli as worker
from producer.cli import cli as producer

ROOT = Path(__file__).parents[1]
REPOSITORY_PAGES = {
    "changelog.md": "CHANGELOG.md",
    "benchmarks.md": "benchmarks/RESULTS.md",
    **{
        page: page
        for page in (
            "deploy/README.md",
            "deploy/kubernetes/README.md",
            "deploy/aws/README.md",
            "deploy/grafana/README.md",
        )
    },
}
COMMANDS = {
    "chunkflow": chunkflow,
    "chunkflow look": look,
    "chunkflow-worker": worker,
    "chunkflow-producer": producer,
}

# Links in the repository, and where they lead on the site. There each operator has its own page,
# other pages have moved, and code is not included.
LINKS = {
    r"\boperators\.md#([\w-]+)\)": r"operators/\1.md)",
    r"\boperators\.md\)": "operators/index.md)",
    r"\.\./benchmarks/RESULTS\.md\)": "benchmarks.md)",
    r"\(\.\./deploy/": "(deploy/",
    r"\.\./docs/": "../",
    r"\[([^]]+)\]\([^)]+\.yaml\)": r"\1",
}
CODE = re.compile(r"\.\./((?:chunkflow_worker|producer)/[\w/]+\.py)")
PICTURE = re.compile(r'<img [^>]*src="architecture\.svg"[^>]*>')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the operators in front of the reference, and the rooms after the architecture."""
    groups: list[Any] = [
        {group: [f"operators/{name}.md" for name in names]}
        for group, names in grouped_operators().items()
    ]
    reference = next(item["Reference"] for item in config.nav or [] if "Reference" in item)
    reference.insert(0, {"Operators": ["operators/index.md", *groups]})
    rooms = [{house.name: [{room.title: room.page} for room in house.rooms]} for house in houses()]
    next(item["Architecture"] for item in config.nav or [] if "Architecture" in item).extend(rooms)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that docs/ does not contain."""
    for place, text in _pages():
        files.append(File.generated(config, place, content=text))
    return files


def _pages() -> Iterator[tuple[str, str]]:
    yield "operators/index.md", operators_index()
    for names in grouped_operators().values():
        for name in names:
            yield f"operators/{name}.md", operator_page(name)
    for name, command in COMMANDS.items():
        yield f"commands/{name.replace(' ', '-')}.md", command_page(name, command)
    for place, source in REPOSITORY_PAGES.items():
        yield place, (ROOT / source).read_text()
    for room in (room for house in houses() for room in house.rooms):
        yield room.page, room_page(room)


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Rewrite the links of a page for the site."""
    if page.file.src_uri.startswith("rooms/"):
        return markdown  # made for the site
    for link, replacement in LINKS.items():
        markdown = re.sub(link, replacement, markdown)
    return CODE.sub(lambda found: pages_of_code()[found[1]], markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Put the picture of the rooms into its page, where its links work and it follows the theme."""
    if PICTURE.search(html) is None:
        return html
    inline = CODE.sub(lambda found: pages_of_code()[found[1]].replace(".md", ".html"), picture())
    return PICTURE.sub(lambda _: inline, html)
