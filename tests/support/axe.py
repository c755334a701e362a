"""What axe-core finds in a page: faults that keep people from using it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

AXE = "CHUNKFLOW_TEST_AXE"
"""Names a file with axe-core's axe.min.js."""
MISSING = f"{AXE} names no axe.min.js; npm pack axe-core gets it"

_RUN = "axe.run().then((all) => all.violations.map((one) => `${one.impact}: ${one.help}`))"


def axe_faults(tab: Any) -> list[str] | None:
    """The faults of the page in a tab, with how serious they are; None without axe-core."""
    file = os.environ.get(AXE)
    if not file:
        return None
    tab.evaluate(Path(file).read_text())
    found: list[str] = tab.evaluate(_RUN)
    return found
