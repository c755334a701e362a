"""A forecast as text, in 100 columns, for ``plan``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

from chunkflow_worker.report.say import say
from producer.report.words import amount, plural

if TYPE_CHECKING:
    from producer.cost.fleet import Fleet
    from producer.cost.forecast import Forecast, Option, Volume
    from producer.cost.sizes import Candidate
    from producer.plan.tree_plan import TreePlan

_WIDTH, _LABEL = 100, 11
_REQUESTS = {"S3": ("GET", "HEAD", "PUT", "LIST"), "SQS": (), "CloudWatch": ()}


def show_forecast(forecast: Forecast) -> None:
    """Print a forecast."""
    size = "x".join(map(str, forecast.chunk_size))
    say(
        f"plan of job {forecast.job}: {forecast.boxes.to_do:,} tasks of {size} voxels (zyx), "
        f"pipeline {forecast.pipeline}"
    )
    say("")
    for label, lines in _rows(forecast):
        for number, text in enumerate(lines):
            _line("" if number else label, text)
    if any(option.fleets for option in forecast.options):
        say("")
        _show_fleets(forecast.options)
    say("", "assumed:")
    for text in forecast.assumptions:
        say(*wrap(text, _WIDTH, initial_indent="  - ", subsequent_indent="    "))


def show_tree(tree: TreePlan) -> None:
    """Print the tasks of a stage whose tasks are a tree, and what is not known of them."""
    tasks, waves = plural(tree.tasks, "task"), plural(len(tree.waves), "wave")
    boxes = plural(tree.leaves, "box", "boxes")
    say(f"stage {tree.stage}: {tasks} in {waves}, over the {boxes} of stage {tree.tree_of}")
    for number, wave in enumerate(tree.waves, 1):
        size = "x".join(map(str, wave[0].size))
        _line(f"wave {number}", f"{plural(len(wave), 'task')} of up to {size} voxels (zyx)")
    _line("not known", "memory, hours and dollars: they depend on what the tasks before leave")


def _rows(forecast: Forecast) -> Iterator[tuple[str, list[str]]]:
    yield "boxes", [_boxes(forecast)]
    yield "blocks", list(_alignment(forecast))
    yield "voxels", list(_voxels(forecast))
    memory = forecast.memory
    yield (
        "memory",
        [f"a task {_bytes(memory.task)}, a worker {_bytes(memory.worker)} ({memory.source})"],
    )
    yield "volumes", [_volume(volume) for volume in forecast.volumes]
    yield "transfer", [_transfer(option) for option in _different(forecast.options)]
    yield "requests", [_requests(option) for option in _different(forecast.options)]
    yield "objects", [f"{forecast.objects:,} made: blocks or shards, and a record for each task"]
    yield "seconds", list(_seconds(forecast))
    yield "services", list(dict.fromkeys(map(_services, _different(forecast.options))))


def _line(label: str, text: str) -> None:
    indent = " " * _LABEL
    first, *others = wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent) or [indent]
    say(f"{label:{_LABEL}}{first.strip()}".rstrip(), *others)


def _boxes(forecast: Forecast) -> str:
    boxes = forecast.boxes
    parts = [f"{boxes.total:,} in the grid"]
    parts += [f"{boxes.empty_by_mask:,} empty by the mask"] * bool(boxes.empty_by_mask)
    parts += [f"{boxes.empty_by_level:,} zero at the coarsest mip"] * bool(boxes.empty_by_level)
    parts += [f"{boxes.done:,} done by the ledger"]
    return f"{', '.join(parts)}; planned here: {boxes.to_do:,}"


def _alignment(forecast: Forecast) -> Iterator[str]:
    for one in forecast.alignment:
        unit = "x".join(map(str, one.unit))
        if one.is_aligned:
            yield f"boxes fit the {unit} blocks of the {one.use} {one.path}"
        elif one.use == "input":
            yield f"boxes do not fit the {unit} blocks of the input {one.path}: some are read twice"
        else:
            sizes = " or ".join(str(list(size)) for size in one.nearest) or "another start"
            yield (
                f"workers will REFUSE to write: boxes share {unit} blocks of {one.path}; "
                f"nearest good --chunk-size: {sizes}"
            )


def _voxels(forecast: Forecast) -> Iterator[str]:
    voxels = forecast.voxels
    share = voxels.output / max(1, voxels.boxes)
    yield f"{_count(voxels.output)} to write, {share:.0%} of those of the boxes"
    if voxels.read:
        yield (
            f"{_count(voxels.read)} read with margins, of which {voxels.of_read:.0%} are written; "
            f"{_count(voxels.in_blocks)} in whole blocks"
        )
    if voxels.computed:
        yield f"{_count(voxels.computed)} computed, of which {voxels.of_computed:.0%} are written"


def _volume(volume: Volume) -> str:
    return (
        f"{volume.use} {volume.path} mip {volume.mip}: {volume.blocks:,} blocks, "
        f"{_bytes(volume.voxel_bytes)}, stored {_bytes(volume.stored_bytes)} ({volume.ratio:.2f})"
    )


def _different(options: Sequence[Option]) -> list[Option]:
    """Those of the fewest and of the most machines."""
    return [options[0], options[-1]] if len(options) > 1 else [options[0]]


def _transfer(option: Option) -> str:
    return (
        f"{_bytes(option.bytes_in)} in, {_bytes(option.bytes_out)} out, "
        f"by {plural(option.machines, 'machine')}"
    )


def _requests(option: Option) -> str:
    parts = []
    for service, names in _REQUESTS.items():
        counts = option.requests.get(service, {})
        if names:
            parts.append(f"{service} " + ", ".join(f"{_number(counts[n])} {n}" for n in names))
        else:
            parts.append(f"{service} {_number(sum(counts.values()))}")
    return f"{'; '.join(parts)}; by {plural(option.machines, 'machine')}"


def _seconds(forecast: Forecast) -> Iterator[str]:
    times = forecast.times
    if times is None:
        yield "unknown: give --seconds-per-task S, --measure N or --from-job JOB"
        return
    lasts = ""
    if times.lasts:
        low, middle, high = times.lasts
        lasts = f"; a task lasts {low:.3g} / {middle:.3g} / {high:.3g} s (10%, median, 90%)"
    yield f"{times.seconds:.3g} a task of a worker, {times.source}{lasts}"
    if times.operators:
        yield ", ".join(f"{name} {seconds:.3g}" for name, seconds in times.operators.items())


def _services(option: Option) -> str:
    bill = option.bill
    return (
        f"S3 requests {_dollars(bill.s3_requests)}, SQS "
        f"{_dollars(bill.sqs)}, CloudWatch {_dollars(bill.cloudwatch)}, transfer "
        f"{_dollars(bill.transfer)}; storage {_dollars(bill.storage_month)} a month"
    )


def _show_fleets(options: Sequence[Option]) -> None:
    """A row for each kind of machine, and columns for each number of them."""
    heads = "".join(f"  {plural(option.machines, 'machine'):>26}" for option in options)
    say(f"{'':{_LABEL + 1}}{heads}")
    columns = f"  {'time':>8}{'on demand':>10}{'spot':>8}"
    say(f"{'machine':{_LABEL + 1}}{columns * len(options)}")
    for row in range(0, len(options[0].fleets), 2):
        pairs = [option.fleets[row : row + 2] for option in options]
        cells = "".join(_cells(*pair) for pair in pairs)
        say(f"{pairs[0][0].machine:{_LABEL + 1}}{cells}")


def _cells(on_demand: Fleet, spot: Fleet) -> str:
    time = _time(spot.wall_seconds)
    return f"  {time:>8}{_dollars(on_demand.dollars):>10}{_dollars(spot.dollars):>8}"


def _time(seconds: float) -> str:
    for length, unit in ((86400, "d"), (3600, "h")):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds / 60:.1f} min"


def show_sizes(sizes: Sequence[Candidate]) -> None:
    """Print chunk sizes, the present one first; nothing if there are none."""
    if not sizes:
        return
    say("", "chunk sizes of whole blocks, for the whole region without masks:")
    heads = f"{'tasks':>12}{'memory':>10}{'computed':>10}{'hours':>11}{'cost':>10}"
    say(f"{'':9}{'chunk size':20}{heads}")
    for number, one in enumerate(sizes):
        cost = "too large" if one.dollars is None else _dollars(one.dollars)
        say(
            f"{'' if number else 'present':9}{'x'.join(map(str, one.chunk_size)):20}{one.tasks:12,}"
            f"{_bytes(one.memory):>10}{one.of_computed:>10.0%}{_hours(one.machine_hours):>11}{cost:>10}"
        )


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _dollars(amount: float) -> str:
    if amount >= 100:
        return f"${amount:,.0f}"
    return f"${amount:.2f}" if amount >= 0.005 or amount == 0 else "<$0.01"


def _bytes(size: float) -> str:
    return amount(size, "B")


def _count(voxels: float) -> str:
    return amount(voxels, "voxel") if voxels >= 1e6 else f"{voxels:,} voxels"


def _number(count: float) -> str:
    return f"{round(count):,}"
