"""The stack of deploy/aws in the local AWS, which is extended by what it lacks."""

from __future__ import annotations

import json
import uuid
from typing import Any

import boto3

from tests.support.paths import ROOT

TEMPLATE = ROOT / "deploy" / "aws" / "chunkflow.yaml"


class Stack:
    """A stack that was created.

    queue: name of its queue.
    values: its outputs.
    ids: physical ids of its resources, by their names in the template.
    """

    def __init__(self, name: str):
        client = boto3.client("cloudformation")
        (made,) = client.describe_stacks(StackName=name)["Stacks"]
        assert made["StackStatus"] == "CREATE_COMPLETE"
        self.queue = next(
            p["ParameterValue"] for p in made["Parameters"] if p["ParameterKey"] == "QueueName"
        )
        self.values = {o["OutputKey"]: o["OutputValue"] for o in made["Outputs"]}
        resources = client.list_stack_resources(StackName=name)["StackResourceSummaries"]
        self.ids = {r["LogicalResourceId"]: r["PhysicalResourceId"] for r in resources}

    def dashboard(self) -> dict[str, Any]:
        cloudwatch = boto3.client("cloudwatch")
        answer = cloudwatch.get_dashboard(DashboardName=self.values["DashboardName"])
        found: dict[str, Any] = json.loads(answer["DashboardBody"])
        return found

    def alarm(self, name: str) -> dict[str, Any]:
        answer = boto3.client("cloudwatch").describe_alarms(AlarmNames=[self.ids[name]])
        (alarm,) = answer["MetricAlarms"] + answer["CompositeAlarms"]
        return dict(alarm)

    def policy(self, name: str) -> dict[str, Any]:
        """Return the document of a policy."""
        version = boto3.client("iam").get_policy_version(PolicyArn=self.ids[name], VersionId="v1")
        return dict(version["PolicyVersion"]["Document"])


def deploy(**parameters: Any) -> Stack:
    """Create the template as a stack in the local AWS. The queue gets a new name by default."""
    # Which loads the machine types of EC2, and takes seconds.
    from tests.deploy.stack_types import register_missing_types

    register_missing_types()
    name = f"s-{uuid.uuid4().hex[:8]}"
    given = {
        "QueueName": name,
        "InputBucket": "in",
        "InputPrefix": "em",
        "OutputBucket": "out",
        "OutputPrefix": "membranes",
    }
    boto3.client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=TEMPLATE.read_text(),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": str(value)}
            for key, value in (given | parameters).items()
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    return Stack(name)
