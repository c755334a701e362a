"""What every operator has: variables and paths in its options."""

from __future__ import annotations

from typing import Any

import pytest

from chunkflow_worker.config.catalog import facts_of, folder_names
from chunkflow_worker.config.options import faults_of
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.pipeline.operator import find_operator

NEEDED: dict[str, dict[str, Any]] = {
    "cleanup": {"suffix": ".h5"},
    "create-info": {"block_size": [8, 8, 8]},
    "create-volume": {"block_size": [8, 8, 8]},
    "download-mesh": {"input": "1"},
    "inference": {"input_patch_size": [4, 4, 4], "output_patch_overlap": [1, 1, 1]},
    "load-synapses": {},
    "unique-labels": {"chunk_size": [4, 4, 4]},
    "setup-env": {
        "volume_start": [0, 0, 0],
        "volume_size": [64, 64, 64],
        "output_patch_size": [16, 16, 16],
    },
}
"""Options that operators with paths need beside these."""


def chain(op: str, **options: Any) -> list[str]:
    """The faults of a chain of one operator, without those about values that no one makes."""
    kind = find_operator(op)
    try:
        kind.model_validate({"op": op, **NEEDED.get(op, {}), **options})
    except ValueError as error:
        return [str(fault) for fault in faults_of(error, kind, op)]  # type: ignore[arg-type]
    return []


STORED = [
    (name, place.option)
    for name in sorted(folder_names())
    for place in facts_of(name).places({})
    if not place.is_local
]
LOCAL = [
    (name, place.option)
    for name in sorted(folder_names())
    for place in facts_of(name).places({})
    if place.is_local
]
WRITTEN = [
    (name, place.option)
    for name in sorted(folder_names())
    for place in facts_of(name).places({})
    if place.is_written and not place.is_local
]


def others(op: str, option: str) -> dict[str, str]:
    """Right paths for the other options of an operator that hold one."""
    return {p.option: "x" for p in facts_of(op).places({}) if p.option != option}


def test_all_kinds_of_operators_take_part() -> None:
    assert {"load-precomputed", "save-zarr", "mark-complete", "mesh", "mask"} <= {
        n for n, _ in STORED
    }
    assert {"load-h5", "save-tif", "plugin", "load-skeleton"} <= {n for n, _ in LOCAL}
    assert {"create-info", "mesh-manifest", "setup-env", "skip-none"} <= {n for n, _ in WRITTEN}


@pytest.mark.parametrize(("op", "option"), STORED)
@pytest.mark.parametrize("path", ["s3:/lab/x", "gs:lab", "$OUT/x", "${OUT}/x", ""])
def test_a_wrong_path_is_refused_by_every_operator(op: str, option: str, path: str) -> None:
    (fault,) = chain(op, **others(op, option), **{option: path})
    assert fault.startswith(f"{op}.{option}: {path!r}: ")
    assert "did you mean" in fault or "${env:OUT}" in fault or "is empty" in fault


@pytest.mark.parametrize(("op", "option"), LOCAL)
@pytest.mark.parametrize("path", ["s3:/lab/x", "s3://lab/x", "$OUT/x", ""])
def test_a_wrong_name_of_a_file_is_refused_by_every_operator(
    op: str, option: str, path: str
) -> None:
    (fault,) = chain(op, **others(op, option), **{option: path})
    assert fault.startswith(f"{op}.{option}: {path!r}: ")


@pytest.mark.parametrize(("op", "option"), WRITTEN)
def test_no_operator_writes_to_a_web_address(op: str, option: str) -> None:
    path = "https://storage.googleapis.com/lab/x"
    faults = chain(op, **others(op, option) | {option: path})
    if op in ("aggregate-skeleton-fragments", "mesh-multires"):  # reads it, and writes elsewhere
        faults = chain(op, **{option: path})
    assert "is read only\n    did you mean gs://lab/x?" in faults[0]


def test_an_operator_reads_from_a_web_address_that_it_does_not_write_to() -> None:
    link = "https://host/x"
    assert not chain("load-zarr", store=link)
    assert not chain("mesh-multires", volume_path=link, output_path="s3://lab/x")


def test_a_variable_stays_a_variable_in_what_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    written = {
        "operators": [
            {"op": "create-chunk", "size": ["${env:SIZE}", 8, 8]},
            {"op": "save-zarr", "store": "${env:OUT}/em.zarr", "shape": [4, 8, 8]},
            {"op": "save-h5", "file_name": "${env:OUT}/cut_"},
            {"op": "skip-none", "name": "$1 and $chunk"},
        ]
    }
    monkeypatch.setenv("SIZE", "4")
    digests = set()
    for place in ("/data/a", "/data/b"):
        monkeypatch.setenv("OUT", place)
        made = Pipeline.parse(written)
        assert dict(made.operators[0])["size"] == (4, 8, 8)
        assert dict(made.operators[1])["store"] == f"{place}/em.zarr"
        assert dict(made.operators[2])["file_name"] == f"{place}/cut_"
        assert made.operators[3].name == "$1 and $chunk"
        assert made.dump() == written
        assert Pipeline.of(made.operators, None, "here").digest == made.digest
        digests.add(made.digest)
    assert len(digests) == 1


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUT", raising=False)
    with pytest.raises(ConfigError, match=r"operators.0 \(save-h5\).file_name: .*OUT is not set"):
        Pipeline.parse({"operators": [{"op": "save-h5", "file_name": "${env:OUT}/x"}]})


def test_the_format_in_an_address_is_kept_for_volumes() -> None:
    store = find_operator("save-zarr").model_validate({"store": "n5://s3://lab/em"})
    assert dict(store)["store"] == "s3://lab/em"
    assert dict(store)["driver"] == "n5"
    volume = find_operator("save-precomputed").model_validate(
        {"volume_path": "s3://lab/em|neuroglancer-precomputed:"}
    )
    assert dict(volume)["volume_path"] == "precomputed://s3://lab/em"
