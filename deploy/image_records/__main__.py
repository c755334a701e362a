"""`python -m deploy.image_records TARGET=IMAGE...`: writes the records of images to build/images.

The environment variable DOCKER is the command for containers.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

from deploy.image_records.bom import bill_of_materials
from deploy.image_records.content import inspect_image
from deploy.image_records.provenance import provenance

ROOT = Path(__file__).parents[2]
FOLDER = Path("build") / "images"
LOCKS = {
    "producer": ("core", "producer"),
    "local-aws": ("core", "local-aws"),
    "worker-cpu": ("core", "worker", "torch-cpu"),
    "worker-gpu": ("core", "worker", "torch-gpu"),
}


def main(arguments: list[str]) -> int:
    docker = shlex.split(os.environ.get("DOCKER", "docker"))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for argument in arguments:
        target, _, image = argument.partition("=")
        locks = [ROOT / "deploy" / "requirements" / f"{name}.txt" for name in LOCKS[target]]
        content = inspect_image(docker, image)
        records = {
            "cdx": bill_of_materials(content, locks),
            "provenance": provenance(content, target, ROOT, locks),
        }
        for kind, record in records.items():
            path = FOLDER / f"{image.replace('/', '_').replace(':', '-')}.{kind}.json"
            path.write_text(json.dumps(record, indent=1) + "\n")
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
