"""A local AWS (SQS, S3, CloudWatch) by moto: for laptops, tests and the demo.

Only programs may use it: see `web_gate`. Of moto's services, those that send requests elsewhere,
such as SNS, are not served.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from inspect import signature
from typing import Any

from chunkflow_worker.config.extras import install_line
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.web_gate import WebGate, Wsgi

SERVICES = frozenset({"sqs", "s3", "s3bucket_path", "cloudwatch", "sts", "moto_api"})
"""Of moto, that are served."""

_POLL_SECONDS = 0.1
_LOCKED_CALLS = (
    "send_message",
    "delete_message",
    "change_message_visibility",
    "get_queue_attributes",
    "purge_queue",
)


@contextmanager
def local_aws(
    port: int = 0, host: str = "127.0.0.1", services: Container[str] = SERVICES
) -> Iterator[dict[str, str]]:
    """Serve until the block ends; yields the environment variables that point AWS clients to it.

    What was stored is gone when the block ends.
    port: 0 chooses a free port.
    host: the address to listen on; any program that reaches it may read and write everything.
    services: of moto, that are served.
    Raises ConfigError when the extra is not installed, and when the address is not free.
    """
    try:
        from moto.moto_server.werkzeug_app import MotoRequestHandler
        from werkzeug.serving import make_server
    except ImportError:
        raise ConfigError.one(
            "local AWS",
            "moto",
            "is not installed",
            install_line("local"),
        ) from None
    _try_to_listen(host, port)
    _queue_calls_one_at_a_time()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # one line per request otherwise
    app = WebGate(_moto(services), host, "/moto-api")
    server = make_server(host, port, app, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, name="local-aws", daemon=True)
    thread.start()
    try:
        here = "127.0.0.1" if host == "0.0.0.0" else host
        yield {
            "AWS_ENDPOINT_URL": f"http://{here}:{server.port}",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_SESSION_TOKEN": "local",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _moto(services: Container[str]) -> Wsgi:
    """moto's application, without the services that are not wanted."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    def create(service: Any) -> Any:
        return create_backend_app(service) if service in services else _not_served

    application: Wsgi = DomainDispatcherApplication(create)
    return application


def _not_served(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("403 Forbidden", [("Content-Type", "text/xml")])
    text = "local-aws serves SQS, S3, CloudWatch and STS"
    error = f"<Error><Code>AccessDenied</Code><Message>{text}</Message></Error>"
    return [f"<ErrorResponse>{error}</ErrorResponse>".encode()]


def _try_to_listen(host: str, port: int) -> None:
    """Raises ConfigError where moto's server would wait for ever, without a message."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except (OSError, OverflowError) as error:
            cure = "give an address of this machine as --host, and a free --port, or none"
            problem = f"cannot listen on this address: {getattr(error, 'strerror', None) or error}"
            raise ConfigError.one("local AWS", f"{host}:{port}", problem, cure) from None


@cache
def _queue_calls_one_at_a_time() -> None:
    """moto's queues are not made for threads.

    Of two receives at the same time, both may take the same message, or one may fail.
    """
    from moto.sqs.models import SQSBackend

    lock = threading.RLock()

    def locked(call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def one_at_a_time(*args: Any, **kwargs: Any) -> Any:
            with lock:
                return call(*args, **kwargs)

        return one_at_a_time

    def polling(receive: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(receive)
        def poll(*args: Any, **kwargs: Any) -> Any:
            given = signature(receive).bind(*args, **kwargs)
            end = time.monotonic() + (given.arguments["wait_seconds_timeout"] or 0)
            given.arguments["wait_seconds_timeout"] = 0
            while True:
                with lock:
                    messages = receive(*given.args, **given.kwargs)
                if messages or time.monotonic() >= end:
                    return messages
                time.sleep(_POLL_SECONDS)

        return poll

    for name in _LOCKED_CALLS:
        setattr(SQSBackend, name, locked(getattr(SQSBackend, name)))
    SQSBackend.receive_message = polling(SQSBackend.receive_message)  # type: ignore[method-assign]
