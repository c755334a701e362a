"""What a second pool of workers needs, for example one without GPUs for some stages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import FOLDER, find, render_folder
from tests.deploy.stack import deploy
from tests.deploy.test_aws_stack import scaler
from tests.deploy.test_kubernetes_manifests import VERSIONS, check_schema


def test_a_second_pool_has_its_own_stages_queue_and_scaler(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "deploy", ignore=shutil.ignore_patterns("demo"))
    overlay = tmp_path / "deploy" / "kubernetes" / "overlays" / "aws-gpu-spot"
    file = overlay / "kustomization.yaml"
    chosen = yaml.safe_load(file.read_text())
    chosen["components"].append("../../components/two-pools")
    file.write_text(yaml.safe_dump(chosen))
    found = render_folder(overlay)
    for manifest in found:
        check_schema(manifest, VERSIONS[-1])
    gpu, cpu = (find(found, "Deployment", name) for name in ("worker", "cpu-worker"))
    assert gpu["spec"]["selector"] != cpu["spec"]["selector"]
    (of_gpu,), (of_cpu,) = (
        manifest["spec"]["template"]["spec"]["containers"] for manifest in (gpu, cpu)
    )
    assert "nvidia.com/gpu" in of_gpu["resources"]["requests"]
    assert "nvidia.com/gpu" not in of_cpu["resources"]["requests"]
    assert of_cpu["image"].endswith("-cpu")
    assert {"name": "CHUNKFLOW_STAGES", "value": "masks"} in of_cpu["env"]
    queues = [
        find(found, "ScaledObject", name)["spec"]["triggers"][0]["metadata"]["queueURL"]
        for name in ("worker", "cpu-worker")
    ]
    assert [url.rsplit("/", 1)[1] for url in queues] == ["membranes", "membranes-cpu"]


@pytest.mark.usefixtures("aws")
def test_the_roles_of_a_stack_may_use_the_queue_of_a_second_pool_as_their_own() -> None:
    stack = deploy(PoolQueue="cpu", ScalerRole=scaler())
    pool = deploy(QueueName=f"{stack.queue}-cpu", ScalerRole=scaler())
    for who in ("Worker", "Producer", "Scaler"):
        of_pool = stack.policy(f"{who}PoolPolicy")["Statement"]
        own = [one for one in pool.policy(f"{who}Policy")["Statement"] if "sqs:" in str(one)]
        assert of_pool == own
    assert "WorkerPoolPolicy" not in pool.ids
