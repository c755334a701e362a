"""`bill_of_materials`: the packages of an image, as CycloneDX 1.6 in JSON."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.image_records.content import Content

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def bill_of_materials(content: Content, locks: Iterable[Path]) -> dict[str, Any]:
    """The bill of an image.

    locks: the requirements files that its packages were installed from. Each package has the
    hashes that they allow; pip installed the one that fits the platform.
    """
    hashes = _hashes(locks)
    name, _, version = content.name.rpartition(":")
    components = [_debian(content.system, *package) for package in content.debian] + [
        _python(hashes, *package) for package in content.python
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": content.created,
            "component": {
                "type": "container",
                "bom-ref": f"image:{content.digest}",
                "name": name,
                "version": version,
                "hashes": [{"alg": "SHA-256", "content": content.digest}],
            },
        },
        "components": [
            {
                "type": "operating-system",
                "bom-ref": "system",
                "name": content.system[0],
                "version": content.system[1],
            },
            {
                "type": "application",
                "bom-ref": "python",
                "name": "python",
                "version": content.interpreter,
                "purl": f"pkg:generic/python@{content.interpreter}",
            },
            *components,
        ],
    }


def _python(
    hashes: dict[tuple[str, str], list[str]], name: str, version: str, license_text: str
) -> dict[str, Any]:
    normal = _normal(name)
    purl = f"pkg:pypi/{normal}@{quote(version)}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }
    if license_text:
        component["licenses"] = [{"expression": license_text}]
    if allowed := hashes.get((normal, version)):
        component["externalReferences"] = [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{normal}/{quote(version)}/",
                "comment": "the files that the lock allows; one of them is installed",
                "hashes": [{"alg": "SHA-256", "content": each} for each in allowed],
            }
        ]
    return component


def _debian(system: tuple[str, str], name: str, version: str, architecture: str) -> dict[str, Any]:
    distribution = "-".join(system)
    place = f"pkg:deb/{system[0]}/{quote(name)}@{quote(version, safe='')}"
    purl = f"{place}?arch={architecture}&distro={distribution}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _hashes(locks: Iterable[Path]) -> dict[tuple[str, str], list[str]]:
    """Name and version -> the hashes that the locks allow."""
    found: dict[tuple[str, str], list[str]] = {}
    for lock in locks:
        for entry in re.sub(r"\s*\\\n\s*", " ", lock.read_text()).splitlines():
            if pin := _PIN.match(entry):
                found.setdefault((_normal(pin[1]), pin[2]), []).extend(_HASH.findall(entry))
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
