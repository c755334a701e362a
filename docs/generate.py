"""Write the generated files of docs/: settings.md, operators.md, architecture.svg, and some tables.

`--check` only compares them. hooks.py generates further pages for the site.
"""

from __future__ import annotations

import sys
from pathlib import Path

from house_picture import picture
from old_words import with_old_words
from reference import all_operators_page

from chunkflow_worker.config.settings import settings_table

HERE = Path(__file__).parent


SETTINGS_INTRO = """# Settings

Workers read their settings from the environment. Options of `chunkflow-worker run` take precedence.
`make docs` generates this page.
"""


def settings_page() -> str:
    return f"{SETTINGS_INTRO}\n{settings_table()}\n"


PAGES = {
    "settings.md": settings_page,
    "operators.md": all_operators_page,
    "architecture.svg": picture,
    "tutorials/moving.md": lambda: with_old_words((HERE / "tutorials/moving.md").read_text()),
}


def main(check: bool) -> int:
    """Write the pages that changed. With `check`, only name them, and return 1 if there are any."""
    stale = [
        name
        for name, page in PAGES.items()
        if not (HERE / name).exists() or (HERE / name).read_text() != page()
    ]
    if check:
        sys.stderr.writelines(f"docs/{name} is out of date: run make docs\n" for name in stale)
        return bool(stale)
    for name in stale:
        (HERE / name).write_text(PAGES[name]())
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
