"""A local AWS (SQS, S3, CloudWatch) on 127.0.0.1, by moto's server: for laptops, tests and the demo."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from chunkflow_worker.errors import ConfigError


@contextmanager
def local_aws(port: int = 0) -> Iterator[dict[str, str]]:
    """Serve until the block ends; yields the environment variables that lead every AWS client to it.

    port: 0 takes a free one. What was stored is gone when the block ends.
    Raises ConfigError when the extra is not installed.
    """
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        raise ConfigError.one(
            "local AWS", "moto", "is not installed", 'install it with: pip install "chunkflow-worker[local]"'
        ) from None
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # one line per request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        host, bound = server.get_host_and_port()
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{bound}",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.stop()
