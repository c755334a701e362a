"""Places that tests refer to."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PLUGIN_PACKAGE = (
    TESTS / "support" / "plugin"
)  # an installed package that brings the operator `hold`
DATA = Path(
    os.environ.get("CHUNKFLOW_TEST_DATA", ROOT.parent / "shared" / "data")
)  # real EM volumes
