"""What a soak found: the promises that it kept, and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from tests.chaos.report import Report, broken
from tests.soak.crew import SPARED, name_of
from tests.soak.samples import Life, Samples
from tests.soak.verdict import LEAST_SAMPLES, Growth, growths

SERVER = "local AWS"
ROWS = (
    "tasks recorded done",
    "workers",
    "run",
    "tasks/s",
    "SIGKILL",
    "SIGTERM",
    "tried more than once",
    "of these, not because of a kill",
    "recorded done twice",
    "dead letters",
    "output",
    "MB of a worker: spared, others at most",
    "grown by",
    "handles",
    "threads",
    "CPU ms a task: workers, local AWS",
    "requests a task: SQS, S3",
)
_SQS = ("ReceiveMessage", "DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibility")
_S3 = ("GET", "HEAD", "PUT", "POST", "DELETE", "LIST")


@dataclass(frozen=True)
class Outcome:
    """The figures of one soak.

    done: boxes of the job that are recorded done. others: boxes recorded done that it has not.
    not_done: of the records that were read, those that say something else than done.
    repeated: boxes that were tried more than once. unexplained: of these, not because of a kill.
    twice: recorded done more than once. left, dead: messages in the end.
    deserted: workers that ended by themselves, or badly.
    requests: those of the workers, by operation. seconds: until the last message was gone.
    kills: the time of each, in seconds since the run began.
    """

    tasks: int
    workers: int
    done: int
    others: int
    not_done: int
    sigkills: int
    sigterms: int
    repeated: int
    unexplained: tuple[str, ...]
    twice: int
    left: int
    dead: int
    deserted: tuple[str, ...]
    equal: bool
    seconds: float
    samples: Samples
    requests: Counter[str]
    kills: tuple[float, ...]

    @property
    def growths(self) -> list[Growth]:
        return list(self._growths())

    def _growths(self) -> Iterator[Growth]:
        """Of all that lived long enough. The memory of the local AWS holds all records."""
        for life in self.samples.lives.values():
            whats = ("handles", "threads")
            yield from growths(life, whats if life.name == SERVER else ("memory", *whats))

    @property
    def spared(self) -> Life:
        return self.samples.lives[name_of(SPARED)]

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        promises = {
            "every box is recorded done, and no other": (self.done, self.others) == (self.tasks, 0),
            "every record that was read says done": self.not_done == 0,
            "the output equals the input": self.equal,
            "no message is left": self.left == 0,
            "no message is dead": self.dead == 0,
            "boxes are tried again only because of kills": not self.unexplained,
            "workers end only by a signal, with status 0 on SIGTERM": not self.deserted,
        }
        leaks = [str(growth) for growth in self.growths if growth.is_leak]
        return [*broken(promises), *leaks]

    def report(self) -> Report:
        rows = [*zip(ROWS, self._cells(), strict=True)]
        return Report("soak", ("of the run", "figure"), rows, self.broken)

    def _cells(self) -> Iterator[object]:
        spared, server = self.spared, self.samples.lives[SERVER]
        workers = [life for life in self.samples.lives.values() if life is not server]
        yield f"{self.done} of {self.tasks}"
        yield self.workers
        yield f"{self.seconds:.0f} s"
        yield f"{self.tasks / self.seconds:.1f}"
        yield self.sigkills
        yield self.sigterms
        yield self.repeated
        yield len(self.unexplained)
        yield self.twice
        yield self.dead
        yield "equal" if self.equal else "**differs**"
        yield f"{spared.memory[-1] / 1e6:.0f}, {max(max(w.memory) for w in workers) / 1e6:.0f}"
        yield self._grown()
        for what in ("handles", "threads"):
            found = [figure for life in workers for figure in getattr(life, what)]
            yield f"{median(getattr(spared, what)):.0f}, {max(found):.0f}"
        cpu = sum(life.cpu[-1] for life in workers), server.cpu[-1] - server.cpu[0]
        yield ", ".join(f"{1e3 * seconds / self.tasks:.1f}" for seconds in cpu)
        kinds = [sum(self.requests[name] for name in names) for names in (_SQS, _S3)]
        yield ", ".join(f"{count / self.tasks:.2f}" for count in kinds)

    def _grown(self) -> str:
        found = {growth.what: growth for growth in self.growths if growth.name == self.spared.name}
        if not found:
            return f"not known: fewer than {LEAST_SAMPLES} samples"
        return (
            f"{found['memory'].amount / 1e6:.1f} MB, {found['handles'].amount:.1f} handles, "
            f"{found['threads'].amount:.1f} threads"
        )
