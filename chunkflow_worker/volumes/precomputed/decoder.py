"""`decode_apart`: blocks whose libraries end the process when a block is damaged, decoded in one of
their own.

compresso, crackle and fpzip trust a block's content; a single bit that is wrong makes them read
beyond it, or give up.
"""

from __future__ import annotations

import atexit
import pickle
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

FRAGILE = ("compresso", "crackle", "fpzip", "kempressed")
_MEMORY = 256 << 20  # bytes that decoding may take beside four times the block
_SECONDS, _SPEED = 2, 4_000_000  # of a processor, and bytes that it decodes in one at least
_lock = threading.Lock()
_other: subprocess.Popen[bytes] | None = None


def decode_apart(content: bytes, encoding: str, shape: Sequence[int], dtype: Any) -> NDArray[Any]:
    """The voxels of a block, x, y, z and channels. Raises ValueError if it can't be decoded."""
    sizes = [int(n) for n in shape]
    request = pickle.dumps((content, encoding, sizes, np.dtype(dtype).str))
    with _lock:
        process = _running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            _send(process.stdin, request)
            answer = _receive(process.stdout)
        except (OSError, EOFError):
            _end()
            raise ValueError(f"it ends the decoder of {encoding}") from None
        except BaseException:  # its answer would be taken for that to the next request
            _end()
            raise
    if answer[:1] != b"=":
        raise ValueError(answer[1:].decode())
    return np.frombuffer(answer, dtype, offset=1).reshape(sizes, order="F")


def _running() -> subprocess.Popen[bytes]:
    """The other process, which is started when it is needed."""
    global _other
    if _other is None:
        command = [sys.executable, "-m", __name__]
        _other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return _other


@atexit.register
def _end() -> None:
    global _other
    process, _other = _other, None
    if process is not None:
        process.kill()
        for stream in (process.stdin, process.stdout):
            with suppress(OSError):  # what it did not take any more
                if stream is not None:
                    stream.close()
        process.wait()


def _send(stream: IO[bytes], content: bytes) -> None:
    stream.write(len(content).to_bytes(8, "little"))
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    """Raises EOFError if the other side has ended."""
    content = b""
    for length in (8, None):
        length = length or int.from_bytes(content, "little")
        content = stream.read(length)
        if len(content) < length:
            raise EOFError
    return content


def _decode(content: bytes, encoding: str, sizes: list[int], dtype: str) -> bytes:
    size = prod(sizes) * np.dtype(dtype).itemsize
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _MEMORY + 4 * size
    resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))
    signal.setitimer(signal.ITIMER_PROF, _SECONDS + size / _SPEED)  # then the process ends
    try:
        if encoding == "compresso":
            import compresso

            voxels = compresso.decompress(content)
        elif encoding == "crackle":
            import crackle

            voxels = crackle.decompress(content)
        else:
            import fpzip

            voxels = fpzip.decompress(content, order="F")
            if encoding == "kempressed":
                voxels = np.swapaxes(voxels, 3, 2) - 2.0
        voxels = np.asarray(voxels, dtype).reshape(sizes, order="A")
        return b"=" + voxels.tobytes("F")
    except Exception as error:
        return f"!{error or type(error).__name__}".encode()


def main() -> None:
    """Decode what comes on stdin until it ends. Ctrl-C is for the process that asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            request = pickle.loads(_receive(sys.stdin.buffer))
        except EOFError:
            return
        _send(sys.stdout.buffer, _decode(*request))


if __name__ == "__main__":
    main()
