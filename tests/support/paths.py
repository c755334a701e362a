"""Places that tests refer to."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
# An installed package with the operators `hold`, `fail` and `hoard`.
PLUGIN_PACKAGE = TESTS / "support" / "plugin"
# Real EM volumes. Tests that need them are skipped where this folder is missing.
DATA = Path(os.environ.get("CHUNKFLOW_TEST_DATA", ROOT.parent / "shared" / "data"))
