"""Freed memory goes back to the system, although values that live on lie between it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

_PROGRAM = """
import threading
from chunkflow_worker.machine.heap import _heap, give_back
from chunkflow_worker.machine.memory import resident_bytes

give_back()
kept, lot = [], []
def work():
    for _ in range(40):
        large = [bytearray(100_000) for _ in range(10)]
        kept.append(bytearray(1_000))
        lot.append(large)
threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
most = resident_bytes()
lot.clear()
freed = resident_bytes()
_heap()._next = 0.0  # not only after a quarter of a second
give_back()
print(most, freed, resident_bytes())
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library is not glibc"
)
def test_what_threads_have_freed_goes_back() -> None:
    told = subprocess.run(
        [sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True
    ).stdout
    most, freed, after = map(int, told.split())
    made = 12 * 40 * 10 * 100_000
    assert most > made
    assert freed - after > made / 2, "nothing was kept that could be given back"
    assert after < most - 0.9 * made
