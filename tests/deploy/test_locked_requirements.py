"""deploy/requirements/*.txt fit pyproject.toml, and each package in them has a hash."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

FOLDER = ROOT / "deploy" / "requirements"
IMAGES = {
    "producer": (["core"], []),
    "local-aws": (["core", "local-aws"], ["local"]),
    "worker-cpu": (
        ["core", "worker", "torch-cpu"],
        ["torch", "onnx", "codecs", "files", "zarr", "image", "segmentation"],
    ),
    "worker-gpu": (
        ["core", "worker", "torch-gpu"],
        ["torch", "onnx", "codecs", "files", "zarr", "image", "segmentation"],
    ),
}
"""Of each image the locks that it installs, and the extras of the project that they stand for."""

LINUX = {
    **default_environment(),
    "python_version": "3.11",
    "python_full_version": "3.11.14",
    "sys_platform": "linux",
}
LINUX |= {
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "implementation_name": "cpython",
}


def entries(lock: str) -> list[str]:
    """One per package, its hashes on the same line."""
    return re.sub(r"\s*\\\n\s*", " ", (FOLDER / f"{lock}.txt").read_text()).splitlines()


def pins(lock: str) -> dict[str, str]:
    """Package -> version, as an image takes them: Python 3.11 on Linux."""
    found: dict[str, str] = {}
    for entry in entries(lock):
        requirement = Requirement(entry.split(" --hash=")[0])
        if requirement.marker is None or requirement.marker.evaluate(LINUX):
            (pin,) = requirement.specifier
            assert pin.operator == "==", entry
            assert (
                found.setdefault(canonicalize_name(requirement.name), pin.version) == pin.version
            ), entry
    return found


def wanted(extras: list[str]) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [
        Requirement(r)
        for r in project["dependencies"]
        + [r for e in extras for r in project["optional-dependencies"][e]]
    ]


@pytest.mark.parametrize("lock", sorted(path.stem for path in FOLDER.glob("*.txt")))
def test_every_package_has_hashes(lock: str) -> None:
    assert entries(lock)
    for entry in entries(lock):
        name, *hashes = entry.split(" --hash=")
        assert "==" in name, entry
        assert hashes, f"{name} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", part) for part in hashes), entry


@pytest.mark.parametrize("image", IMAGES)
def test_locks_satisfy_the_project(image: str) -> None:
    locks, extras = IMAGES[image]
    pinned = {name: version for lock in locks for name, version in pins(lock).items()}
    for requirement in wanted(extras):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version, f"{requirement} is in none of {locks}: make lock"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement}, and {version} is locked: make lock"
        )


@pytest.mark.parametrize("image", IMAGES)
def test_no_package_stands_in_two_locks_of_an_image(image: str) -> None:
    names = [name for lock in IMAGES[image][0] for name in pins(lock)]
    assert len(names) == len(set(names))


def test_the_producer_is_light() -> None:
    assert not {"torch", "moto", "onnxruntime", "scipy"} & set(pins("core"))


def test_both_workers_take_the_same_torch() -> None:
    cpu, gpu = pins("torch-cpu")["torch"], pins("torch-gpu")["torch"]
    assert cpu == f"{gpu}+cpu"
    assert f"TORCH ?= torch=={gpu}\n" in (ROOT / "Makefile").read_text(), (
        "the release that the tests run with"
    )


def test_the_images_are_those_of_the_dockerfile() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for image, (locks, _) in IMAGES.items():
        stage = re.search(rf"AS {image}\nCOPY --from=(\S+) ", text)
        assert stage, image
        installs = re.search(rf"AS {stage[1]}\n.*?(-r [^\n]*txt)\n\n", text, re.DOTALL)
        assert installs, stage[1]
        assert installs[1].split(" ")[1::2] == [f"{lock}.txt" for lock in locks]
