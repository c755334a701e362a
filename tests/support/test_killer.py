"""The killer ends what it was given, once, and nothing else."""

from __future__ import annotations

import random
import subprocess
import sys

from tests.support.killer import SIGNALS, Killer


def sleepers(count: int) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        for _ in range(count)
    ]


def test_each_strike_ends_one_of_the_given_processes_until_none_is_left() -> None:
    *given, spared = processes = sleepers(4)
    killer = Killer(random.Random(1))
    try:
        for _ in given:
            kill = killer.strike(dict(enumerate(given)))
            assert kill is not None
            assert given[kill.victim].wait(10) == -kill.signal
        assert sorted(kill.victim for kill in killer.kills) == [0, 1, 2]
        assert killer.strike(dict(enumerate(given))) is None
        assert sum(killer.count(number) for number in SIGNALS) == 3
        assert spared.poll() is None
    finally:
        for process in processes:
            process.kill()
            process.wait()
