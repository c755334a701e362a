"""The application for ``celery -A chunkflow_worker worker``, configured by the environment."""

import sys

from chunkflow_worker.errors import ChunkflowError, exit_status
from chunkflow_worker.report.say import say_text
from chunkflow_worker.service.app import make_app

try:
    app = make_app()
except ChunkflowError as error:
    say_text(f"error: {error}", err=True)
    sys.exit(exit_status(error))
