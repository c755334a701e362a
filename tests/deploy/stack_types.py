"""The kinds of resources in the stack that the local CloudFormation lacks."""

from __future__ import annotations

import json
from typing import Any

import boto3
from moto.cloudformation import parsing
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel

_NUMBERS = {"Period": int, "EvaluationPeriods": int, "Threshold": float}


class _Alarm(CloudFormationModel):
    """Creates the alarm through the CloudWatch API, which has the same names as the template."""

    __module__ = "tests.cloudwatch"  # moto reads the name of the service from it

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
        properties = dict(cloudformation_json["Properties"])
        if "Metrics" in properties:  # moto leaves the places of AWS::NoValue in lists
            properties["Metrics"] = [one for one in properties["Metrics"] if one is not None]
        for name, kind in _NUMBERS.items():
            if name in properties:
                properties[name] = kind(properties[name])
        cls.put(properties)
        return cls(properties["AlarmName"])

    @classmethod
    def put(cls, properties: dict[str, Any]) -> None:
        boto3.client("cloudwatch").put_metric_alarm(**properties)


class _CompositeAlarm(_Alarm):
    """moto can store and describe composite alarms, but has no request that creates one."""

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


class _Queue(CloudFormationModel):
    """Creates the queue through the SQS API."""

    __module__ = "tests.sqs"

    def __init__(self, url: str):
        self.physical_resource_id = url

    @staticmethod
    def cloudformation_name_type() -> str:
        return "QueueName"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SQS::Queue"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in ("Arn", "QueueName")

    def get_cfn_attribute(self, attribute_name: str) -> str:
        name = self.physical_resource_id.rsplit("/", 1)[1]
        arn = f"arn:aws:sqs:us-east-1:123456789012:{name}"
        return arn if attribute_name == "Arn" else name

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, *_: Any, **__: Any
    ) -> _Queue:
        properties = dict(cloudformation_json["Properties"])
        name = properties.pop("QueueName")
        attributes = {key: _as_text(value) for key, value in properties.items()}
        answer = boto3.client("sqs").create_queue(QueueName=name, Attributes=attributes)
        return cls(answer["QueueUrl"])


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class _QueuePolicy(CloudFormationModel):
    """Gives the queues their policy through the SQS API."""

    __module__ = "tests.sqs"

    def __init__(self, name: str):
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SQS::QueuePolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, *_: Any, **__: Any
    ) -> _QueuePolicy:
        properties = cloudformation_json["Properties"]
        policy = {"Policy": json.dumps(properties["PolicyDocument"])}
        for url in properties["Queues"]:
            boto3.client("sqs").set_queue_attributes(QueueUrl=url, Attributes=policy)
        return cls(resource_name)


def register_missing_types() -> None:
    """Add what it lacks to the local CloudFormation."""
    for model in (_Alarm, _CompositeAlarm, _Queue, _QueuePolicy):
        parsing.get_model_map()[model.cloudformation_type()] = model
        parsing.get_name_type_map()[model.cloudformation_type()] = model.cloudformation_name_type()
