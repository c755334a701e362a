"""What a chain will do, and what a task will take, before it runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

from chunkflow_worker.cli.needs import all_needs, kept_bytes, memory_of, read_size
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.inference.plan import gigabytes
from chunkflow_worker.job.grid import Grid
from chunkflow_worker.job.output import output_blocks, output_objects, refusal
from chunkflow_worker.job.stages import find_stage, load_stages, split_stage, stage_path
from chunkflow_worker.job.volumes import default_ledger, no_ledger
from chunkflow_worker.machine.memory import peak_bytes
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.estimate import Plannable
from chunkflow_worker.pipeline.operator import Operator
from chunkflow_worker.pipeline.run import OpenPipeline
from chunkflow_worker.report.say import say, say_json
from chunkflow_worker.volumes.open_volume import open_volume

_ANY_SIZE = Vec3(1, 1, 1)
_MANY_OBJECTS = 1_000_000  # which cost some $5 to write to S3


def report(
    chain: Pipeline,
    source: str,
    chunk_size: tuple[int, int, int] | None,
    ledger: str | None,
    open_it: bool,
) -> None:
    """Print the chain, and what its operators take for one task.

    chunk_size: size of a task's box, zyx; if None, the one that the chain's `tasks` give.
    ledger: where the records go; if None, the chain's own place.
    open_it: also open the volumes and models, and measure their memory.
    Raises ConfigError at the end if there is no place for the records, without which no worker
    starts.
    """
    ledger = ledger or chain.ledger_path
    size = Vec3(*chunk_size) if chunk_size else _task_size(chain)
    say(
        f"{source}: {len(chain.operators)} operators, digest {chain.digest}, "
        f"ledger {ledger or 'not set'}"
    )
    unit = output_blocks(chain.configured) if open_it else _ANY_SIZE
    _note_relative_outputs(chain)
    for i, (operator, label) in enumerate(zip(chain.operators, chain.labels(), strict=True)):
        _show_operator(chain, i, operator, label)
        if isinstance(operator, Plannable):
            _show_plan(chain, i, operator, size, unit)
    task_bytes = memory_of(chain, size)[0] if size else 0
    kept = kept_bytes(chain)
    if kept:
        say(f"blocks of inputs are kept for the boxes beside them: up to {gigabytes(kept)} GB")
    if open_it:
        process_bytes = _open(chain, size)
        say(
            f"peak memory {gigabytes(process_bytes + task_bytes + kept)} GB: "
            f"process and net {gigabytes(process_bytes)} (measured here on one patch), "
            f"a task {gigabytes(task_bytes)}{f', blocks {gigabytes(kept)}' if kept else ''}"
        )
    elif task_bytes:
        say(
            f"peak memory of a task {gigabytes(task_bytes)} GB, without the process and its net: "
            "--open measures those"
        )
    if ledger is None:
        raise no_ledger(source)


def report_stages(
    path: str, chunk_size: tuple[int, int, int] | None, ledger: str | None, open_it: bool
) -> None:
    """Print all stages of a pipeline file, or the one that `path` names; see `report`."""
    file, name = split_stage(path)
    loaded = load_stages(file, Pipeline.parse)
    one = find_stage((stage for stage, _ in loaded), name, file) if name else None
    ledger = ledger or default_ledger(o for _, chain in loaded for o in chain.configured)
    for stage, chain in loaded:
        if one in (None, stage):
            needs = f"after {', '.join(stage.needs)}" if stage.needs else "first"
            tasks = f", tasks: a tree over {stage.tree_of}" if stage.tree_of else ""
            queue = f", queue QUEUE-{stage.queue}" if stage.queue else ""
            say(f"== stage {stage.name}: {needs}{tasks}{queue} ==")
            source = str(stage_path(file, stage.name))
            report(chain, source, chunk_size, ledger and stage.ledger_in(ledger), open_it)


def _note_relative_outputs(chain: Pipeline) -> None:
    for operator in chain.configured:
        for option, path in operator.relative_outputs():
            say(
                f"note: {option} {path or './'} is a relative path, which workers write to only "
                "with --shared-disk"
            )
            return


def _show_operator(chain: Pipeline, index: int, operator: Operator, label: str) -> None:
    """Print an operator: the values that it reads and writes, its options, and its margin."""
    named = "" if label == operator.op else f" ({label})"
    reads, writes = ", ".join(operator.reads()), ", ".join(operator.writes())
    flow = " -> ".join(filter(None, (reads, writes))) or "no values"
    say(f"  {index} {operator.op}{named}: {flow}")
    say(f"      {operator.describe() or 'defaults'}")
    before, after = chain.margins(index)
    if not reads and writes and any((*before, *after)):
        say(
            f"      reads {list(before)} voxels before the box and {list(after)} after it, "
            "where the volume has them"
        )


def report_json(
    chain: Pipeline, chunk_sizes: tuple[tuple[int, int, int], ...], region: BoundingBox | None
) -> None:
    """Print what tasks of each of these sizes take, as JSON.

    chunk_sizes: zyx; if there are none, the one that the chain's `tasks` give.
    region: that the boxes cut; one box when not given.
    Raises ConfigError where no size is known, and ChunkMismatch as `all_needs` does.
    """
    found = _task_size(chain)
    sizes = [Vec3(*size) for size in chunk_sizes] or ([found] if found else [])
    if not sizes:
        raise ConfigError.one("check", "chunk_size", "is not known", "give --chunk-size")
    needs = all_needs(chain, sizes, region)
    say_json({"pipeline": chain.digest, "needs": [asdict(of_size) for of_size in needs]})


def _show_plan(
    chain: Pipeline, index: int, plannable: Plannable, size: Vec3 | None, unit: Vec3
) -> None:
    """Print what an operator takes for a task's box of `size`.

    size: zyx, in the task's voxels; None if unknown.
    unit: better sizes must be multiples of it.
    """
    if size is None:
        say("      patches, utilization and memory: give --chunk-size")
        return
    made = read_size(chain, index, size)
    image_type = _image_type(chain.operators[:index], chain.operators[index])
    for line in plannable.plan(made, image_type, unit if made == size else _ANY_SIZE):
        say(f"      {line}")


def _open(chain: Pipeline, size: Vec3 | None) -> int:
    """Open the chain, and print why its boxes do not fit the output, if so.

    Returns the peak memory of this process in bytes, 0 if unknown.
    """
    with chain.open(dry_run=True) as opened:
        say("all volumes and models open")
        _show_objects(chain)
        boxes = chain.tasks.known_boxes() if chain.tasks else None
        reason = refusal(boxes, chain.configured) if boxes else None
        if reason:
            say(f"note: workers will refuse these boxes: {reason}")
        peak = _rehearse(chain, opened)
        if size is not None:
            _show_seconds(chain, opened, size)
        return peak


def _show_objects(chain: Pipeline) -> None:
    """Print how many objects the outputs take, each of which costs a request to write."""
    for path, objects, blocks in output_objects(chain.configured):
        if blocks > objects:
            say(f"{path}: {objects:,} shards, and {blocks:,} objects without shards")
        else:
            say(f"{path}: {objects:,} objects, one PUT request each")
            if objects > _MANY_OBJECTS:
                say("      shards (--shard-size of a new volume) would be far fewer, and cheaper")


def _task_size(chain: Pipeline) -> Vec3 | None:
    size = chain.tasks.chunk_size if isinstance(chain.tasks, Grid) else None
    if size is None:
        before, after = chain.margins(0)
        made = chain.operators[0].size_without_box()
        size = made - before - after if made else None
    return size if size is not None and min(size) > 0 else None


def _image_type(earlier: tuple[Operator, ...], operator: Operator) -> str:
    """Type of the chunk that the operator reads; uint8 if the options do not determine it."""
    for maker in reversed(earlier):
        if set(maker.writes()) & set(operator.reads()):
            return maker.output_type or "uint8"
    return "uint8"


def _rehearse(chain: Pipeline, opened: OpenPipeline) -> int:
    """Run one patch through each net, and print on what, and whether its outputs can be saved.

    Returns the peak memory of this process in bytes meanwhile, 0 if unknown.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of loading
    for index, (label, operator, _, step) in enumerate(opened.steps):
        if isinstance(operator, Plannable):
            task = operator.rehearsal()
            step(task)
            say(f"{label} runs on {task.device}, in {task.precision}")
            for name in operator.writes():
                _note_channels(chain, index, name, task.image(name).channels)
    return peak_bytes()


def _note_channels(chain: Pipeline, index: int, name: str, channels: int) -> None:
    """Print that what an operator makes does not fit a volume, if no other operator changes it."""
    later = zip(chain.operators[index + 1 :], chain.configured[index + 1 :], strict=True)
    for operator, configured in later:
        if name in operator.writes():
            return
        for use in configured.saves() if name in operator.reads() else ():
            with suppress(ConfigError):  # the chain may create it
                taken = open_volume(use.path, use.mip or 0).channels
                if taken != channels:
                    say(
                        f"note: workers will refuse to save {name!r}: {chain.labels()[index]} "
                        f"makes {channels} channels, and {use.path} takes {taken}"
                    )


def _show_seconds(chain: Pipeline, opened: OpenPipeline, size: Vec3) -> None:
    """Print how long the device takes for a task of `size`, by one more patch of each net."""
    total = 0.0
    for index, (label, operator, _, step) in enumerate(opened.steps):
        if isinstance(operator, Plannable):
            task, start = operator.rehearsal(), perf_counter()
            step(task)
            patch = perf_counter() - start
            seconds = operator.task_seconds(read_size(chain, index, size), patch)
            total += seconds
            say(f"{label}: {seconds:.3g} s a task on this device, {patch:.3g} s a patch")
    if total:
        say(
            f"a worker makes at most {size.product / 1e6 / total:.3g} Mvoxel/s here, while reading "
            "and saving take less time than that"
        )
