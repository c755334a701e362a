"""What a chain will do and take, told before it runs."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import click

from chunkflow_worker.image.bbox import Vec3
from chunkflow_worker.job.output import output_blocks, refusal
from chunkflow_worker.operators.generate_tasks import GenerateTasks
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import Operator
from chunkflow_worker.pipeline.run import OpenPipeline


def report(
    chain: Pipeline, source: str, chunk_size: tuple[int, int, int] | None, open_it: bool
) -> None:
    """Print the chain, and what its operators take for one task.

    chunk_size: of a task's box; that of the chain's `tasks` when not given.
    """
    size = Vec3(*chunk_size) if chunk_size else _task_size(chain)
    click.echo(
        f"{source}: {len(chain.operators)} operators, digest {chain.digest}, ledger {chain.ledger_path or 'not set'}"
    )
    operators = chain.dump()["operators"]
    blocks = output_blocks(operators) if open_it else Vec3(1, 1, 1)
    most = 0
    for i, (operator, label) in enumerate(zip(chain.operators, chain.labels(), strict=True)):
        flow = " -> ".join(
            filter(None, (", ".join(operator.reads()), ", ".join(operator.writes())))
        )
        named = "" if label == operator.op else f" ({label})"
        click.echo(
            f"  {i} {operator.op}{named}: {flow or 'no values'}\n      {operator.describe() or 'defaults'}"
        )
        before, after = chain.context(i)
        if not operator.reads() and operator.writes() and any((*before, *after)):
            click.echo(
                f"      reads {list(before)} voxels before the box and {list(after)} behind it, where the volume has them"
            )
        if size is not None:
            made, image_type = (
                -(-size // chain.coarsening(i)) + before + after,
                _image_type(chain.operators[:i], operator),
            )
            most = max(most, operator.task_bytes(made, image_type))
            for line in operator.plan(made, image_type, blocks if made == size else Vec3(1, 1, 1)):
                click.echo(f"      {line}")
        elif operator.rehearsal() is not None:
            click.echo("      patches, utilization and memory: give --chunk-size")
    if open_it:
        with chain.open(dry_run=True) as opened:
            click.echo("all volumes and models open")
            if isinstance(chain.tasks, GenerateTasks):
                why = refusal(chain.tasks.boxes_of_volume(), operators)
                if why:
                    click.echo(f"note: workers are likely to refuse these boxes: {why}")
            own = _rehearsed(opened)
        shares = (
            f"process and net {own / 1e9:.2f} (measured here on one patch), a task {most / 1e9:.2f}"
        )
        click.echo(f"peak memory {(own + most) / 1e9:.2f} GB: {shares}")
    elif most:
        click.echo(
            f"peak memory of a task {most / 1e9:.2f} GB, beside the process and its net: --open measures those"
        )


def _task_size(chain: Pipeline) -> Vec3 | None:
    size: Vec3 | None = getattr(chain.tasks, "chunk_size", None)
    if size is None and chain.operators[0].op == "create-chunk":
        before, after = chain.context(0)
        size = getattr(chain.operators[0], "size", before + after) - before - after
    return size if size is not None and min(size) > 0 else None


def _image_type(earlier: tuple[Operator, ...], operator: Operator) -> str:
    """Type of the chunk that the operator reads, as far as the options tell; volumes are taken to be uint8."""
    for maker in reversed(earlier):
        if set(maker.writes()) & set(operator.reads()):
            return (
                "float32"
                if maker.op == "normalize-intensity"
                else str(getattr(maker, "dtype", None) or "uint8")
            )
    return "uint8"


def _rehearsed(opened: OpenPipeline) -> int:
    """Most memory, in bytes, that this process had while its nets ran a patch each; 0 where the system does not tell."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far, of loading
    for _, operator, _, step in opened.steps:
        task = operator.rehearsal()
        if task is not None:
            step(task)
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found.group(1)) * 1024 if found else 0
    return 0
