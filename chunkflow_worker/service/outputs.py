"""`refuse_relative_outputs`: a relative path is another folder on each machine."""

from __future__ import annotations

from collections.abc import Iterator

from chunkflow_worker.config.places import is_relative
from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError, Fault
from chunkflow_worker.pipeline.chain import Pipeline


def refuse_relative_outputs(settings: Settings, pipeline: Pipeline) -> None:
    """Raise ConfigError if a worker would write to relative paths of its own disk.

    Its results would be scattered over the machines, or lost with a container.
    """
    faults = [] if settings.shared_disk else list(_faults(settings, pipeline))
    if faults:
        raise ConfigError(str(settings.pipeline or "pipeline"), faults)


def _faults(settings: Settings, pipeline: Pipeline) -> Iterator[Fault]:
    if settings.ledger and is_relative(settings.ledger):
        yield _fault("CHUNKFLOW_LEDGER", settings.ledger)
    for i, operator in enumerate(pipeline.configured):
        name = pipeline.operators[i].op
        for option, path in operator.relative_outputs():
            yield _fault(f"operators.{i} ({name}).{option}", path)


def _fault(place: str, path: str) -> Fault:
    return Fault(
        place,
        f"{path or './'!r} is a relative path, which is another folder on each machine",
        "give an absolute path or a bucket; or add --shared-disk (CHUNKFLOW_SHARED_DISK=true) if "
        "all workers run in one folder of one disk",
    )
