"""AWS credentials for tensorstore: those that boto3 and cloudfiles find, at any time.

tensorstore searches by itself, but does not find profiles, logins and the secrets of cloudfiles. So
it gets what they find, as containers get theirs: from an address on this machine.
"""

from __future__ import annotations

import atexit
import hmac
import json
import os
import secrets
import shutil
import threading
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from chunkflow_worker.report.outage import Outage
from chunkflow_worker.storage.bucket import s3_keys

# tensorstore asks again ten seconds before the end that it is told.
_VALID_SECONDS = 20.0


def credentials(bucket: str) -> dict[str, str]:
    """What tensorstore's spec says of the credentials for a bucket of S3."""
    address, token_file = _serve(os.getpid())
    return {"type": "ecs", "endpoint": f"{address}/{bucket}", "auth_token_file": token_file}


@cache
def _serve(process: int) -> tuple[str, str]:
    """Serve the credentials in this process, to who can read the file with the token.

    Returns the address and the path of that file.
    """
    token, outage = secrets.token_urlsafe(32), Outage("the source of AWS credentials")
    folder = Path(mkdtemp(prefix="chunkflow-"))  # for this user alone
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "token").write_text(token)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "").encode()
            if not hmac.compare_digest(given, token.encode()):
                self.send_error(403)
                return
            try:
                content = json.dumps(_document(self.path[1:])).encode()
            except Exception as error:  # tensorstore asks again, and then does not tell the cause
                outage.failed(error)
                self.send_error(500)
                return
            outage.answered()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True, name="aws-credentials").start()
    return f"http://127.0.0.1:{server.server_port}", str(folder / "token")


def _document(bucket: str) -> dict[str, Any]:
    """The keys of a bucket, in the form of the credentials of containers."""
    from botocore.exceptions import NoCredentialsError

    keys = s3_keys(bucket)
    if keys is None:
        raise NoCredentialsError
    until = datetime.now(UTC) + timedelta(seconds=_VALID_SECONDS)
    return {
        "AccessKeyId": keys.access_key,
        "SecretAccessKey": keys.secret_key,
        "Token": keys.token or "",
        "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
