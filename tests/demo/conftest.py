"""Puts the folder of the demo on the path, because the demo is no package."""

from __future__ import annotations

import sys

from tests.support.paths import ROOT

DEMO = ROOT / "deploy" / "demo"
sys.path.insert(0, str(DEMO))
