"""`zone`: where in the cloud this machine is."""

from __future__ import annotations

import re

from chunkflow_worker.machine.gce import GoogleMetadata
from chunkflow_worker.machine.spot import Ec2Metadata, NoMetadata

_ZONE = re.compile(r"[a-z0-9-]{1,60}")


def zone(timeout: float = 1.0) -> str:
    """The availability zone, for example us-east-1a; empty where no metadata service tells it.

    timeout: seconds to wait for each answer.
    """
    found = _zone_of_ec2(timeout) or _zone_of_google(timeout)
    return found if _ZONE.fullmatch(found) else ""


def _zone_of_ec2(timeout: float) -> str:
    service = Ec2Metadata(timeout)
    try:
        service.renew_token()
        status, text = service.get("meta-data/placement/availability-zone")
    except NoMetadata:
        return ""
    return text.strip() if status == 200 else ""


def _zone_of_google(timeout: float) -> str:
    """Google tells a path: projects/1234/zones/us-east1-b."""
    return GoogleMetadata(timeout).get("zone").rpartition("/")[2]
