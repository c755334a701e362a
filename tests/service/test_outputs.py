from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.errors import ConfigError
from chunkflow_worker.job.stage import PLAIN, Stage
from chunkflow_worker.pipeline.chain import Pipeline
from chunkflow_worker.service.outputs import refuse_lost_outputs


def chain(*operators: dict[str, Any], stage: Stage = PLAIN) -> list[tuple[Stage, Pipeline]]:
    return [(stage, Pipeline.parse({"operators": [{"op": "create-chunk"}, *operators]}))]


RELATIVE = [
    {"op": "save-precomputed", "volume_path": "em"},
    {"op": "save-zarr", "store": "file://em.zarr"},
    {"op": "save-tif"},
]


def test_all_relative_outputs_are_refused_at_once() -> None:
    settings = Settings(pipeline=Path("p.yaml"), ledger="log")
    with pytest.raises(ConfigError) as refused:
        refuse_lost_outputs(settings, chain(*RELATIVE))
    assert refused.value.subject == "p.yaml"
    assert [(fault.place, fault.problem.partition(" is")[0]) for fault in refused.value.faults] == [
        ("CHUNKFLOW_LEDGER", "'log'"),
        ("operators.1 (save-precomputed).volume_path", "'em'"),
        ("operators.2 (save-zarr).store", "'file://em.zarr'"),
        ("operators.3 (save-tif).file_name", "'./'"),
    ]
    assert all("CHUNKFLOW_SHARED_DISK=true" in fault.cure for fault in refused.value.faults)


def test_those_of_all_stages_are_told_with_their_place_in_the_file() -> None:
    stages = [Stage(name, [], place=f"stages.{i} ({name})") for i, name in enumerate(("a", "b"))]
    chains = [one for stage in stages for one in chain(RELATIVE[0], stage=stage)]
    with pytest.raises(ConfigError) as refused:
        refuse_lost_outputs(Settings(pipeline=Path("p.yaml"), ledger="log"), chains)
    place = "operators.1 (save-precomputed).volume_path"
    assert [fault.place for fault in refused.value.faults] == [
        "CHUNKFLOW_LEDGER", f"stages.0 (a).{place}", f"stages.1 (b).{place}"
    ]  # fmt: skip


def test_a_shared_disk_allows_them() -> None:
    refuse_lost_outputs(Settings(shared_disk=True, ledger="log"), chain(*RELATIVE))


def test_absolute_paths_and_buckets_are_taken() -> None:
    chain_of_places = chain(
        {"op": "save-precomputed", "volume_path": "/data/em"},
        {"op": "save-h5", "file_name": "/data/cut_"},
        {"op": "save-zarr", "store": "s3://lab/em.zarr"},
    )
    refuse_lost_outputs(Settings(ledger="s3://lab/log"), chain_of_places)


IN_MEMORY = [
    {"op": "save-precomputed", "volume_path": "mem://em"},
    {"op": "save-zarr", "store": "mem://em.zarr"},
    {"op": "mesh", "output_path": "mem://meshes"},
    {"op": "mark-complete", "prefix": "mem://done/"},
]


@pytest.mark.parametrize("shared_disk", [True, False])
def test_outputs_in_memory_are_refused_on_any_disk(shared_disk: bool) -> None:
    settings = Settings(shared_disk=shared_disk, ledger="mem://log")
    with pytest.raises(ConfigError) as refused:
        refuse_lost_outputs(settings, chain(*IN_MEMORY))
    found = [fault.problem.partition(" is lost")[0] for fault in refused.value.faults]
    places = ["mem://log", "mem://em", "mem://em.zarr", "mem://meshes", "mem://done/"]
    assert found == [repr(place) for place in places]


def test_memory_that_the_chain_reads_again_is_taken() -> None:
    scratch = {"op": "save-zarr", "store": "mem://x"}, {"op": "load-zarr", "store": "mem://x"}
    refuse_lost_outputs(Settings(ledger="s3://lab/log"), chain(*scratch))
