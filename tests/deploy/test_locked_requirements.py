"""The locks in deploy/requirements fit pyproject.toml, and each package in them has a hash."""

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
    "producer": (["core", "producer"], ["archive", "page", "report", "simulate"]),
    "local-aws": (["core", "local-aws"], ["local"]),
    "worker-cpu": (
        ["core", "worker", "torch-cpu"],
        [
            *("torch", "onnx", "openvino", "codecs", "files", "image", "prometheus"),
            *("opentelemetry", "segmentation"),
        ],
    ),
    "worker-gpu": (
        ["core", "worker", "torch-gpu"],
        [
            *("torch", "onnx", "codecs", "files", "image", "prometheus"),
            *("opentelemetry", "segmentation"),
        ],
    ),
}
"""The locks that each image installs, and the extras of the project that they cover."""

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
    """Return one line per package, with its hashes."""
    return re.sub(r"\s*\\\n\s*", " ", (FOLDER / f"{lock}.txt").read_text()).splitlines()


def pins(lock: str) -> dict[str, str]:
    """Return package -> version, as an image installs them: for Python 3.11 on Linux."""
    found: dict[str, str] = {}
    for entry in entries(lock):
        requirement = Requirement(entry.split(" --hash=")[0])
        if requirement.marker is None or requirement.marker.evaluate(LINUX):
            (pin,) = requirement.specifier
            assert pin.operator == "==", entry
            name = canonicalize_name(requirement.name)
            assert found.setdefault(name, pin.version) == pin.version, entry
    return found


def wanted(extras: list[str]) -> list[Requirement]:
    """Return the requirements of the project with these extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [Requirement(line) for line in lines]


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
        assert version, f"{requirement} is in none of {locks}: run make lock"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"the lock has {version}, but pyproject.toml has {requirement}: run make lock"
        )


@pytest.mark.parametrize("image", IMAGES)
def test_no_package_is_in_two_locks_of_an_image(image: str) -> None:
    names = [name for lock in IMAGES[image][0] for name in pins(lock)]
    assert names
    assert len(names) == len(set(names))


def test_the_producer_is_light() -> None:
    assert not {"torch", "moto", "onnxruntime", "scipy"} & set(pins("core") | pins("producer"))


def test_both_workers_have_the_same_torch() -> None:
    cpu, gpu = pins("torch-cpu")["torch"], pins("torch-gpu")["torch"]
    assert cpu == f"{gpu}+cpu"
    makefile = (ROOT / "Makefile").read_text()
    assert f"TORCH ?= torch=={gpu}\n" in makefile, "the tests run with the same release"


def test_the_images_are_those_of_the_dockerfile() -> None:
    text = (ROOT / "Dockerfile").read_text()
    for image, (locks, _) in IMAGES.items():
        stage = re.search(rf"AS {image}\nCOPY --from=(\S+) ", text)
        assert stage, image
        installs = re.search(rf"AS {stage[1]}\n.*?(-r [^\n]*txt)\n\n", text, re.DOTALL)
        assert installs, stage[1]
        assert installs[1].split(" ")[1::2] == [f"{lock}.txt" for lock in locks]
