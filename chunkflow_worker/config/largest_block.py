"""`largest_block`: how many bytes one piece of a stored image may unpack to."""

from __future__ import annotations

import os

from pydantic import ByteSize, TypeAdapter, ValidationError

from chunkflow_worker.errors import ConfigError

VARIABLE = "CHUNKFLOW_LARGEST_BLOCK"
DEFAULT = 512 * 1024**2
_BYTES = TypeAdapter(ByteSize)


def largest_block() -> int:
    """Bytes that a block, page, strip or picture may have uncompressed.

    A few megabytes of zeros, compressed, become many gigabytes. Raises ConfigError for a variable
    that is no size.
    """
    text = os.environ.get(VARIABLE)
    try:
        return int(_BYTES.validate_python(text)) if text else DEFAULT
    except ValidationError:
        cure = "bytes, or for example 2GiB"
        raise ConfigError.one("settings", VARIABLE, f"{text!r} is not a size", cure) from None
