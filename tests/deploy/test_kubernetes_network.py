"""What pods may call, and who may call them: a table of connections, by the rules of Kubernetes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import FOLDER, OVERLAYS, Manifest, render, render_folder
from tests.deploy.network import Place, Pod, may_be_called, may_call

WORKER = Pod({"app.kubernetes.io/name": "worker", "app.kubernetes.io/part-of": "chunkflow"})
PRODUCER = Pod({"app.kubernetes.io/name": "producer", "app.kubernetes.io/part-of": "chunkflow"})
LOCAL_AWS = Pod({"app.kubernetes.io/name": "aws"})

RESOLVER = Place("10.100.3.4", {"k8s-app": "kube-dns"}, "kube-system")
NODE_LOCAL_DNS = Place("169.254.20.10")
NEIGHBOUR = Place("10.100.3.5", {"app.kubernetes.io/name": "worker"})
STRANGER = Place("10.100.3.6", {"app": "web"}, "other")
FALSE_RESOLVER = Place("10.100.3.7", {"k8s-app": "kube-dns"}, "other")
AWS = [Place("52.95.110.1"), Place("3.5.1.2"), Place("2600:1f18::1")]
IDENTITY_AGENT = [Place("169.254.170.23"), Place("fd00:ec2::23")]
METADATA = [Place("169.254.169.254"), Place("fd00:ec2::254"), Place("169.254.170.2")]
CLUSTER = [
    *(Place(a) for a in ("10.0.0.1", "172.20.0.1", "172.31.255.254", "192.168.1.1", "100.64.9.9")),
    *(Place(a) for a in ("fd12:3456::1", "fe80::1")),
    NEIGHBOUR,
    STRANGER,
    FALSE_RESOLVER,
]


def policies(overlay: str) -> list[Manifest]:
    return [m for m in render(overlay) if m["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize("pod", [WORKER, PRODUCER], ids=["worker", "producer"])
def test_pods_call_the_resolver_and_aws_and_nothing_else(pod: Pod) -> None:
    found = policies("aws-gpu-spot")
    for resolver in (RESOLVER, NODE_LOCAL_DNS):
        assert may_call(found, pod, resolver, 53, "UDP")
        assert may_call(found, pod, resolver, 53, "TCP")
        assert not may_call(found, pod, resolver, 443)
    for place in AWS:
        assert may_call(found, pod, place, 443)
        assert not may_call(found, pod, place, 443, "UDP")
        for port in (22, 53, 80, 5000, 8443):
            assert not may_call(found, pod, place, port), (place, port)
        assert not may_call(found, pod, place, 53, "UDP"), "data leaves by DNS, too"
    for place in [*CLUSTER, *METADATA, *IDENTITY_AGENT]:
        for port in (53, 80, 443, 5000, 10250):
            assert not may_call(found, pod, place, port), (place, port)
        assert not may_call(found, pod, place, 53, "UDP"), place


@pytest.mark.parametrize("place", [*AWS, NEIGHBOUR, STRANGER, RESOLVER, *METADATA])
def test_nobody_calls_pods(place: Place) -> None:
    found = policies("aws-gpu-spot")
    for pod in (WORKER, PRODUCER):
        for port in (22, 80, 443, 5000, 8080):
            assert not may_be_called(found, pod, place, port), port


def test_pods_with_pod_identity_also_call_its_agent(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "deploy", ignore=shutil.ignore_patterns("demo"))
    overlay = tmp_path / "deploy" / "kubernetes" / "overlays" / "aws-gpu-spot"
    file = overlay / "kustomization.yaml"
    chosen = yaml.safe_load(file.read_text())
    chosen["components"].append("../../components/pod-identity")
    file.write_text(yaml.safe_dump(chosen))
    found = [m for m in render_folder(overlay) if m["kind"] == "NetworkPolicy"]
    assert {m["metadata"]["namespace"] for m in found} == {"chunkflow"}
    for pod in (WORKER, PRODUCER):
        for agent in IDENTITY_AGENT:
            assert may_call(found, pod, agent, 80)
            assert not may_call(found, pod, agent, 443)
        assert may_call(found, pod, AWS[0], 443)
        for place in [*CLUSTER, *METADATA]:
            for port in (80, 443):
                assert not may_call(found, pod, place, port), place
    assert not any(may_be_called(found, WORKER, agent, 80) for agent in IDENTITY_AGENT)


def test_the_local_overlay_reaches_its_own_aws_and_nothing_else() -> None:
    found = policies("local")
    own = Place("10.100.3.8", LOCAL_AWS.labels)
    foreign = Place("10.100.3.9", LOCAL_AWS.labels, "other")
    for pod in (WORKER, PRODUCER):
        assert may_call(found, pod, own, 5000)
        assert not may_call(found, pod, foreign, 5000)
        assert may_call(found, pod, RESOLVER, 53, "UDP")
        for place in [*AWS, *CLUSTER, *METADATA, *IDENTITY_AGENT]:
            for port in (53, 80, 443):
                assert not may_call(found, pod, place, port), (place, port)
    assert may_be_called(found, LOCAL_AWS, NEIGHBOUR, 5000)
    assert not may_be_called(found, LOCAL_AWS, NEIGHBOUR, 5001)
    assert not may_be_called(found, LOCAL_AWS, STRANGER, 5000)
    assert not may_be_called(found, LOCAL_AWS, Place("192.168.1.1"), 5000)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies_select_every_pod_of_the_namespace(overlay: str) -> None:
    assert [policy["spec"]["podSelector"] for policy in policies(overlay)] == [{}]


def test_the_evaluator_follows_the_rules_of_kubernetes() -> None:
    """From its documentation: no policy allows all, policies add up, peers and ports are and-ed."""

    def policy(**spec: object) -> Manifest:
        return {"spec": {"podSelector": {}, "policyTypes": ["Egress"]} | spec}

    assert may_call([], WORKER, STRANGER, 1), "a pod that no policy selects may do all"
    assert not may_call([policy()], WORKER, STRANGER, 1), "a policy without rules closes all"
    assert may_call([policy(egress=[{}])], WORKER, STRANGER, 1), "an empty rule opens all"
    assert may_be_called([policy()], WORKER, STRANGER, 1), "this way has no policy"
    other = policy(podSelector={"matchLabels": {"app.kubernetes.io/name": "other"}})
    assert may_call([other], WORKER, STRANGER, 1)
    by_port = policy(egress=[{"ports": [{"port": 5, "endPort": 7}]}])
    assert [p for p in range(10) if may_call([by_port], WORKER, STRANGER, p)] == [5, 6, 7]
    by_pod = policy(egress=[{"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]}])
    assert not may_call([by_pod], WORKER, STRANGER, 1), "without a namespace, its own is meant"
    anywhere = policy(egress=[{"to": [{"namespaceSelector": {}}]}])
    assert may_call([anywhere], WORKER, STRANGER, 1)
    assert not may_call([anywhere], WORKER, Place("10.100.3.6"), 1), "an address is no pod"
    assert may_call([by_pod, anywhere], WORKER, STRANGER, 1), "policies add up"
    cut = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}
    block = policy(egress=[{"to": [cut]}])
    assert may_call([block], WORKER, Place("10.2.0.1"), 1)
    assert not may_call([block], WORKER, Place("10.1.0.1"), 1)
    assert not may_call([block], WORKER, Place("fd00::1"), 1)
