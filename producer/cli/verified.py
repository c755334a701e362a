"""`Verified`: what was found in boxes of a job that were read back, and how it is told.

``verify`` tells it of all boxes, ``status --verify`` of a sample.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chunkflow_worker.report.say import say

if TYPE_CHECKING:
    from chunkflow_worker.image.bbox import BoundingBox
    from chunkflow_worker.job.job_record import JobRecord
    from chunkflow_worker.job.ledger import Ledger
    from producer.look.nets import Net
    from producer.look.problem import Kind, Problem
    from producer.look.verify import Verifier

_EXAMPLES = 10  # shown per kind of problem
_THREADS = 4
_READ = ": nothing is wrong"
_QUICK = ", and look as their records say; verify without --quick reads them"
_SAMPLE = 20  # boxes, where no number is given

allow_zeros_option = click.option(
    "--allow-zeros",
    is_flag=True,
    help="Accept zero blocks that a task itself wrote, for example in masks and thresholds.",
)


def sample_option(when: str = "") -> Callable[..., Any]:
    """The option that reads some of the boxes back. when: when that is, for its help."""
    read = f"{when}read" if when else "Read"
    return click.option(
        "--verify",
        "sample",
        type=click.IntRange(min=1),
        is_flag=False,
        flag_value=_SAMPLE,
        metavar="[N]",
        help=f"{read} a sample of N done boxes back as verify does, or all if there are fewer; "
        f"without N, {_SAMPLE}.",
    )


@dataclass(frozen=True)
class Verified:
    """What --json prints.

    boxes, wrong, not_checked, unreadable, enqueued: numbers of boxes, which may be in several.
    nets: of boxes. seen: numbers of blocks, by what was compared, see `Tally`.
    """

    job: str
    boxes: int
    wrong: int
    not_checked: int
    unreadable: int
    enqueued: int
    problems: list[Problem]
    nets: list[Net]
    seen: dict[str, int]

    def exit_status(self, net: str = "") -> int:
        """Of the command. net: the digest that was asked for."""
        if self.enqueued != self.wrong or self.is_mixed(net):
            return 1
        return 3 if self.not_checked or self.unreadable else 0

    def is_mixed(self, net: str = "") -> bool:
        """Boxes come from different nets or plugins, and none was asked for."""
        return len(self.nets) > 1 and not net


def read_back(
    ledger: Ledger,
    job: JobRecord,
    boxes: Sequence[BoundingBox],
    pipeline: Path | None,
    *,
    quick: bool = False,
    allow_zeros: bool = False,
    net: str = "",
    threads: int = _THREADS,
    quiet: bool,
) -> Verified:
    """Read the output of boxes, and compare it with their records; for options see `Verifier`.

    pipeline: the file, without which zero blocks are not compared with the input.
    quiet: show no progress.
    Raises ConfigError and StorageUnavailable.
    """
    from producer.look.verify import Verifier
    from producer.look.volumes import input_of
    from producer.plan.pipeline_file import PipelineFile, written_paths

    file = PipelineFile.load(pipeline) if pipeline else None
    verifier = Verifier(
        job.pipeline,
        input_of(file),
        quick=quick,
        allow_zeros=allow_zeros or (file is not None and file.stage.allow_zeros),
        net=net,
        paths=written_paths(file, ledger),
    )
    if file is None and not quick:
        say("note: zero blocks are compared with the input only with --pipeline", err=True)
    with redirect_stdout(io.StringIO()):  # CloudVolume prints blocks that it cannot decode
        problems = list(_find_problems(ledger, boxes, verifier, threads, quiet=quiet))
    if not quick:
        _forget(ledger, verifier.right_though_late)
    return Verified(
        job.job,
        len(boxes),
        wrong=len({problem.box for problem in problems if problem.is_wrong}),
        not_checked=_boxes_of(problems, "not-checked"),
        unreadable=_boxes_of(problems, "unreadable"),
        enqueued=0,
        problems=problems,
        nets=verifier.nets.found(),
        seen=verifier.tally.counts(),
    )


def _forget(ledger: Ledger, boxes: list[str]) -> None:
    """Remove the notes of late writes on boxes that were read and are right."""
    from chunkflow_worker.errors import StorageUnavailable

    with suppress(StorageUnavailable):  # who verifies may perhaps not write
        for box in boxes:
            ledger.forget_late(box)


def _boxes_of(problems: list[Problem], kind: Kind) -> int:
    return len({problem.box for problem in problems if problem.kind == kind})


def _find_problems(
    ledger: Ledger, boxes: Sequence[BoundingBox], verifier: Verifier, threads: int, *, quiet: bool
) -> Iterator[Problem]:
    from chunkflow_worker.report.progress import progress
    from producer.look.verify import verify

    wrong = 0
    with nullcontext() if quiet else progress(len(boxes), "verified") as show:
        for count, problems in enumerate(verify(ledger, boxes, verifier, threads), 1):
            wrong += any(problem.is_wrong for problem in problems)
            if show:
                show(count, f"{wrong} wrong" if wrong else "")
            yield from problems


def show_verified(
    report: Verified, *, allow_zeros: bool, quick: bool = False, net: str = "", sample: bool = False
) -> None:
    """Print what was found. For options see `read_back`.

    sample: not all boxes of the job were looked at.
    """
    from chunkflow_worker.report.progress import boxes_text
    from producer.look.problem import KINDS

    boxes = f"{report.boxes} boxes of {'the sample of ' if sample else ''}job {report.job}"
    if report.problems:
        say(
            f"{report.wrong} of {boxes} are wrong, {report.not_checked} not checked, "
            f"{report.unreadable} unreadable"
        )
    else:
        say(f"all {boxes} are done{'' if report.is_mixed(net) else _QUICK if quick else _READ}")
    for what, count in report.seen.items():
        say(f"{what}: {count}")
    for kind, meaning in KINDS.items():
        of_kind = [problem for problem in report.problems if problem.kind == kind]
        if of_kind:
            count = _boxes_of(of_kind, kind)
            _show_kind(f"{kind}, in {boxes_text(count)}: {meaning}", of_kind)
    if _boxes_of(report.problems, "zero") and not allow_zeros:
        say("", "if zeros are right in this output (masks, thresholds), add --allow-zeros")
    if report.is_mixed(net):
        _show_nets(report)


def _show_nets(report: Verified) -> None:
    from producer.look.nets import net_lines

    say("", f"boxes of job {report.job} come from {len(report.nets)} nets or plugins:")
    for line in net_lines(report.nets):
        say(f"  {line}")
    say("to do the boxes of the others again: --net DIGEST --enqueue, with that to keep")


def _show_kind(title: str, problems: list[Problem]) -> None:
    say("", title)
    for problem in problems[:_EXAMPLES]:
        parts = [problem.box, _place(problem), problem.detail]
        say("  " + "  ".join(filter(None, parts)))
    if len(problems) > _EXAMPLES:
        say(f"  and {len(problems) - _EXAMPLES} more; --json lists all")


def _place(problem: Problem) -> str:
    """The volume, its first bad block, and how many more there are."""
    if not problem.blocks:
        return problem.volume
    more = f" and {len(problem.blocks) - 1} more" if len(problem.blocks) > 1 else ""
    return f"{problem.volume}: {problem.blocks[0]}{more}"
