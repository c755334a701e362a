"""The pauser stops what it was given, and nothing stays stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.pauser import Pauser

COUNT = "import time\nwhile True: time.sleep(0.01)"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen([sys.executable, "-c", COUNT])
    yield made
    made.kill()
    made.wait()


def wait_until_stopped(process: subprocess.Popen[bytes]) -> None:
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def wait_until_continued(process: subprocess.Popen[bytes]) -> None:
    os.waitid(os.P_PID, process.pid, os.WCONTINUED)


def test_a_process_stands_still_until_its_time_is_over(process: subprocess.Popen[bytes]) -> None:
    pauser = Pauser()
    with pauser.awake_at_the_end():
        pauser.pause(0, process, 0.5)
        wait_until_stopped(process)
        assert pauser.awake({0: process}) == {}
        while not pauser.pauses:
            pauser.turn()
        wait_until_continued(process)
        assert pauser.awake({0: process}) == {0: process}
        pauser.pause(0, process)
        wait_until_stopped(process)
    wait_until_continued(process)
    assert [pause.victim for pause in pauser.pauses] == [0, 0]
    assert pauser.pauses[0].ended - pauser.pauses[0].began >= 0.5
