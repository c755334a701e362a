"""The spot machines of the stack. Their script is run here, with doubles of docker and aws."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.deploy.stack import TEMPLATE, deploy

REGISTRY = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
VALUES = {
    "AWS::Region": "us-east-1",
    "QueueName": "cells",
    "WorkerImage": f"{REGISTRY}/cells:1",
    "WorkerPipeline": "/job/p.yaml",
    "MetricsNamespace": "mine",
    "Ledger": "s3://out/log",
}
DOUBLE = """#!/bin/bash
echo "$(basename "$0") $*" >>"{log}"
case "$(basename "$0") $*" in
    *"-X PUT"*) echo token ;;
    *target-lifecycle-state*)
        if [[ -e "{log}.ending" ]]; then echo Terminated; else echo InService; fi
        touch "{log}.ending" ;;
    *instance-id) echo i-1 ;;
    "aws ecr"*) echo password ;;
    "docker login"*) cat >/dev/null ;;
    systemd-run*) bash "{folder}/chunkflow-drain" ;;
esac
"""


class _Loader(yaml.SafeLoader):
    """Keeps the functions of CloudFormation as mappings."""


def _function(loader: yaml.SafeLoader, name: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    raise TypeError(f"{node} is no value of a function")


_Loader.add_multi_constructor("!", _function)


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    template = yaml.load(TEMPLATE.read_text(), _Loader)
    found: dict[str, Any] = template["Resources"]
    return found


@pytest.fixture
def script(resources: dict[str, Any], tmp_path: Path) -> str:
    """The user data of a machine, which writes to a folder of the test."""
    data = resources["Machine"]["Properties"]["LaunchTemplateData"]
    text = data["UserData"]["Fn::Base64"]["Sub"][0]
    text = re.sub(r"\$\{([^!}][^}]*)\}", lambda found: VALUES[found[1]], text)
    filled = text.replace("${!", "${").replace("/usr/local/bin", str(tmp_path))
    assert isinstance(filled, str)
    return filled.replace("sleep 5", "sleep 0.1")


def test_a_machine_runs_the_worker_and_drains_it_at_its_end(script: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in ("docker", "aws", "curl", "systemctl", "systemd-run", "nvidia-smi"):
        (tmp_path / name).write_text(DOUBLE.format(log=log, folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    subprocess.run(["bash", "-c", script], env={"PATH": path}, check=True, timeout=60)
    lines = log.read_text().splitlines()
    asked = [n for n, line in enumerate(lines) if "target-lifecycle-state" in line]
    stopped = lines.index("docker stop --time 105 worker")
    assert len(asked) == 2, "it is stopped when the state says so"
    assert asked[-1] < stopped
    completed = (
        "aws autoscaling complete-lifecycle-action --region us-east-1 "
        "--auto-scaling-group-name cells-workers --lifecycle-hook-name drain --instance-id i-1 "
        "--lifecycle-action-result CONTINUE"
    )
    assert lines.index(completed) > stopped
    assert f"docker login --username AWS --password-stdin {REGISTRY}" in lines
    assert "aws ecr get-login-password --region eu-west-1" in lines
    (started,) = [line for line in lines if line.startswith("docker run")]
    assert f"{REGISTRY}/cells:1 run --queue cells --pipeline /job/p.yaml" in started
    for words in (
        "--gpus all --env CHUNKFLOW_DEVICES=all",
        "--read-only --tmpfs /tmp",
        "--env CHUNKFLOW_LEDGER=s3://out/log",
    ):
        assert words in started


def test_the_script_is_free_of_known_mistakes(script: str, tmp_path: Path) -> None:
    (tmp_path / "user-data").write_text(script)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, tmp_path / "user-data"], check=True)


def test_the_hook_waits_longer_than_the_worker_drains(resources: dict[str, Any]) -> None:
    group = resources["Machines"]["Properties"]
    (hook,) = group["LifecycleHookSpecificationList"]
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert hook["HeartbeatTimeout"] >= 105 + 60
    assert group["MinSize"] == "0"
    spread = group["MixedInstancesPolicy"]["InstancesDistribution"]
    assert spread["OnDemandPercentageAboveBaseCapacity"] == 0
    assert len(group["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"]) == 3
    options = resources["Machine"]["Properties"]["LaunchTemplateData"]["MetadataOptions"]
    assert options == {"HttpTokens": "required", "HttpPutResponseHopLimit": 2}


def _with_one_queue(part: Any) -> Any:
    """A part of the template as it is without a queue for high priority."""
    if isinstance(part, list):
        return [_with_one_queue(one) for one in part if one.get("If", [""])[0] != "HasHigh"]
    if "If" in part and part["If"][0] == "HasHigh":
        return part["If"][2]
    return {name: _with_one_queue(v) if isinstance(v, dict) else v for name, v in part.items()}


def test_the_group_follows_the_queue(resources: dict[str, Any]) -> None:
    tracking = resources["FollowTheQueue"]["Properties"]["TargetTrackingConfiguration"]
    specified = _with_one_queue(tracking["CustomizedMetricSpecification"]["Metrics"])
    metrics = {m["Id"]: m for m in specified}
    assert metrics["share"]["Expression"] == "(waiting + inflight) / MAX([machines, 1])"
    wake = {m["Id"]: m for m in _with_one_queue(resources["WakeAlarm"]["Properties"]["Metrics"])}
    names = {
        m["MetricStat"]["Metric"]["MetricName"]
        for m in (*metrics.values(), *wake.values())
        if "MetricStat" in m
    }
    collected = resources["Machines"]["Properties"]["MetricsCollection"][0]["Metrics"]
    assert names - {f"ApproximateNumberOfMessages{k}" for k in ("Visible", "NotVisible")} == set(
        collected
    )
    assert resources["WakeAlarm"]["Properties"]["AlarmActions"] == [{"Ref": "FirstMachine"}]


@pytest.mark.usefixtures("aws")
def test_there_are_no_machines_without_an_image() -> None:
    stack = deploy()
    assert not {"Machine", "Machines", "MachinePolicy", "WakeAlarm"} & stack.ids.keys()
    assert "MachinesName" not in stack.values


@pytest.mark.usefixtures("aws")
def test_messages_may_be_encrypted_with_your_own_key() -> None:
    stack = deploy(QueueKey=KEY)
    (statement,) = stack.policy("QueueKeyPolicy")["Statement"]
    assert (statement["Action"], statement["Resource"]) == (
        ["kms:Decrypt", "kms:GenerateDataKey"],
        KEY,
    )
    assert statement["Condition"] == {
        "StringEquals": {"kms:ViaService": "sqs.us-east-1.amazonaws.com"}
    }
    for url in (stack.values["QueueUrl"], stack.values["DeadLettersUrl"]):
        found = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        assert found["Attributes"]["KmsMasterKeyId"] == KEY
    assert "QueueKeyPolicy" not in deploy().ids


@pytest.mark.parametrize("name", ["Queue", "DeadLetters"])
def test_a_queue_has_one_kind_of_encryption(name: str, resources: dict[str, Any]) -> None:
    """SQS refuses both."""
    nothing = {"Ref": "AWS::NoValue"}
    properties = resources[name]["Properties"]
    assert properties["SqsManagedSseEnabled"] == {"If": ["HasQueueKey", nothing, True]}
    assert properties["KmsMasterKeyId"] == {"If": ["HasQueueKey", {"Ref": "QueueKey"}, nothing]}
