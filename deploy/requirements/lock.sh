#!/usr/bin/env bash
# Writes the locks of the images from pyproject.toml and the .in files in this folder: `make lock`.
# A pin changes only if a requirement needs it. Options go to uv: `make lock LOCK=--upgrade`.
#
# Each target of the Dockerfile installs core.txt and its own files in one call of pip. No package is in
# two files of one image, so its version cannot differ between them.
set -euo pipefail
cd "$(dirname "$0")"

compile() { # output, then options
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate "${@:2}" -o "$1"
}

without() { # options that keep the pins of these files, and leave their packages out
    sed -n 's/^\([^ =]*\)==.*/--no-emit-package \1/p' "$@"
    printf -- '-c %s\n' "$@"
}

project=../../pyproject.toml
worker=(--extra codecs --extra files --extra image --extra onnx --extra opentelemetry --extra prometheus --extra segmentation)
producer=(--extra archive --extra page --extra report --extra simulate)
pytorch_cpu=${PYTORCH_CPU:---index https://download.pytorch.org/whl/cpu} # on PyPI, torch for x86-64 is the CUDA build

compile build.txt build.in "$@"
compile core.txt $project "$@"
compile local-aws.txt $project --extra local $(without core.txt) "$@"
compile producer.txt $project "${producer[@]}" $(without core.txt) "$@"
compile worker.txt $project "${worker[@]}" $(without core.txt) "$@"
compile torch-gpu.txt torch-gpu.in $(without core.txt worker.txt) "$@"
compile torch-cpu.txt torch-cpu.in $(without core.txt worker.txt) $pytorch_cpu "$@"
