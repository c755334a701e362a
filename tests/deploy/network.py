"""Evaluates NetworkPolicies as Kubernetes does: may a pod call an address, or be called?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any, Literal

from tests.deploy.manifests import Manifest

NAMESPACE = "chunkflow"


@dataclass(frozen=True)
class Place:
    """The other end of a connection.

    labels, namespace: of a pod; None for an address outside of the cluster, or of a machine.
    """

    address: str
    labels: dict[str, str] | None = None
    namespace: str = NAMESPACE


@dataclass(frozen=True)
class Pod:
    """A pod of the namespace that the policies are in."""

    labels: dict[str, str] = field(default_factory=dict)


def may_call(
    policies: Iterable[Manifest], pod: Pod, place: Place, port: int, protocol: str = "TCP"
) -> bool:
    """Whether the pod may open a connection to a place."""
    return _allowed(policies, "Egress", pod, place, port, protocol)


def may_be_called(
    policies: Iterable[Manifest], pod: Pod, place: Place, port: int, protocol: str = "TCP"
) -> bool:
    """Whether the place may open a connection to the pod."""
    return _allowed(policies, "Ingress", pod, place, port, protocol)


def _allowed(
    policies: Iterable[Manifest],
    way: Literal["Egress", "Ingress"],
    pod: Pod,
    place: Place,
    port: int,
    protocol: str,
) -> bool:
    """A pod that a policy selects may do what at least one of its policies allows."""
    specs = [policy["spec"] for policy in policies]
    selecting = [
        spec
        for spec in specs
        if way in spec["policyTypes"] and _selects(spec["podSelector"], pod.labels)
    ]
    if not selecting:
        return True
    rules = [rule for spec in selecting for rule in spec.get(way.lower(), [])]
    peers = "to" if way == "Egress" else "from"
    return any(
        _any_port(rule.get("ports"), port, protocol) and _any_peer(rule.get(peers), place)
        for rule in rules
    )


def _any_port(ports: list[dict[str, Any]] | None, port: int, protocol: str) -> bool:
    return not ports or any(
        each.get("protocol", "TCP") == protocol
        and each.get("port", port) <= port <= each.get("endPort", each.get("port", port))
        for each in ports
    )


def _any_peer(peers: list[dict[str, Any]] | None, place: Place) -> bool:
    return not peers or any(_matches(peer, place) for peer in peers)


def _matches(peer: dict[str, Any], place: Place) -> bool:
    if "ipBlock" in peer:
        address, block = ip_address(place.address), peer["ipBlock"]
        return address in ip_network(block["cidr"]) and not any(
            address in ip_network(cidr) for cidr in block.get("except", [])
        )
    if place.labels is None:
        return False
    if "namespaceSelector" in peer:
        namespace = {"kubernetes.io/metadata.name": place.namespace}
        is_there = _selects(peer["namespaceSelector"], namespace)
    else:
        is_there = place.namespace == NAMESPACE
    return is_there and _selects(peer.get("podSelector", {}), place.labels)


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "no manifest here uses expressions"
    return selector.get("matchLabels", {}).items() <= labels.items()
