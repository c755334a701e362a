"""`largest_block`: how many bytes one piece of a stored image may unpack to."""

from __future__ import annotations

import os

from chunkflow_worker.errors import ConfigError

VARIABLE = "CHUNKFLOW_LARGEST_BLOCK"
DEFAULT = 512 * 1024**2


def largest_block() -> int:
    """Bytes that a block, page, strip or picture may have uncompressed.

    A few megabytes of zeros, compressed, become many gigabytes. Raises ConfigError for a variable
    that is no size.
    """
    return bytes_in(VARIABLE, DEFAULT)


def bytes_in(variable: str, default: int) -> int:
    """The size that an environment variable sets. Raises ConfigError if it is none."""
    text = os.environ.get(variable)
    if not text:
        return default
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        cure = "bytes, or for example 2GiB"
        raise ConfigError.one("settings", variable, f"{text!r} is not a size", cure) from None
