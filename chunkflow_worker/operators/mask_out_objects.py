"""mask-out-objects"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal

from pydantic import model_validator

from chunkflow_worker.config.extras import needs
from chunkflow_worker.config.options import field
from chunkflow_worker.errors import ConfigError, DataMissing
from chunkflow_worker.pipeline.operator import Operator, Run, Step
from chunkflow_worker.pipeline.task import Task
from chunkflow_worker.storage.files import Files
from chunkflow_worker.storage.path import normal_path


class MaskOutObjects(Operator):
    """Set objects of a segmentation to zero: small objects, and objects that are not selected.

    Sizes are counted in the chunk, so an object that a box cuts is judged by its part in the box.
    """

    group: ClassVar[str] = "Segmentation"
    example: ClassVar[str] = (
        "chunkflow load-h5 -f seg.h5 mask-out-objects -d 1000 save-h5 -f large.h5"
    )
    renamed: ClassVar[Mapping[str, str]] = {
        "-n": "--name",
    }
    op: Literal["mask-out-objects"] = "mask-out-objects"
    input_chunk_name: str = field("chunk", flag="-i", help="Segmentation to read.")
    output_chunk_name: str = field(
        "chunk", flag="-o", aliases=("--output_chunk_name",), help="Segmentation to make."
    )
    dust_size_threshold: int | None = field(
        None, flag="-d", ge=0, help="Remove objects with fewer voxels than this."
    )
    selected_obj_ids: str | None = field(
        None,
        flag="-s",
        many=True,
        help="Ids to keep, separated by commas, or a JSON file with a list, on this machine or in "
        "object storage.",
    )

    @model_validator(mode="after")
    def _does_something(self) -> MaskOutObjects:
        if self.dust_size_threshold is None and self.selected_obj_ids is None:
            raise ValueError("give dust_size_threshold, selected_obj_ids or both")
        return self

    @contextmanager
    def open(self, run: Run) -> Iterator[Step]:
        fastremap = needs("fastremap", extra="segmentation")
        selected = None if self.selected_obj_ids is None else self._ids(self.selected_obj_ids)

        def step(task: Task) -> None:
            chunk = task.chunk(self.input_chunk_name)
            objects = chunk.object_ids(self.input_chunk_name)
            # fastremap computes the range of ids in their own type, which int8 does not hold.
            counted = objects.astype("int16") if objects.dtype == "int8" else objects
            ids, counts = fastremap.unique(counted, return_counts=True)
            keep = {
                int(i)
                for i, n in zip(ids, counts, strict=True)
                if i and n >= (self.dust_size_threshold or 0)
            }
            if selected is not None:
                keep &= selected
            masked = fastremap.mask_except(objects, sorted(keep)).reshape(chunk.array.shape)
            task.values[self.output_chunk_name] = chunk.with_array(masked)

        yield step

    def _ids(self, text: str) -> set[int]:
        """The ids to keep. Raises ConfigError, DataMissing."""
        try:
            if text.endswith(".json"):
                folder, _, name = normal_path(text).rpartition("/")
                content = Files(folder).get_json(name)
                if content is None:
                    raise DataMissing(f"there is no file {text}, or it is not JSON")
                return {_exact(i) for i in content}
            return {int(i) for i in text.split(",")}
        except (TypeError, ValueError):
            raise ConfigError.one(
                self.label,
                "selected_obj_ids",
                f"{text!r} does not hold ids",
                "for example 7,12 or ids.json",
            ) from None


def _exact(number: object) -> int:
    """An id from JSON. Raises ValueError for a float that may have been rounded."""
    if isinstance(number, float) and not (number.is_integer() and abs(number) < 2**53):
        raise ValueError
    return int(number)  # type: ignore[call-overload,no-any-return]
