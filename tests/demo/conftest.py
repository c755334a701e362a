"""The demo is no package: its folder goes on the path, as it does for `python deploy/demo/train.py`."""

from __future__ import annotations

import sys

from tests.support.paths import ROOT

DEMO = ROOT / "deploy" / "demo"
sys.path.insert(0, str(DEMO))
