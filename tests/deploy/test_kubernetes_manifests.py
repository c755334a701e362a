"""The manifests fit the schemas of Kubernetes and KEDA, and are secure."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from tests.deploy.manifests import (
    FOLDER,
    OVERLAYS,
    Manifest,
    containers,
    environment,
    find,
    memory,
    pods,
    render,
)

VERSIONS = ("1.30", "1.33", kubernetes_validate.latest_version())
# Seconds for the last poll, for giving tasks back and for the last metrics: see docs/settings.md.
GRACE_MARGIN = 15
# The parameters of the scaler aws-sqs-queue: KEDA documents them, but its schema does not.
SQS_SCALER = {
    "queueURL",
    "queueURLFromEnv",
    "queueLength",
    "activationQueueLength",
    "awsRegion",
    "awsEndpoint",
    "scaleOnInFlight",
    "scaleOnDelayed",
}

overlays = pytest.mark.parametrize("overlay", OVERLAYS)


@cache
def keda_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of KEDA's own definition, without additional properties."""
    from cloudcoil.models.keda import v1alpha1

    schema: dict[str, Any] = getattr(v1alpha1, kind).model_json_schema(by_alias=True)
    for model in (schema, *schema["$defs"].values()):
        if "properties" in model:
            model["additionalProperties"] = False
    return schema


def check_schema(manifest: Manifest, version: str) -> None:
    if manifest["apiVersion"].startswith("keda.sh/"):
        jsonschema.validate(manifest, keda_schema(manifest["kind"]))
    else:
        kubernetes_validate.validate(manifest, version, strict=True)


@overlays
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_its_schema(overlay: str, version: str) -> None:
    for manifest in render(overlay):
        check_schema(manifest, version)


def test_the_schemas_refuse_what_they_do_not_know() -> None:
    for kind, name in (
        ("Deployment", "worker"),
        ("ScaledObject", "worker"),
        ("TriggerAuthentication", "aws"),
    ):
        manifest = find(render("aws-gpu-spot"), kind, name)
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            check_schema(manifest | {"spec": manifest["spec"] | {"sidecar": 1}}, VERSIONS[-1])


@overlays
def test_pods_are_not_root_and_have_no_privileges(overlay: str) -> None:
    manifests = render(overlay)
    for name, pod in pods(manifests).items():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")), name
        assert all(set(volume) & {"configMap", "emptyDir"} for volume in pod["volumes"]), name
        assert all(
            "sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume
        ), name
    for name, container in containers(manifests).items():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]], name
    (namespace,) = [m for m in manifests if m["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@overlays
def test_images_have_the_version_of_the_project(overlay: str) -> None:
    version = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]["version"]
    for name, container in containers(render(overlay)).items():
        image, _, tag = container["image"].rpartition(":")
        assert image.rsplit("/", 1)[-1] in (
            "chunkflow-worker",
            "chunkflow-producer",
            "chunkflow-local-aws",
        ), name
        kinds = ("-cpu", "-gpu") if image.endswith("worker") else ("",)
        assert tag in [version + kind for kind in kinds], name


@overlays
def test_memory_is_requested_and_limited_alike(overlay: str) -> None:
    for name, container in containers(render(overlay)).items():
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"], name
        assert resources["requests"]["cpu"], name


@overlays
def test_services_have_probes_and_a_worker_those_of_its_health(overlay: str) -> None:
    manifests = render(overlay)
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
    worker = containers(manifests)["worker/worker"]
    for probe, option in (
        ("startupProbe", "--ready"),
        ("livenessProbe", "--live"),
        ("readinessProbe", "--ready"),
    ):
        assert worker[probe]["exec"]["command"] == ["chunkflow-worker", "health", option]


@overlays
def test_a_pod_lives_as_long_as_its_worker_drains(overlay: str) -> None:
    manifests = render(overlay)
    variables = environment(manifests, containers(manifests)["worker/worker"])
    grace = float(variables["CHUNKFLOW_GRACE_SECONDS"])
    assert pods(manifests)["worker"]["terminationGracePeriodSeconds"] == grace + GRACE_MARGIN


def test_on_spot_machines_the_drain_ends_before_the_machine() -> None:
    manifests = render("aws-gpu-spot")
    pod = pods(manifests)["worker"]
    # The notice is two minutes, and is seen with some delay.
    assert pod["terminationGracePeriodSeconds"] <= 120 - 10
    (worker,) = pod["containers"]
    for kind in ("limits", "requests"):
        assert worker["resources"][kind]["nvidia.com/gpu"] == "1"
    assert pod["nodeSelector"]["karpenter.sh/capacity-type"] == "spot"
    tolerated = {toleration["key"] for toleration in pod["tolerations"]}
    assert tolerated == {"nvidia.com/gpu", "spot"}


def test_the_scaler_counts_messages_at_work_and_removes_no_pod_while_there_are_any() -> None:
    manifests = render("aws-gpu-spot")
    settings = find(manifests, "ConfigMap", "chunkflow-settings")["data"]
    scaled = find(manifests, "ScaledObject", "worker")["spec"]
    (trigger,) = scaled["triggers"]
    assert trigger["type"] == "aws-sqs-queue"
    assert set(trigger["metadata"]) <= SQS_SCALER
    assert trigger["metadata"]["scaleOnInFlight"] == "true"
    assert trigger["metadata"]["queueLength"] == settings["CHUNKFLOW_IN_FLIGHT"]
    region, queue = settings["AWS_REGION"], settings["CHUNKFLOW_QUEUE"]
    assert trigger["metadata"]["awsRegion"] == region
    assert re.fullmatch(
        rf"https://sqs\.{region}\.amazonaws\.com/\d{{12}}/{queue}", trigger["metadata"]["queueURL"]
    )
    assert scaled["minReplicaCount"] == 0
    assert scaled["cooldownPeriod"] >= 300
    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleDown"] == {"selectPolicy": "Disabled"}
    assert scaled["scaleTargetRef"] == {"name": "worker"}
    login = find(manifests, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert login["spec"]["podIdentity"]["provider"] == "aws"
    # With `replicas`, applying the manifest again would reset the number that KEDA set.
    assert "replicas" not in find(manifests, "Deployment", "worker")["spec"]


def test_worker_and_producer_have_roles_of_their_own() -> None:
    manifests = render("aws-gpu-spot")
    roles = set()
    for name, pod in (("worker", "worker"), ("producer", "enqueue")):
        account = find(manifests, "ServiceAccount", name)
        assert pods(manifests)[pod]["serviceAccountName"] == name
        roles.add(account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"])
    assert len(roles) == 2
    stack = (FOLDER / "aws" / "chunkflow.yaml").read_text()
    for name in ("worker", "producer"):
        assert f'"system:serviceaccount:${{KubernetesNamespace}}:{name}"' in stack


@overlays
def test_nothing_enqueues_by_itself(overlay: str) -> None:
    cron = find(render(overlay), "CronJob", "enqueue")["spec"]
    assert cron["suspend"] is True
    job = cron["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["template"]["spec"]["restartPolicy"]) == (0, "Never")


@overlays
def test_the_budget_covers_the_workers(overlay: str) -> None:
    manifests = render(overlay)
    budget = find(manifests, "PodDisruptionBudget", "worker")["spec"]
    labels = find(manifests, "Deployment", "worker")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert budget["maxUnavailable"] == "25%", (
        "a percentage is rounded up, so one pod may be evicted"
    )


def test_the_local_overlay_s_settings_lead_to_its_own_aws() -> None:
    manifests = render("local")
    (port,) = find(manifests, "Service", "aws")["spec"]["ports"]
    settings = find(manifests, "ConfigMap", "chunkflow-settings")["data"]
    assert settings["AWS_ENDPOINT_URL"] == f"http://aws:{port['port']}"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_mounted_config_maps_exist(overlay: str) -> None:
    manifests = render(overlay)
    maps = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    for pod in pods(manifests).values():
        assert {v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v} <= set(maps)
    for name in ("worker/worker", "enqueue/producer"):
        variables = environment(manifests, containers(manifests)[name])
        assert variables["CHUNKFLOW_PIPELINE"] == "/etc/chunkflow/pipeline.yaml"
        mounts = containers(manifests)[name]["volumeMounts"]
        assert "/etc/chunkflow" in [mount["mountPath"] for mount in mounts]
    shipped = (FOLDER / "pipelines" / "membranes.yaml").read_text()
    if overlay == "aws-gpu-spot":
        pipeline = find(manifests, "ConfigMap", "chunkflow-pipeline")["data"]["pipeline.yaml"]
        assert pipeline == shipped


def test_quantities_are_read() -> None:
    assert memory("2Gi") == 2 * 1024**3
