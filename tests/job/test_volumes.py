"""What an operator says about its volumes, asked by the producer and by the worker."""

from __future__ import annotations

from typing import Any

import pytest

from chunkflow_worker.job.volumes import Configured, VolumeUse, default_ledger
from chunkflow_worker.pipeline.chain import Pipeline

CHAIN: list[dict[str, Any]] = [
    {"op": "load-precomputed", "volume_path": "mem://image", "mip": 1},
    {"op": "mask", "volume_path": "mem://mask"},
    {
        "op": "inference",
        "framework": "identity",
        "input_patch_size": [4, 4, 4],
        "output_patch_overlap": [1, 1, 1],
        "mask_volume_path": "mem://tissue",
    },
    {"op": "create-info", "volume_path": "mem://out", "block_size": [4, 4, 4]},
    {"op": "save-precomputed", "volume_path": "mem://out/"},
    {"op": "downsample-upload", "volume_path": "mem://out"},
    {"op": "save-h5", "file_name": "x_"},
]


@pytest.mark.parametrize(
    ("operators", "path"),
    [
        ([], None),
        ([{"op": "load-precomputed", "volume_path": "/a"}], None),
        (
            [
                {"op": "save-precomputed", "volume_path": "/a/"},
                {"op": "save-precomputed", "volume_path": "s3://b/c"},
            ],
            "s3://b/c/log",
        ),
        ([{"op": "save-precomputed", "volume_path": "/a/"}, {"op": "save-h5"}], "/a/log"),
        (
            [
                {"op": "load-precomputed", "volume_path": "/a"},
                {"op": "downsample-upload", "volume_path": "/b"},
            ],
            "/b/log",
        ),
        ([{"op": "save-volume", "volume_path": "s3://lab/em.zarr|zarr3:"}], "s3://lab/em.zarr/log"),
        ([{"op": "save-zarr", "store": "n5://s3://lab/em.n5/"}], "s3://lab/em.n5/log"),
    ],
)
def test_the_default_ledger_lies_below_the_last_volume_that_is_saved(
    operators: list[dict[str, Any]], path: str | None
) -> None:
    assert default_ledger(map(Configured.read, operators)) == path


def test_a_worker_and_the_producer_know_the_same_volumes() -> None:
    read = [Configured.read(operator) for operator in CHAIN]
    chain = Pipeline.parse({"operators": CHAIN})
    for operators in (read, chain.configured):
        assert [v for o in operators for v in o.loads()] == [VolumeUse("mem://image", 1)]
        saved = [VolumeUse("mem://out/", 0), VolumeUse("mem://out", None)]
        assert [v for o in operators for v in o.saves()] == saved
        assert default_ledger(operators) == "mem://out/log"
        assert [p for o in operators for p in o.volume_paths()] == [
            "mem://image",
            "mem://mask",
            "mem://tissue",
            "mem://out",
            "mem://out/",
            "mem://out",
        ]
    assert chain.ledger_path == "mem://out/log"


def test_an_operator_that_is_not_installed_says_nothing() -> None:
    unknown = Configured.read({"op": "save-elsewhere", "volume_path": "mem://x"})
    assert not [*unknown.loads(), *unknown.saves(), *unknown.volume_paths()]


@pytest.mark.parametrize("path", [None, "", 3, ["mem://x"]])
def test_a_path_that_is_none_counts_for_nothing(path: Any) -> None:
    """The producer leaves it to the workers to report mistakes."""
    assert not [*Configured.read({"op": "save-precomputed", "volume_path": path}).saves()]


def test_a_mip_that_is_no_number_is_unknown() -> None:
    options = {"op": "save-precomputed", "volume_path": "mem://x", "mip": "fine"}
    assert [*Configured.read(options).saves()] == [VolumeUse("mem://x", None)]


@pytest.mark.parametrize(
    ("operator", "outputs"),
    [
        ({"op": "save-precomputed", "volume_path": "em"}, [("volume_path", "em")]),
        ({"op": "create-info", "volume_path": "file://."}, [("volume_path", "file://.")]),
        ({"op": "save-zarr", "store": "n5://s3://lab/em"}, [("store", "s3://lab/em")]),
        ({"op": "save-h5", "file_name": "cut_"}, [("file_name", "cut_")]),
        ({"op": "save-tif"}, [("file_name", "")]),
        ({"op": "mark-complete", "prefix": "done/"}, [("prefix", "done/")]),
        ({"op": "skip-none", "prefix": None}, []),
        ({"op": "load-precomputed", "volume_path": "em"}, []),
        ({"op": "mesh-multires", "volume_path": "seg", "output_path": "x"}, [("output_path", "x")]),
        ({"op": "mesh-multires", "volume_path": "seg"}, [("volume_path", "seg")]),
    ],
)
def test_paths_to_write_to_are_found(
    operator: dict[str, Any], outputs: list[tuple[str, str]]
) -> None:
    assert [*Configured.read(operator).paths(written=True)] == outputs
