"""`Facts`: what an operator says about itself, so that no other file has to know its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

PRECOMPUTED = "precomputed"
GRAPHENE = "graphene"
VOLUMES = (PRECOMPUTED, "zarr", "zarr2", "zarr3", "n5", GRAPHENE)
"""The formats of stored images, as addresses name them. Those of graphene are only read."""

VolumeOptions = Mapping[str, str]
"""The option that holds the address of a volume -> the option that holds its mip level.

The second is empty when the operator works on several levels.
"""


class Place(NamedTuple):
    """An option that holds a path.

    is_written: the operator writes there. is_local: it is a file or folder on this machine.
    formats: that the address may name around the path, as in zarr://s3://lab/em.
    is_volume: the format that the address names is a part of it, by which the volume is opened.
    """

    option: str
    is_written: bool
    is_local: bool
    formats: tuple[str, ...]
    is_volume: bool = False


class Facts:
    """The facts, with the values that hold for an operator that states none.

    An operator states its facts as literals in the body of its class. The producer does not import
    operators: it reads their facts from the source, see `catalog`.

    group: heading under which help and reference list it.
    example: a command line that uses it.
    differs: how it differs from the same command of chunkflow 1.2.0, in whole sentences.
    loads: the volumes that it reads the task's box from.
    saves: the volumes that it writes the task's box to. The ledger lies beside the last of them.
    creates_output: it creates the volumes that it saves, with the first chunk.
    creates: options that hold the addresses of volumes that it creates.
    describes_arrays: its options say of the array that it reads what the store does not say.
    other_volumes: options that hold the addresses of further volumes.
    models: options that hold the paths of files of code or weights: of a net, of a plugin. Records
        hold their digests.
    stretches: it makes greys of uint8 from images of other types, by their own range.
    reads_paths, writes_paths: options that hold other paths: of folders and stores, or the
        beginnings of names. One of the options above is in `writes_paths` too if the operator
        writes there, and "a or b" stands for the first of them that is set.
    reads_files, writes_files: options that hold names on this machine: of files and folders, or the
        beginnings of names. Unless it is set, files are written to the current folder.
    flags: options of the last four where it writes no results, but files whose existence says
        something.
    formats: an option that holds a path -> the formats that it takes. If left out, volumes are of
        any format, and other paths may have precomputed:// around them.
    pyramid: its options that say which coarser levels it writes, with their defaults: `factor`,
        `chunk_mip`, `start_mip` and `stop_mip`; empty if it writes none.
    moves_box: the operators after it may work on another box than the task's; see also
        `Operator.box_after`.
    is_grid: its options are those of `Grid`, from which the producer makes the same boxes.
    box_file: the option that holds the file from which it takes the boxes of its tasks.
    local_options: options that only a local run needs; the producer ignores them in a grid.
    same_as: the operator that it is, under a name of older versions; messages name that one.
    formerly: its names in older versions of chunkflow, which command lines may still use.
    renamed: its options in older versions -> what to write today. Commas separate options with one
        answer. Values may follow an option, and Z, Y, X and N stand for numbers; an option alone
        has the values of today's.
    removed: options of older versions -> what to do instead.
    replaces: operators of older versions, separated by commas, that no operator means the same as
        -> what to do instead.
    """

    group: ClassVar[str] = "Other"
    example: ClassVar[str] = ""
    differs: ClassVar[str] = ""
    loads: ClassVar[VolumeOptions] = {}
    saves: ClassVar[VolumeOptions] = {}
    creates_output: ClassVar[bool] = False
    creates: ClassVar[tuple[str, ...]] = ()
    describes_arrays: ClassVar[bool] = False
    other_volumes: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[tuple[str, ...]] = ()
    stretches: ClassVar[bool] = False
    reads_paths: ClassVar[tuple[str, ...]] = ()
    writes_paths: ClassVar[tuple[str, ...]] = ()
    reads_files: ClassVar[tuple[str, ...]] = ()
    writes_files: ClassVar[tuple[str, ...]] = ()
    flags: ClassVar[tuple[str, ...]] = ()
    formats: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    pyramid: ClassVar[Mapping[str, Any]] = {}
    moves_box: ClassVar[bool] = False
    is_grid: ClassVar[bool] = False
    box_file: ClassVar[str] = ""
    local_options: ClassVar[tuple[str, ...]] = ("name",)
    same_as: ClassVar[str] = ""
    formerly: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[Mapping[str, str]] = {}
    removed: ClassVar[Mapping[str, str]] = {}
    replaces: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or "").strip().partition("\n")[0]

    @classmethod
    def places(cls, options: Mapping[str, Any]) -> Iterator[Place]:
        """The options that hold paths. options: of the operator, as they are given."""
        written = {*cls.saves, *cls.creates}
        for entry in cls.writes_paths:
            choices = entry.split(" or ")
            written.add(next((c for c in choices if options.get(c) is not None), choices[-1]))
        volumes = (*cls.loads, *cls.saves, *cls.creates, *cls.other_volumes)
        for option in dict.fromkeys((*volumes, *cls.reads_paths, *sorted(written))):
            is_volume = option in volumes and option not in cls.formats
            formats = VOLUMES if is_volume else cls.formats.get(option, (PRECOMPUTED,))
            yield Place(option, option in written, False, formats, is_volume)
        for option in (*cls.reads_files, *cls.writes_files):
            yield Place(option, option in cls.writes_files, True, ())
