"""The clock of a process is as wrong as it was told, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

LOOK = """
import logging, sys, time
from datetime import UTC, datetime
logging.basicConfig(format="%(asctime)s", stream=sys.stdout)
print(time.time(), datetime.now(UTC).timestamp(), time.mktime(time.localtime()), flush=True)
assert isinstance(datetime.now() - datetime.now(), type(datetime.max - datetime.min))
logging.warning("")
"""


@pytest.mark.parametrize("wrong_by", [-900, 0, 900])
def test_all_times_of_day_are_wrong(wrong_by: int) -> None:
    path = str(Path(__file__).parent / "wrong_clock")
    environment = os.environ | {"PYTHONPATH": path, "CLOCK_IS_WRONG_BY": str(wrong_by)}
    command = [sys.executable, "-c", LOOK]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    times, logged = done.stdout.splitlines()
    stamp = datetime.strptime(logged, "%Y-%m-%d %H:%M:%S,%f").timestamp()
    for found in (*map(float, times.split()), stamp):
        assert found - time.time() == pytest.approx(wrong_by, abs=60)
