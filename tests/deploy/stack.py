"""deploy/aws in the local AWS, whose CloudFormation is taught the two kinds of alarm that it does not know."""

from __future__ import annotations

import json
import uuid
from typing import Any

import boto3
from moto.cloudformation import parsing
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel

from tests.support.paths import ROOT

TEMPLATE = ROOT / "deploy" / "aws" / "chunkflow.yaml"
_NUMBERS = ("Period", "EvaluationPeriods")


class Stack:
    """A stack that was made. queue: its name; values: its outputs; ids: of its resources, by their names in the template."""

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
        body = boto3.client("cloudwatch").get_dashboard(DashboardName=self.values["DashboardName"])[
            "DashboardBody"
        ]
        found: dict[str, Any] = json.loads(body)
        return found

    def alarm(self, name: str) -> dict[str, Any]:
        answer = boto3.client("cloudwatch").describe_alarms(AlarmNames=[self.ids[name]])
        (alarm,) = answer["MetricAlarms"] + answer["CompositeAlarms"]
        return dict(alarm)

    def policy(self, name: str) -> dict[str, Any]:
        """A policy's document."""
        version = boto3.client("iam").get_policy_version(PolicyArn=self.ids[name], VersionId="v1")
        return dict(version["PolicyVersion"]["Document"])


def deploy(**parameters: Any) -> Stack:
    """The template as a stack of the local AWS, with names of its own unless told otherwise."""
    _teach()
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
            {"ParameterKey": k, "ParameterValue": str(v)} for k, v in (given | parameters).items()
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    return Stack(name)


class _Alarm(CloudFormationModel):
    """Puts the properties, resolved, to CloudWatch's own interface, whose names and types they bear."""

    __module__ = "tests.cloudwatch"  # moto takes the name of the service from there

    def __init__(self, name: str):
        self.name = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return "AlarmName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CloudWatch::Alarm"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:{self.name}"

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, *_: Any, **__: Any
    ) -> _Alarm:
        properties = cloudformation_json["Properties"]
        cls.put(
            {
                k: float(v) if k == "Threshold" else int(v) if k in _NUMBERS else v
                for k, v in properties.items()
            }
        )
        return cls(properties["AlarmName"])

    @classmethod
    def put(cls, properties: dict[str, Any]) -> None:
        boto3.client("cloudwatch").put_metric_alarm(**properties)


class _CompositeAlarm(_Alarm):
    """moto can keep and tell such alarms, and does not take the request to put one."""

    __module__ = _Alarm.__module__

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::CloudWatch::CompositeAlarm"

    @classmethod
    def put(cls, properties: dict[str, Any]) -> None:
        backend = cloudwatch_backends["123456789012"]["us-east-1"]
        unused = (
            "namespace",
            "metric_name",
            "comparison_operator",
            "evaluation_periods",
            "period",
            "threshold",
            "statistic",
        )
        backend.put_metric_alarm(
            name=properties["AlarmName"],
            description=properties["AlarmDescription"],
            rule=properties["AlarmRule"],
            alarm_actions=properties.get("AlarmActions", []),
            dimensions=[],
            **dict.fromkeys(unused),
        )


def _teach() -> None:
    """Let the local CloudFormation know the alarms."""
    for model in (_Alarm, _CompositeAlarm):
        parsing.get_model_map()[model.cloudformation_type()] = model
        parsing.get_name_type_map()[model.cloudformation_type()] = model.cloudformation_name_type()
