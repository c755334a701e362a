"""Encodings of precomputed volumes: the types that they support, and the libraries they need."""

from __future__ import annotations

from importlib.util import find_spec

from chunkflow_worker.config.extras import needs
from chunkflow_worker.errors import ConfigError

LOSSLESS = {"raw", "png", "compressed_segmentation", "compresso", "crackle"}
# Of CloudVolume, which knows those of Neuroglancer and some more.
ENCODINGS = {*LOSSLESS, "jpeg", "jxl", "fpzip", "kempressed", "zfpc", "npz", "npz_uint8"}

# The types that Neuroglancer and similar programs read. CloudVolume would write others too.
DTYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
# Encodings that support only some of them.
_ENCODING_DTYPES = {
    "jpeg": ("uint8",),
    "fpzip": ("float32",),
    "kempressed": ("float32",),
    "zfpc": ("int32", "float32"),
    "compressed_segmentation": ("uint32", "uint64"),
}
_JPEG_CHANNELS = (1, 3)
# Encodings whose library does not come with CloudVolume.
_LIBRARIES = {
    "compresso": "compresso",
    "crackle": "crackle",
    "fpzip": "fpzip",
    "kempressed": "fpzip",
    "jxl": "imagecodecs",
    "png": "pyspng",
}


_MEDIA_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "jxl": "image/jxl"}
_OF_GENERAL_TYPE = ("raw", "npz", "npz_uint8")
_GAIN = ("raw", "compressed_segmentation", "compresso", "crackle")


def gains_by_gzip(encoding: str) -> bool:
    """Whether blocks of the encoding become smaller by gzip."""
    return encoding in _GAIN


def content_type(encoding: str) -> str:
    """The media type of a block, as CloudVolume names it."""
    if encoding in _OF_GENERAL_TYPE:
        return "application/octet-stream"
    return _MEDIA_TYPES.get(encoding, f"image/x.{encoding}")


def holds_ids(dtype: str, encoding: str) -> bool:
    """Whether only the ids of objects are stored like this."""
    only_for_ids = ("compressed_segmentation", "compresso", "crackle")
    return encoding in only_for_ids or dtype in ("uint32", "uint64", "int32", "int64")


def check_readable(path: str, encoding: str) -> None:
    """Raise ConfigError when blocks of the encoding can't be read on this machine.

    path: of the volume, for the error.
    """
    if encoding == "npz_uint8":
        problem = "CloudVolume can write npz_uint8, but nothing can read it"
        raise ConfigError.one(path, "encoding", problem, "for example npz")
    if encoding == "zfpc" and find_spec("zfpc") is None:
        # In no extra: zarr-python does not start beside zfpy 1.0.1.post0, which zfpc installs.
        problem = "zfpc needs a library that is not installed"
        raise ConfigError.one(path, "encoding", problem, "pip install zfpc")
    if encoding in _LIBRARIES:
        needs(_LIBRARIES[encoding], extra="codecs")


def check_type(path: str, encoding: str, dtype: str, channels: int) -> None:
    """Raise ConfigError when the format or the encoding does not support a type.

    path: of the volume, for the error.
    """
    if dtype not in DTYPES:
        legal = f"legal: {', '.join(DTYPES)}"
        raise ConfigError.one(path, "data_type", f"the format has no {dtype}", legal)
    dtypes = _ENCODING_DTYPES.get(encoding, DTYPES)
    too_many_channels = encoding == "jpeg" and channels not in _JPEG_CHANNELS
    if dtype not in dtypes or too_many_channels:
        problem = f"{encoding} does not take {channels} channels of {dtype}"
        legal = f"it takes {' and '.join(dtypes)}"
        if encoding == "jpeg":
            legal += " of 1 or 3 channels"
        raise ConfigError.one(path, "encoding", problem, legal)
