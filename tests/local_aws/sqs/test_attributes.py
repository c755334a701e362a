from __future__ import annotations

import json

import pytest

from chunkflow_worker.local_aws.sqs.attributes import check_attributes, redrive_policy
from chunkflow_worker.local_aws.sqs.refused import Refused


@pytest.mark.parametrize("count", [3, "3"])
def test_the_number_of_a_redrive_policy_may_be_in_quotes(count: object) -> None:
    policy = json.dumps({"deadLetterTargetArn": "arn", "maxReceiveCount": count})
    assert redrive_policy({"RedrivePolicy": policy}) == ("arn", 3)
    assert redrive_policy({"RedrivePolicy": ""}) is None
    assert redrive_policy({}) is None


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ({"VisibilityTimeout": "-1"}, "VisibilityTimeout: -1.*must be 0 to 43200"),
        ({"MessageRetentionPeriod": "59"}, "must be 60 to 1209600"),
        ({"DelaySeconds": "1.5"}, "must be 0 to 900"),
        ({"RedrivePolicy": "{"}, "not JSON"),
        ({"RedrivePolicy": "[]"}, "must be a JSON object"),
        ({"RedrivePolicy": '{"maxReceiveCount": 1}'}, "deadLetterTargetArn"),
        (
            {"RedrivePolicy": '{"deadLetterTargetArn": "a", "maxReceiveCount": 0}'},
            "maxReceiveCount must be 1 to 1000",
        ),
        ({"Mine": "1"}, "Unknown Attribute Mine. Known: DelaySeconds, "),
        ({"FifoQueue": "true"}, "standard queues only"),
    ],
)
def test_a_wrong_attribute_is_refused_with_what_is_right(
    attributes: dict[str, str], problem: str
) -> None:
    with pytest.raises(Refused, match=problem):
        check_attributes(attributes)
