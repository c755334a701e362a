"""`Masks`: the options that leave boxes of a grid out."""

from __future__ import annotations

from pydantic import field_validator, model_validator

from chunkflow_worker.config.options import Options, field
from chunkflow_worker.config.places import volume_to_read


class Masks(Options):
    """Which boxes of a grid to leave out."""

    mask_volume_path: str | None = field(
        None, help="Take only the boxes where this mask is non-zero somewhere."
    )
    mask_mip: int = field(
        0,
        ge=0,
        help="Mip level of the mask: one whose voxels are not finer than those of the boxes. A "
        "coarse one is read faster.",
    )
    mask_inverse: bool = field(False, help="Take only the boxes where the mask is zero somewhere.")
    skip_empty: bool = field(
        False,
        help="Take only the boxes where the volume of --volume-path is non-zero somewhere at its "
        "coarsest mip.",
    )

    _mask_path = field_validator("mask_volume_path")(volume_to_read)

    @model_validator(mode="after")
    def _has_a_mask(self) -> Masks:
        if self.mask_volume_path is None and (self.mask_mip or self.mask_inverse):
            raise ValueError("mask_mip and mask_inverse need mask_volume_path")
        return self
