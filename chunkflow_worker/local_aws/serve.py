"""A local AWS for laptops, tests and the demo: SQS by `local_sqs`, S3 and CloudWatch by moto.

Only programs may use it: see `web_gate`. Of moto's services, those that send requests elsewhere,
such as SNS, are not served.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from chunkflow_worker.config.extras import install_line
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.local_aws.kept_s3 import KeptS3
from chunkflow_worker.local_aws.sqs.protocol import SqsProtocol, service_of
from chunkflow_worker.local_aws.sqs.store import local_sqs
from chunkflow_worker.report.web_gate import WebGate, Wsgi

SERVICES = frozenset({"s3", "s3bucket_path", "cloudwatch", "sts", "moto_api"})
"""Of moto, that are served beside SQS."""

_RESET = "/moto-api/reset"


@contextmanager
def local_aws(
    port: int = 0,
    host: str = "127.0.0.1",
    services: Container[str] = SERVICES,
    data: Path | None = None,
    around: Callable[[Wsgi], Wsgi] = lambda app: app,
) -> Iterator[dict[str, str]]:
    """Serve until the block ends; yields the environment variables that point AWS clients to it.

    port: 0 chooses a free port.
    host: the address to listen on; any program that reaches it may read and write everything.
    services: of moto, that are served beside SQS.
    data: a folder that keeps queues and objects for the next start; None keeps nothing.
    around: makes an application in front of this one, for example one that counts requests.
    Raises ConfigError when the extra is not installed, when the address is not free, and when the
    folder cannot be used, or another process uses it.
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
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # one line per request otherwise
    with _services(services, data) as app:
        gate = WebGate(around(app), host, "/moto-api")
        server = make_server(host, port, gate, threaded=True, request_handler=MotoRequestHandler)
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


@contextmanager
def _services(services: Container[str], data: Path | None) -> Iterator[Wsgi]:
    """SQS and services of moto, as one application."""
    moto = _moto(services)
    with ExitStack() as stack:
        s3 = stack.enter_context(closing(KeptS3(moto, data))) if data else None
        sqs = stack.enter_context(local_sqs(data))
        protocol = SqsProtocol(sqs)

        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            if service_of(environ) == "sqs":
                return protocol(environ, start_response)
            if environ["PATH_INFO"] == _RESET and environ["REQUEST_METHOD"] == "POST":
                sqs.reset()
                if s3:
                    s3.reset()
            if s3 and service_of(environ) == "s3":
                return s3(environ, start_response)
            return moto(environ, start_response)

        yield answer


def _moto(services: Container[str]) -> Wsgi:
    """moto's application, without the services that are not wanted."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from chunkflow_worker.local_aws.mended_moto import mend_moto

    mend_moto()

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
