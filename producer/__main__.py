"""``python -m producer`` is ``chunkflow-producer``."""

import sys

from producer.cli import main

sys.exit(main())
