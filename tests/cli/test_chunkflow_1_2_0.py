"""Command lines written for chunkflow 1.2.0 keep working: all its commands and options, or a reason
why not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from chunkflow_worker.cli.chunkflow import cli
from chunkflow_worker.config.catalog import operator_names
from chunkflow_worker.config.options import click_options
from chunkflow_worker.pipeline.operator import find_operator

# By command (the empty one is `chunkflow` itself) and option: its flags (those that turn it off
# after the slash), its type or choices, and nargs, default and required unless they are the usual
# ones.
PEER: dict[str, dict[str, dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "chunkflow_1_2_0_options.json").read_text()
)

# An option that accepts more than chunkflow's is no difference. Paths may be in the cloud, so click
# does not check that they exist, and the model checks the limits of numbers.
TAKES_ALSO = {
    "path": {"text"},
    "file": {"text"},
    "directory": {"text"},
    "integer": {"float"},
    "integer range": {"integer"},
}

# Differences on purpose, by reason: command (* for any), option, fact, and its value here.
ON_PURPOSE: dict[str, list[tuple[str, str, str, Any]]] = {
    "missing data is an error, not zeros": [
        ("load-precomputed", "fill_missing", "default", False),
        ("mask", "fill_missing", "default", False),
    ],
    "the name is the operator's own unless another is given": [("*", "name", "default", "")],
    "chunkflow failed without it, later": [
        ("adjust-bbox", "corner_offset", "required", True),
        ("downsample-upload", "volume_path", "required", True),
        ("fetch-task-from-file", "file_path", "required", True),
        ("fetch-task-from-sqs", "queue_name", "required", True),
        ("plugin", "file", "required", True),
    ],
    "follows from the net": [
        ("inference", "framework", "default", None),
        ("inference", "num_output_channels", "default", None),
    ],
    "follows from the patch, where 4 64 64 does not fit it": [
        ("inference", "output_patch_overlap", "default", None)
    ],
    "a number in a name is read whatever its length": [("load-png", "digit_num", "default", None)],
    "chosen from the free memory": [("inference", "batch_size", "default", None)],
    "zyx unless told, or as the image is": [("save-zarr", "order", "default", None)],
    "the default was none of the choices": [("load-zarr", "driver", "default", "local")],
    "a predictor, which tifffile refuses as a compression": [
        ("save-tif", "compression", "lacks", {"delta"})
    ],
    "types that files can hold are told before any work": [("save-h5", "dtype", "type", "choice")],
    "a volume may take its place": [("load-skeleton", "path", "required", False)],
    "two options bore one flag": [
        ("load-skeleton", "offset", "lacks", {"-o"}),
        ("setup-env", "crop_chunk_margin", "lacks", {"-c"}),
    ],
    "workers renew their lease, so that of a dead one may be short": [
        ("setup-env", "visibility_timeout", "default", 60)
    ],
}

Difference = tuple[str, str, str, Any]


def our_options(command: str) -> list[click.Parameter]:
    return (
        cli.params if not command else click_options(find_operator(command), skip=frozenset({"op"}))
    )


def differences(command: str) -> Iterator[Difference]:
    """Where our command falls short of chunkflow's, fact by fact, with what it is here."""
    ours = {option.name: option for option in our_options(command)}
    for name, theirs in PEER[command].items():
        option = ours.get(name)
        if not isinstance(option, click.Option):
            yield command, name, "option", None
            continue
        on, _, off = theirs["flags"].partition(" / ")
        lacking = {*on.split()} - {*option.opts} | {*off.split()} - {*option.secondary_opts}
        if lacking:
            yield command, name, "lacks", lacking
        yield from ((command, name, fact, value) for fact, value in _facts(theirs, option))


def _facts(theirs: dict[str, Any], option: click.Option) -> Iterator[tuple[str, Any]]:
    if option.is_flag != (" / " in theirs["flags"]):
        yield "is_flag", option.is_flag
    if isinstance(theirs["type"], list) and isinstance(option.type, click.Choice):
        lacking = {*theirs["type"]} - {*option.type.choices}
        if lacking:
            yield "lacks", lacking
    elif option.type.name not in {theirs["type"], *TAKES_ALSO.get(theirs["type"], ())}:
        yield "type", option.type.name
    if option.nargs != theirs.get("nargs", 1):
        yield "nargs", option.nargs
    if option.required != theirs.get("required", False):
        yield "required", option.required
    given = option.to_info_dict()["default"]
    default = [*given] if isinstance(given, tuple) else given
    if default != theirs.get("default"):
        yield "default", default


def reason_for(difference: Difference) -> str | None:
    anywhere = ("*", *difference[1:])
    return next(
        (
            reason
            for reason, places in ON_PURPOSE.items()
            if difference in places or anywhere in places
        ),
        None,
    )


@pytest.mark.parametrize("command", sorted(PEER))
def test_every_option_is_there_or_there_is_a_reason(command: str) -> None:
    assert not command or command in operator_names()
    assert [
        difference for difference in differences(command) if reason_for(difference) is None
    ] == []


def test_no_reason_is_stale() -> None:
    found = [
        d
        for command in PEER
        if not command or command in operator_names()
        for d in differences(command)
    ]
    found += [("*", *rest) for _, *rest in found]
    listed = [place for places in ON_PURPOSE.values() for place in places]
    assert [place for place in listed if place not in found] == []


def test_the_table_is_whole() -> None:
    assert len(PEER) == 1 + 61
    assert sum(map(len, PEER.values())) == 3 + 330


@pytest.mark.parametrize("command", operator_names())
def test_no_flag_stands_for_two_options(command: str) -> None:
    """In chunkflow, load-skeleton had two options -o, and setup-env two -c."""
    flags = Counter(
        flag for option in our_options(command) for flag in [*option.opts, *option.secondary_opts]
    )
    assert [flag for flag, count in flags.items() if count > 1] == []
