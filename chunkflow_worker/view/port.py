"""Where pages and files are served: a port of this machine that no other machine reaches."""

from __future__ import annotations

from chunkflow_worker.errors import ConfigError

HOST = "127.0.0.1"


def port_error(port: int, error: Exception) -> ConfigError:
    """The error for a port that can't be listened on."""
    problem = f"can't be used: {getattr(error, 'strerror', None) or error}"
    return ConfigError.one("viewer", f"port {port}", problem, "leave it out to take a free one")
