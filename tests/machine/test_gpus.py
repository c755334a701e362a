from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chunkflow_worker.errors import ConfigError
from chunkflow_worker.machine.gpus import Gpu, list_gpus, parse_devices, parse_listing

LISTING = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-8f6a0c11-1111-2222-3333-444455556666)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-9a7b0c11-1111-2222-3333-444455556666)
  MIG 3g.40gb     Device  0: (UUID: MIG-31c2aaaa-1111-2222-3333-444455556666)
  MIG 3g.40gb     Device  1: (UUID: MIG-42d3bbbb-1111-2222-3333-444455556666)
"""
GPUS = parse_listing(LISTING)


def test_the_listing_of_nvidia_smi_is_parsed() -> None:
    assert [(g.number, g.uuid[:8], [i[:8] for i in g.instances]) for g in GPUS] == [
        ("0", "GPU-8f6a", []),
        ("1", "GPU-9a7b", ["MIG-31c2", "MIG-42d3"]),
    ]
    assert parse_listing("No devices found.\n") == []


@pytest.mark.parametrize(
    ("script", "gpus"),
    [(f"cat <<'END'\n{LISTING}END", GPUS), ("exit 9", []), (None, [])],
    ids=["lists", "fails", "missing"],
)
def test_gpus_are_those_that_nvidia_smi_lists(
    script: str | None, gpus: list[Gpu], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if script else str(tmp_path))
    if script:
        program = tmp_path / "nvidia-smi"
        program.write_text(f'#!/bin/sh\n[ "$*" = -L ] || exit 2\n{script}\n')
        program.chmod(0o755)
    assert list_gpus() == gpus


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        ("0", ["0"]),
        ("2, 0 ,11", ["2", "0", "11"]),
        ("GPU-8f6a0c11,MIG-31c2aaaa-1111", ["GPU-8f6a0c11", "MIG-31c2aaaa-1111"]),
        (
            "MIG-GPU-8f6a0c11/1/0,MIG-GPU-8f6a0c11/2/0",
            ["MIG-GPU-8f6a0c11/1/0", "MIG-GPU-8f6a0c11/2/0"],
        ),
    ],
)
def test_devices_are_numbers_or_uuids(text: str, devices: list[str]) -> None:
    assert parse_devices(text, []) == devices


def test_all_selects_every_gpu_and_the_instances_of_a_divided_one() -> None:
    assert parse_devices("all", GPUS) == ["0", *GPUS[1].instances]
    assert parse_devices(" all ", GPUS[:1]) == ["0"]


@pytest.mark.parametrize(
    ("text", "gpus", "faults"),
    [
        ("", [], ["entry 1 of '' is empty"]),
        ("0,,1", [], ["entry 2 of '0,,1' is empty"]),
        ("0,1,", [], ["entry 3 of '0,1,' is empty"]),
        ("0,1,0", [], ["0 is named twice"]),
        ("GPU-8F6A,GPU-8f6a", [], ["GPU-8f6a is named twice"]),
        (
            "-1,01,0x1,1.5",
            [],
            ["'-1' is no device", "'01' is no device", "'0x1' is no device", "'1.5' is no device"],
        ),
        ("all,0", GPUS, ["'all' is no device"]),
        ("gpu0;1", [], ["'gpu0;1' is no device"]),
        ("0,2", GPUS, ["2 is not on this machine"]),
        ("GPU-77", GPUS, ["GPU-77 is not on this machine"]),
        ("0,GPU-8f6a", GPUS, ["GPU-8f6a is named twice"]),
        ("all", [], ["all: nvidia-smi -L lists no GPU here"]),
    ],
)
def test_wrong_devices_are_all_reported_with_a_cure(
    text: str, gpus: list[Gpu], faults: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_devices(text, gpus)
    assert [fault.problem for fault in refused.value.faults] == faults
    assert all(fault.place == "CHUNKFLOW_DEVICES" and fault.cure for fault in refused.value.faults)


@pytest.mark.parametrize("option", [["--devices", "0,0"], ["--devices", ""], []])
def test_run_refuses_wrong_devices_before_it_starts_anything(
    option: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not option:
        monkeypatch.setenv("CHUNKFLOW_DEVICES", "0,0")
    command = [
        sys.executable,
        "-c",
        "from chunkflow_worker.cli.worker import main; main()",
        "run",
        *option,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: settings: CHUNKFLOW_DEVICES: ")
    assert len(done.stderr.splitlines()) == 2, "the fault, and its cure"
