#!/usr/bin/env bash
# Writes the locks of the images from pyproject.toml and the .in files here: `make lock`. Pins stay as they are unless
# something asks for others; options are uv's: `make lock LOCK=--upgrade`.
#
# A target of the Dockerfile installs core.txt and what it needs besides, in one call of pip. No package stands in two files
# of one image, so that none can differ between them.
set -euo pipefail
cd "$(dirname "$0")"

compile() { # output, then options
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate "${@:2}" -o "$1"
}

beside() { # options that hold what these files pin, and leave it out
    sed -n 's/^\([^ =]*\)==.*/--no-emit-package \1/p' "$@"
    printf -- '-c %s\n' "$@"
}

project=../../pyproject.toml
worker=(--extra codecs --extra files --extra image --extra onnx --extra segmentation --extra zarr)
pytorch_cpu=${PYTORCH_CPU:---index https://download.pytorch.org/whl/cpu} # PyPI's torch for x86-64 is the CUDA build

compile build.txt build.in "$@"
compile core.txt $project "$@"
compile local-aws.txt $project --extra local $(beside core.txt) "$@"
compile worker.txt $project "${worker[@]}" $(beside core.txt) "$@"
compile torch-gpu.txt torch-gpu.in $(beside core.txt worker.txt) "$@"
compile torch-cpu.txt torch-cpu.in $(beside core.txt worker.txt) $pytorch_cpu "$@"
