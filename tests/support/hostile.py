"""Damaged files, and a process of its own that reads them and tells what it did.

`mutations` damages a file with a seed. `read_all` gives each file to the operator that reads it, in
one process for many of them: it watches the time, the memory and every file that Python opens.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

SECONDS = 10
BYTES = 1536 * 1024**2
"""How long one file may keep a processor, and what it may add to the memory of the process, which
is told that it has 1 GiB."""
_PATIENCE = 90  # seconds until a file counts as one that hangs, on a machine that others use too

_NUMBERS = (0, -1, 1, 255, 2**15, 2**16 - 1, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1)
_ADDRESSES = ("..", "../../secret", "/etc/passwd", "http://127.0.0.1:9/x", "${env:HOME}")
_TEXTS = (*_ADDRESSES, "", "x" * 5000, "\\u0000")
_WORDS = ("1e400", "NaN", "null", "[]", "{}", "true", "1" * 5000, "[" * 100_000)
_JSON = (*map(str, _NUMBERS), *_WORDS)


@dataclass(frozen=True)
class Outcome:
    """What happened when a file was read.

    error: name of the class of the error; empty if it was read. text: its message.
    ours: whether it is an error of this package. opened: paths that were opened outside of the
    folder, or written.
    """

    case: str
    error: str
    text: str
    ours: bool
    seconds: float
    grown: int
    opened: list[str]

    @property
    def faults(self) -> list[str]:
        """What must not happen."""
        lines = self.text.splitlines()
        listed = re.match(r"[^\n]*: (\d+) errors\n", self.text)  # each with its cure
        most = 1 + 2 * int(listed[1]) if listed else 4
        found = {
            f"it ended with {self.error}: {self.text[:300]}": bool(self.error) and not self.ours,
            f"its error has {len(lines)} lines": self.ours and not 1 <= len(lines) <= most,
            f"its error has {len(self.text)} letters": len(self.text) > 4000,
            f"it took {self.seconds:.1f} s": self.seconds > SECONDS,
            f"it took {self.grown} bytes": self.grown > BYTES,
            f"it opened {self.opened}": bool(self.opened),
        }
        return [fault for fault, is_there in found.items() if is_there]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Bits turned, numbers replaced by extreme ones, parts cut out or doubled."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        if not changed:
            break
        at = rng.randrange(min(len(changed), rng.choice((64, 512, len(changed)))))
        kind = rng.random()
        if kind < 0.35:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind < 0.75:
            width, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
            number = rng.choice(_NUMBERS) % 256**width
            changed[at : at + width] = number.to_bytes(width, order)  # type: ignore[arg-type]
        elif kind < 0.85:
            del changed[at : at + rng.choice((1, 4, 100, len(changed)))]
        else:
            changed[at:at] = changed[at : at + rng.choice((4, 64))]
    return bytes(changed)


def mutated_text(content: bytes, rng: random.Random) -> bytes:
    """The same of a header or JSON: numbers, texts and words replaced by extreme ones."""
    if rng.random() < 0.2:
        return mutated(content, rng)
    text = content.decode("latin-1")
    for _ in range(rng.choice((1, 1, 2))):
        found = list(re.finditer(r'"[^"]*"|-?\d+(\.\d+)?|\b[a-z_]+\b', text))
        if not found:
            break
        part = rng.choice(found)
        if part[0].startswith('"'):
            new = rng.choice((f'"{rng.choice(_TEXTS)}"', rng.choice(_JSON)))
        else:
            new = rng.choice((*_JSON, *_TEXTS))
        text = text[: part.start()] + new + text[part.end() :]
    return text.encode("latin-1")


Mutate = Callable[[bytes, random.Random], bytes]


def mutations(count: int, seed: int, content: bytes, mutate: Mutate) -> Iterator[bytes]:
    """`count` damaged forms of the content of a file."""
    rng = random.Random(seed)
    for _ in range(count):
        yield mutate(content, rng)


def read_all(cases: list[dict[str, Any]], folder: Path) -> Iterator[Outcome]:
    """Read each case in another process. One that ends the process has the error `signal N`.

    cases: each with `op`, the name of an operator, and `options`.
    folder: that holds the files; opening others counts as a fault.
    """
    (folder / "cases.json").write_text(json.dumps(cases))
    done = 0
    while done < len(cases):
        command = [sys.executable, "-m", __name__, str(folder), str(done)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(b"{"):
                    yield Outcome(**json.loads(line))
                    done += 1
            log = (process.stderr.read() if process.stderr else b"").decode(errors="replace")
        if done < len(cases) and process.returncode:
            case = json.dumps(cases[done])
            yield Outcome(case, f"signal {-process.returncode}", log[-2000:], False, 0, 0, [])
            done += 1


def _main(folder: Path, first: int) -> None:
    import warnings

    from chunkflow_worker.errors import ChunkflowError
    from chunkflow_worker.pipeline.operator import find_operator
    from chunkflow_worker.pipeline.run import Run
    from chunkflow_worker.pipeline.task import SkipTask, Task
    from chunkflow_worker.storage import largest

    warnings.simplefilter("ignore")
    largest.usable_bytes = lambda: 1 << 30
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    cases = json.loads((folder / "cases.json").read_text())
    for module in ("cloudvolume", "tensorstore", "h5py", "tifffile", "imagecodecs", "nrrd"):
        import_module(module)
    tempfile.gettempdir()  # writes a file to try it
    opened: list[str] = []
    _watch(folder, opened)
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    signal.signal(signal.SIGALRM, _too_long)
    for number, case in enumerate(cases[first:], first):
        started, before, error = time.process_time(), _peak(), None
        opened.clear()
        signal.alarm(_PATIENCE)
        try:
            operator = find_operator(case["op"]).model_validate(case["options"])
            with operator.open(Run(needed_box=lambda box, bounds: box)) as step:
                step(Task(bbox=None))
        except SkipTask:
            pass
        except BaseException as raised:
            error = raised
        signal.alarm(0)
        ours = isinstance(error, ChunkflowError)
        name = type(error).__name__ if error is not None else ""
        text = str(error) if error is not None else ""
        outcome = Outcome(
            f"{number}: {json.dumps(case)}", name, text[:10_000], ours,
            time.process_time() - started, _peak() - before, opened[:5],
        )  # fmt: skip
        print(json.dumps(asdict(outcome)), file=output, flush=True)
    output.close()


def _peak() -> int:
    """The most memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Hangs(BaseException):
    """No library takes it for an error of its own."""


def _too_long(number: int, frame: object) -> None:
    raise _Hangs


def _watch(folder: Path, opened: list[str]) -> None:
    """Note the files that Python opens outside of the folder, and those that it writes."""
    root = folder.resolve()
    code = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]))
    locks = str(Path.home() / ".cloudfiles")  # of cloudfiles, named by a hash
    own = (*code, locks, "/proc", "/sys", "/dev", "/etc", "/usr")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or not isinstance(arguments[0], str | bytes):
            return
        path = Path(os.fsdecode(arguments[0])).absolute()
        writes = isinstance(arguments[1], str) and any(c in arguments[1] for c in "wax+")
        is_inside = Path(os.path.realpath(path)).is_relative_to(root)
        if path == Path("/etc/passwd") or (
            not str(path).startswith(own) and (writes or not is_inside)
        ):
            opened.append(str(path))

    sys.addaudithook(hook)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
