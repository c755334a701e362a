"""`refuse_private_outputs`: what a worker may not write to, because nobody would find it there."""

from __future__ import annotations

from collections.abc import Iterator

from chunkflow_worker.config.places import is_relative
from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.pipeline.chain import Pipeline


def refuse_private_outputs(settings: Settings, pipeline: Pipeline) -> None:
    """Raise ConfigError if a worker would write to relative paths, or to its own memory.

    A relative path means another folder on each machine, unless `settings` say that the disk is
    shared: results would be scattered over the machines, or lost with a container.
    """
    faults = list(_faults(settings, pipeline))
    if faults:
        raise ConfigError(str(settings.pipeline or "pipeline"), faults)


def _faults(settings: Settings, pipeline: Pipeline) -> Iterator[Fault]:
    for place, path in _outputs(settings, pipeline):
        if path.startswith("mem://"):
            problem = "is the memory of one worker, and ends with it"
            yield Fault(place, f"{path!r} {problem}", "give a bucket or an absolute path")
        elif is_relative(path) and not settings.shared_disk:
            yield Fault(
                place,
                f"{path!r} is a relative path, which is another folder on each machine",
                "give an absolute path or a bucket; or add --shared-disk "
                "(CHUNKFLOW_SHARED_DISK=true) if all workers run in one folder of one disk",
            )


def _outputs(settings: Settings, pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    """Where the worker would write: the place in the configuration, and the path."""
    if settings.ledger:
        yield "CHUNKFLOW_LEDGER", settings.ledger
    for i, operator in enumerate(pipeline.configured):
        for option, path in operator.outputs():
            yield f"operators.{i} ({pipeline.operators[i].op}).{option}", path
