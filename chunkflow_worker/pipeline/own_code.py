"""`own_frames`: where in the user's own code an error arose: a plugin, a net, another package."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from types import FrameType

import chunkflow_worker
from chunkflow_worker.config.catalog import package_operators

_OURS = Path(chunkflow_worker.__file__).parent
_LIBRARIES = {
    Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")
}


def own_frames(error: BaseException) -> list[tuple[FrameType, int]]:
    """The frames of an error's traceback, with their lines, from the user's own code on.

    Empty if no code of the user took part.
    """
    packages = {point.module.partition(".")[0] for point in package_operators().values()}
    frames = list(traceback.walk_tb(error.__traceback__))
    for i, (frame, _) in enumerate(frames):
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if top in packages or _is_own(frame.f_code.co_filename):
            return frames[i:]
    return []


def _is_own(file: str) -> bool:
    path = Path(file)
    if file.startswith("<") or path.is_relative_to(_OURS) or "site-packages" in path.parts:
        return False
    return not any(path.is_relative_to(folder) for folder in _LIBRARIES)
