"""The volumes that a chain loads and saves, by the facts of its operators."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chunkflow_worker.config.catalog import facts_of
from chunkflow_worker.config.facts import Facts, VolumeOptions
from chunkflow_worker.config.places import checked_options, is_relative, split_format
from chunkflow_worker.errors import ConfigError, Fault


@dataclass(frozen=True)
class VolumeUse:
    """A volume that an operator works on. mip: None for several levels."""

    path: str
    mip: int | None


@dataclass(frozen=True)
class Configured:
    """An operator of a chain: the facts of its class, and its options, which may be wrong.

    The producer reads both without importing the operator.
    """

    facts: type[Facts]
    options: Mapping[str, Any]

    @classmethod
    def read(cls, item: Mapping[str, Any]) -> Configured:
        """An item of the list of operators in a pipeline file, with variables replaced.

        Options that `faults` finds wrong are left as they are.
        """
        facts = facts_of(str(item["op"]))
        return cls(facts, checked_options(facts, item)[0])

    @staticmethod
    def faults(item: Mapping[str, Any], place: str) -> Iterator[Fault]:
        """What is wrong with the paths and variables of an item. place: its own, in the file."""
        _, mistakes = checked_options(facts_of(str(item["op"])), item)
        for option, mistake in mistakes.items():
            problem = f"{item[option]!r}: {mistake.problem}"
            yield Fault(f"{place} ({item['op']}).{option}", problem, mistake.cure)

    def loads(self) -> Iterator[VolumeUse]:
        return self._volumes(self.facts.loads)

    def saves(self) -> Iterator[VolumeUse]:
        return self._volumes(self.facts.saves)

    @property
    def pyramid(self) -> dict[str, Any]:
        """The options that say which coarser levels it writes; empty if it writes none."""
        facts = self.facts.pyramid
        return {name: self.options.get(name, default) for name, default in facts.items()}

    def creates(self) -> Iterator[str]:
        """Paths of the volumes that it creates."""
        return self._paths(self.facts.creates)

    def others(self) -> Iterator[str]:
        """Paths of further volumes that it reads, such as masks."""
        return self._paths(self.facts.other_volumes)

    def volume_paths(self) -> Iterator[str]:
        """Addresses of all the volumes that it works on."""
        facts = self.facts
        return self._paths((*facts.loads, *facts.saves, *facts.creates, *facts.other_volumes))

    def _paths(self, options: Iterable[str]) -> Iterator[str]:
        for option in options:
            path = self.options.get(option)
            if isinstance(path, str) and path:
                yield path

    def paths(self, *, written: bool) -> Iterator[tuple[str, str]]:
        """The options that hold paths to write to, or others, and these paths."""
        for place in self.facts.places(self.options):
            path = self.options.get(place.option)
            if path is None and place.is_local:
                path = ""  # the current folder
            if place.is_written == written and isinstance(path, str):
                yield place.option, path

    def relative_outputs(self) -> Iterator[tuple[str, str]]:
        """The options that hold relative paths to write to, and these paths."""
        return (found for found in self.paths(written=True) if is_relative(found[1]))

    def _volumes(self, options: VolumeOptions) -> Iterator[VolumeUse]:
        for path_option, mip_option in options.items():
            path = self.options.get(path_option)
            mip = self.options.get(mip_option) or 0 if mip_option else None
            if isinstance(path, str) and path:
                yield VolumeUse(path, mip if isinstance(mip, int) else None)


def no_ledger(source: str) -> ConfigError:
    """The error for a chain whose ledger has no place. source: the pipeline file."""
    return ConfigError.one(
        source,
        "ledger",
        "the chain saves no volume, so there is no default place for its ledger, which "
        "workers need",
        "give --ledger, for example s3://bucket/job/log, or set CHUNKFLOW_LEDGER",
    )


def default_ledger(chain: Iterable[Configured]) -> str | None:
    """The ledger of a chain: ``log`` below the last volume that it saves; None if it saves none."""
    paths = [volume.path for operator in chain for volume in operator.saves()]
    return f"{split_format(paths[-1])[1].rstrip('/')}/log" if paths else None
