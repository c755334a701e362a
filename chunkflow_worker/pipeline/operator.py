"""`Operator`: one step of a chain, declared as its own configuration; and the registry that finds operators by name."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

from chunkflow_worker.config.options import Options, field
from chunkflow_worker.errors import BoxOutsideVolume, ConfigError
from chunkflow_worker.image.bbox import BoundingBox, Vec3
from chunkflow_worker.pipeline.catalog import folder_names, operator_names, package_operators
from chunkflow_worker.pipeline.task import Task

Step = Callable[[Task], None]


@dataclass(frozen=True)
class Run:
    """What an operator learns about the chain that it is opened in.

    needed_box: the box that this operator must produce for a task's box, inside the volume's bounds where they are
        known: the task's box grown by what all the later operators need around it. All in voxels of what it produces.
    made: names of the values, and paths of the volumes, that operators before this one make.
    dry_run: read and compute, but write nothing.
    recorded: a worker writes the record of each task, so operators need not.
    """

    needed_box: Callable[[BoundingBox, BoundingBox | None], BoundingBox]
    made: frozenset[str] = frozenset()
    dry_run: bool = False
    recorded: bool = False

    def box_in(self, bounds: BoundingBox, box: BoundingBox | None, place: object) -> BoundingBox:
        """What to read from `place`, which holds `bounds`, for a task's box; all of it when there is none.

        Raises BoxOutsideVolume when they share no voxel.
        """
        if box is None:
            return bounds
        inside = box.clip(bounds)
        if inside is None:
            raise BoxOutsideVolume(f"box {box} lies outside {place}, which is {bounds}")
        return self.needed_box(box, bounds).clip(bounds) or inside


class Operator(Options):
    """Base of all operators.

    A subclass declares its options as fields and `op: Literal["its-name"]`, and implements `open`. The class docstring
    is its help text.

    group: heading below which help and reference list it.
    example: a command line that uses it, shown as it is written here.
    """

    group: ClassVar[str] = "Other"
    example: ClassVar[str] = ""
    op: str
    name: str = field(
        "", help="Name under which its seconds are reported; the operator's own when empty."
    )

    @property
    def label(self) -> str:
        return self.name or self.op

    @abstractmethod
    def open(self, run: Run) -> AbstractContextManager[Step]:
        """Acquire what is expensive once, and yield the step that does one task. Steps run in several threads."""

    @property
    def margin(self) -> Vec3:
        """Voxels that it needs around its output, on each side."""
        return Vec3(0, 0, 0)

    def context(self, box: BoundingBox, bounds: BoundingBox | None) -> BoundingBox:
        """The box that it must read to produce `box`, inside `bounds` where they are known; all in voxels of its input."""
        grown = box.grow(self.margin)
        return grown if bounds is None else grown.clip(bounds) or grown

    @property
    def coarsening(self) -> Vec3:
        """How many times larger the voxels of its output are than those of its input."""
        return Vec3(1, 1, 1)

    def output_bounds(self, bounds: BoundingBox) -> BoundingBox:
        """How far its output can reach when its input ends at `bounds`, in voxels of its input."""
        return bounds

    def reads(self) -> tuple[str, ...]:
        """Names of the values that it takes from the task."""
        names = [
            getattr(self, key)
            for key in type(self).model_fields
            if key.startswith("input_") and key.endswith("_name")
        ]
        many = getattr(self, "input_names", "")
        return tuple(n for n in [*names, *split_names(many)] if n)

    def creates(self) -> tuple[str, ...]:
        """Paths of the volumes that it makes before operators behind it have their step."""
        return ()

    def writes(self) -> tuple[str, ...]:
        """Names of the values that it leaves in the task."""
        many = getattr(self, "output_names", None)
        if many is not None or hasattr(self, "input_names"):
            return split_names(many or getattr(self, "input_names", ""))
        name = getattr(self, "output_chunk_name", None) or getattr(self, "output_name", None)
        return (name,) if name else ()

    def device(self) -> str:
        """Name of the device that it computes on; empty when it needs none in particular."""
        return ""

    def plan(self, size: Vec3, image_type: str, unit: Vec3) -> list[str]:
        """What it will take for a task's box of `size`, read from an image of `image_type`; lines for people.

        unit: what another size must be a multiple of.
        """
        return []

    def task_bytes(self, size: Vec3, image_type: str) -> int:
        """Memory that it takes for such a task, beside what it takes in any case."""
        return 0

    def rehearsal(self) -> Task | None:
        """A small task that shows what memory it takes by itself; None when there is nothing to learn."""
        return None

    def describe(self) -> str:
        """One line: what it will do."""
        given = self.model_dump(mode="json", exclude={"op", "name"}, exclude_defaults=True)
        return ", ".join(f"{key}={value}" for key, value in given.items())


class TaskSource(Operator):
    """An operator that stands at the start of a local chain and makes its tasks. Workers take theirs from the queue.

    consumes: its tasks are taken away from somewhere. Nobody knows their number before, and each is asked for only when it can
        be worked on at once.
    """

    group: ClassVar[str] = "Tasks"
    consumes: ClassVar[bool] = False

    @abstractmethod
    def tasks(self) -> Iterator[Task]:
        """The tasks, in order."""

    def open(self, run: Run) -> AbstractContextManager[Step]:
        """Nothing to do for a task that is made already."""
        return nullcontext(lambda task: None)


def split_names(text: str | None) -> tuple[str, ...]:
    return tuple(n.strip() for n in (text or "").split(",") if n.strip())


def find_operator(name: str) -> type[Operator]:
    """The operator class of that name. Raises ConfigError that names the nearest, or all that are known."""
    if name in folder_names():
        module = importlib.import_module(f"chunkflow_worker.operators.{name.replace('-', '_')}")
        classes = [
            v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Operator)
        ]
        return next(
            c
            for c in classes
            if c.__module__ == module.__name__ and c.model_fields["op"].default == name
        )
    if name in package_operators():
        loaded = package_operators()[name].load()
        if not (isinstance(loaded, type) and issubclass(loaded, Operator)):
            raise ConfigError.one(
                "operators", name, "its entry point does not name an Operator class"
            )
        return loaded
    close = get_close_matches(name, operator_names(), n=1)
    cure = (
        f"did you mean {close[0]!r}? chunkflow --help lists all"
        if close
        else "known: " + ", ".join(operator_names())
    )
    raise ConfigError.one("chunkflow", "operators", f"no operator is named {name!r}", cure)
