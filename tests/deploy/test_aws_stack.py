"""The template makes the same queue as `queue create`.

Its alarms and dashboard use metrics that workers really send.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import yaml

from chunkflow_worker.config.settings import Settings
from chunkflow_worker.image.bbox import BoundingBox
from chunkflow_worker.job.sqs import find_queue, make_client
from chunkflow_worker.report.cloudwatch import CloudWatch
from chunkflow_worker.report.events import TaskFailed, TaskFinished
from producer.send.queue import create_queue
from tests.deploy.stack import TEMPLATE, Stack, deploy

pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture(scope="module")
def plain(aws: dict[str, str]) -> Stack:
    """A stack with the defaults of all parameters; it is not to be changed."""
    return deploy()


def sent_metrics() -> dict[str, set[str]]:
    """Return every metric that workers send, with its dimensions."""
    requests: list[dict[str, Any]] = []

    class Client:
        def put_metric_data(self, **request: Any) -> None:
            requests.append(request)

    metrics = CloudWatch(Client(), "any", interval_seconds=0.01)
    box = BoundingBox.parse("0-4_0-4_0-4")
    for state in ("done", "skipped"):
        metrics(TaskFinished("job", box, state, 2.0, 64, {"load": 0.5}, "GPU"))
    for final in (True, False):
        metrics(TaskFailed("job", box, 1, final, "why", "GPU"))
    metrics.close()
    return {
        d["MetricName"]: {x["Name"] for x in d["Dimensions"]}
        for r in requests
        for d in r["MetricData"]
    }


def expressions(dashboard: dict[str, Any]) -> list[str]:
    metrics = [m for w in dashboard["widgets"] for m in w["properties"].get("metrics", [])]
    return [m[0]["expression"] for m in metrics if isinstance(m[0], dict)]


def parameter(name: str) -> Any:
    class Loader(yaml.SafeLoader):
        """A loader that ignores the tags of CloudFormation."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    return yaml.load(TEMPLATE.read_text(), Loader)["Parameters"][name]["Default"]


def test_the_template_passes_cfn_lint() -> None:
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(TEMPLATE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_queue_is_the_one_that_queue_create_makes(plain: Stack) -> None:
    stack = plain
    client = make_client("us-east-1")
    made, dead = create_queue(client, stack.queue)
    for found in (made, dead):
        assert (found.created, found.changed) == (False, {}), "nothing is left to change"
    queue = find_queue(client, stack.queue)
    for url, name in ((queue.url, "QueueUrl"), (queue.dead_letter_url, "DeadLettersUrl")):
        assert urlsplit(url).path == urlsplit(stack.values[name]).path
    for url, days in ((queue.url, 10), (queue.dead_letter_url, 14)):
        found = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert int(found["MessageRetentionPeriod"]) == days * 86400
        assert found["SqsManagedSseEnabled"] == "true"


def test_a_queue_for_high_priority_is_the_one_that_queue_create_makes(plain: Stack) -> None:
    stack = deploy(HighPriority="yes")
    client = make_client("us-east-1")
    for found in create_queue(client, stack.queue, high=True):
        assert (found.created, found.changed) == (False, {}), "nothing is left to change"
    high = f"{stack.queue}-high"
    assert find_queue(client, stack.queue).high_url.endswith(high)
    work = stack.alarm("WorkAlarm")
    watched = [one["MetricStat"] for one in work["Metrics"] if "MetricStat" in one]
    names = [one["Metric"]["Dimensions"][0]["Value"] for one in watched]
    assert sorted(names) == [stack.queue] * 2 + [high] * 2
    assert find_queue(client, plain.queue).high_url == ""


def test_parameters_reach_the_queue_and_their_defaults_are_those_of_queue_create() -> None:
    queue = find_queue(make_client("us-east-1"), deploy(MaxReceives=9, VisibilitySeconds=77).queue)
    assert (queue.max_receives, queue.visibility_seconds) == (9, 77)
    defaults = inspect.signature(create_queue).parameters
    assert parameter("MaxReceives") == defaults["max_receives"].default
    assert parameter("VisibilitySeconds") == defaults["visibility_seconds"].default
    settings = {name: info.default for name, info in Settings.model_fields.items()}
    assert (parameter("QueueName"), parameter("MetricsNamespace")) == (
        settings["queue"],
        settings["metrics_namespace"],
    )


def test_alarms_watch_the_dead_letters_and_the_oldest_message() -> None:
    stack = deploy(OldestMessageSeconds=4711, AlarmTopic="arn:aws:sns:us-east-1:123456789012:mail")
    dead, old = stack.alarm("DeadLetterAlarm"), stack.alarm("OldMessageAlarm")
    assert (dead["MetricName"], dead["Threshold"]) == ("ApproximateNumberOfMessagesVisible", 0)
    assert dead["Dimensions"] == [{"Name": "QueueName", "Value": f"{stack.queue}-dead"}]
    assert (old["MetricName"], old["Threshold"]) == ("ApproximateAgeOfOldestMessage", 4711)
    assert old["Dimensions"] == [{"Name": "QueueName", "Value": stack.queue}]
    for alarm in (dead, old):
        assert alarm["Namespace"] == "AWS/SQS"
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert alarm["Statistic"] == "Maximum"
        assert alarm["TreatMissingData"] == "notBreaching", "an idle queue sends nothing"
    for name in ("DeadLetterAlarm", "OldMessageAlarm", "NoProgressAlarm"):
        assert stack.alarm(name)["AlarmActions"] == ["arn:aws:sns:us-east-1:123456789012:mail"]
    assert parameter("OldestMessageSeconds") < 9 * 86400, "there is still time to act"


def test_no_progress_is_work_that_is_there_while_nothing_is_finished() -> None:
    stack = deploy(NoProgressPeriods=7, MetricsNamespace="mine", Job="first")
    work, idle = stack.alarm("WorkAlarm"), stack.alarm("NothingFinishedAlarm")
    rule = stack.alarm("NoProgressAlarm")["AlarmRule"]
    assert rule == f'ALARM("{work["AlarmName"]}") AND ALARM("{idle["AlarmName"]}")'
    watched = {
        m["MetricStat"]["Metric"]["MetricName"]: m for m in work["Metrics"] if "MetricStat" in m
    }
    assert set(watched) == {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateNumberOfMessagesNotVisible",
    }
    for metric in watched.values():
        assert metric["MetricStat"]["Metric"]["Dimensions"] == [
            {"Name": "QueueName", "Value": stack.queue}
        ]
    (total,) = [m for m in work["Metrics"] if m.get("ReturnData", True)]
    assert set(total["Expression"].split(" + ")) == {m["Id"] for m in watched.values()}
    (finished,) = idle["Metrics"]
    found = re.fullmatch(
        r'SELECT COUNT\((\w+)\) FROM SCHEMA\("mine", ([\w, ]+)\) WHERE job = \'first\'',
        finished["Expression"],
    )
    assert found
    assert sent_metrics()[found[1]] == set(found[2].split(", "))
    assert (idle["ComparisonOperator"], idle["TreatMissingData"]) == (
        "LessThanThreshold",
        "breaching",
    )
    assert work["EvaluationPeriods"] == idle["EvaluationPeriods"] == 7
    assert {m["MetricStat"]["Period"] for m in watched.values()} == {finished["Period"]} == {300}


def test_the_dashboard_shows_what_workers_send_and_nothing_that_they_do_not() -> None:
    dashboard, sent = deploy(MetricsNamespace="mine").dashboard(), sent_metrics()
    shown = {}
    for expression in expressions(dashboard):
        found = re.search(
            r"SEARCH\('\{\"mine\",([\w,]+)\} MetricName=\"(\w+)\"', '(Sum|Average)', 60\)",
            expression,
        )
        assert found, expression
        shown[found[2]] = set(found[1].split(","))
    assert shown.items() <= sent.items(), "a search must name all dimensions"
    # TaskSeconds is the sum of the seconds of the operators.
    assert sent.keys() - shown.keys() == {"TaskSeconds"}
    rates = [e for e in expressions(dashboard) if '"Voxels"' in e or '"TasksSucceeded"' in e]
    assert len(rates) == 2
    for rate in rates:
        assert rate.startswith("SUM(SEARCH(")
        assert rate.endswith(" / 60"), "per second, from the sum of a minute"
    (stacked,) = [w for w in dashboard["widgets"] if "OperatorSeconds" in json.dumps(w)]
    assert stacked["properties"]["stacked"]
    assert "${PROP('Dim.operator')}" in stacked["properties"]["metrics"][0][0]["label"]


def test_the_dashboard_shows_depth_and_age_of_the_queue_and_the_alarms(plain: Stack) -> None:
    stack = plain
    widgets = stack.dashboard()["widgets"]
    shown = {
        tuple(m[:4])
        for w in widgets
        for m in w["properties"].get("metrics", [])
        if isinstance(m[0], str)
    }
    assert shown == {
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", stack.queue),
        ("AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", stack.queue),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", f"{stack.queue}-dead"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", stack.queue),
    }
    (alarms,) = [w["properties"]["alarms"] for w in widgets if w["type"] == "alarm"]
    assert [arn.rsplit(":", 1)[1] for arn in alarms] == [
        stack.ids[name] for name in ("DeadLetterAlarm", "OldMessageAlarm", "NoProgressAlarm")
    ]
    places = {
        (x, y)
        for w in widgets
        for x in range(w["x"], w["x"] + w["width"])
        for y in range(w["y"], w["y"] + w["height"])
    }
    assert len(places) == sum(w["width"] * w["height"] for w in widgets), "no widget covers another"


@pytest.mark.parametrize("job", ["", "first"])
def test_a_stack_is_for_all_jobs_or_for_one(job: str, plain: Stack) -> None:
    stack = deploy(Job=job) if job else plain
    found = [' job="first"' in expression for expression in expressions(stack.dashboard())]
    assert found
    assert set(found) == {bool(job)}
    (finished,) = stack.alarm("NothingFinishedAlarm")["Metrics"]
    assert ("WHERE job = 'first'" in finished["Expression"]) == bool(job)


def test_pods_of_two_service_accounts_take_the_roles() -> None:
    stack = deploy(
        OidcProvider="oidc.example.com/id/1", KubernetesNamespace="lab", ScalerRole=scaler()
    )
    for name in ("worker", "producer"):
        role = boto3.client("iam").get_role(RoleName=stack.ids[f"{name.title()}Role"])["Role"]
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        assert statement["Principal"] == {
            "Federated": "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1"
        }
        assert statement["Condition"]["StringEquals"] == {
            "oidc.example.com/id/1:aud": "sts.amazonaws.com",
            "oidc.example.com/id/1:sub": f"system:serviceaccount:lab:{name}",
        }
    assert "WorkerProfile" not in stack.ids
    (statement,) = stack.policy("ScalerPolicy")["Statement"]
    assert statement["Action"] == "sqs:GetQueueAttributes"
    assert statement["Resource"].endswith(f":{stack.queue}")


def test_a_volume_may_be_the_whole_of_a_bucket() -> None:
    stack = deploy(InputPrefix="*", OutputPrefix="*")
    worker, producer = (
        {s["Sid"]: s["Resource"] for s in stack.policy(name)["Statement"]}
        for name in ("WorkerPolicy", "ProducerPolicy")
    )
    assert worker["Read"] == producer["Read"] == ["arn:aws:s3:::in/*", "arn:aws:s3:::out/*"]
    assert worker["Write"] == "arn:aws:s3:::out/*"


@pytest.mark.parametrize(
    ("output", "ledger", "written", "outside"),
    [
        ("*", "", "log/jobs/a.json", "8_8_40/0-64_0-64_0-16"),
        ("out", "", "out/log/jobs/a.json", "out/8_8_40/0-64_0-64_0-16"),
        ("out", "", "out/log/0-1_0-1_0-1.json", "out/catalog/8_8_40/0-64_0-64_0-16"),
        ("out", "", "out/log/a", "out/a/log/a"),
        ("out", "ledgers/job", "ledgers/job/jobs/a.json", "ledgers/other/jobs/a.json"),
        ("out", "ledgers/job", "ledgers/job/a", "out/log/a"),
    ],
)
def test_producers_write_one_ledger_and_nothing_beside(
    output: str, ledger: str, written: str, outside: str
) -> None:
    """A pattern such as `*log/*` would also fit the blocks of a volume named `catalog`."""
    stack = deploy(OutputPrefix=output, LedgerPrefix=ledger)
    writes = [
        (action, resource)
        for policy in ("ProducerPolicy", "LedgerPolicy")
        for statement in stack.policy(policy)["Statement"]
        for action in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
        if action in ("s3:PutObject", "s3:DeleteObject", "s3:PutObjectAcl")
    ]
    assert len(writes) == 3
    for _, resource in writes:
        assert fnmatchcase(f"arn:aws:s3:::out/{written}", resource)
        assert not fnmatchcase(f"arn:aws:s3:::out/{outside}", resource)
        assert resource.count("*") == 1
        assert resource.endswith("/*")
    for role in ("Worker", "Producer"):
        assert "LedgerPolicy" in policies_of(stack, role)


def test_no_statement_allows_more_than_it_names(plain: Stack) -> None:
    names = ("WorkerPolicy", "ProducerPolicy", "LedgerPolicy")
    for statement in chain.from_iterable(plain.policy(name)["Statement"] for name in names):
        assert statement["Effect"] == "Allow"
        assert not {"NotAction", "NotResource"} & statement.keys()
        actions = as_list(statement["Action"])
        assert not [action for action in actions if "*" in action], "each action is named"
        if "*" in as_list(statement["Resource"]):
            assert actions == ["cloudwatch:PutMetricData"]
            assert statement["Condition"] == {"StringEquals": {"cloudwatch:namespace": "chunkflow"}}
        if "s3:PutObjectAcl" in actions:
            assert statement["Condition"] == {
                "StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}
            }, "no object can be made public"


def test_the_queues_refuse_requests_without_tls(plain: Stack) -> None:
    stack = plain
    sqs = boto3.client("sqs")
    for name in (stack.queue, f"{stack.queue}-dead"):
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy", "QueueArn"])
        (statement,) = json.loads(answer["Attributes"]["Policy"])["Statement"]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert statement["Action"] == "sqs:*"
        assert answer["Attributes"]["QueueArn"] in statement["Resource"]
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_page_shows_a_policy_that_closes_buckets_without_tls() -> None:
    page = (TEMPLATE.parent / "README.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (statement,) = json.loads(block)["Statement"]
    assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
    assert statement["Action"] == "s3:*"
    assert statement["Resource"] == ["arn:aws:s3:::lab", "arn:aws:s3:::lab/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_buckets_may_be_encrypted_with_your_own_key(plain: Stack) -> None:
    assert "EncryptionPolicy" not in plain.ids
    key = "arn:aws:kms:eu-west-1:123456789012:key/1"
    stack = deploy(EncryptionKey=key)
    (statement,) = stack.policy("EncryptionPolicy")["Statement"]
    assert (sorted(statement["Action"]), statement["Resource"]) == (
        ["kms:Decrypt", "kms:GenerateDataKey"],
        key,
    )
    assert statement["Condition"] == {
        "StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}
    }, "only for objects of S3, in the region of the key"
    for role in ("Worker", "Producer"):
        assert "EncryptionPolicy" in policies_of(stack, role)


def test_machines_take_the_roles_where_no_provider_is_given(plain: Stack) -> None:
    stack = plain
    for name in ("Worker", "Producer"):
        profile = boto3.client("iam").get_instance_profile(
            InstanceProfileName=stack.values[f"{name}ProfileName"]
        )
        (role,) = profile["InstanceProfile"]["Roles"]
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert (statement["Action"], statement["Principal"]) == (
            "sts:AssumeRole",
            {"Service": "ec2.amazonaws.com"},
        )
    assert "ScalerPolicy" not in stack.ids


def test_pods_take_the_roles_by_pod_identity() -> None:
    stack = deploy(PodIdentityCluster="lab", KubernetesNamespace="em")
    for name in ("worker", "producer"):
        role = boto3.client("iam").get_role(RoleName=stack.ids[f"{name.title()}Role"])["Role"]
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
        assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
        assert statement["Condition"]["StringEquals"] == {
            "aws:SourceAccount": "123456789012",
            "aws:RequestTag/eks-cluster-name": "lab",
            "aws:RequestTag/kubernetes-namespace": "em",
            "aws:RequestTag/kubernetes-service-account": name,
        }
    assert "WorkerProfile" not in stack.ids


def policies_of(stack: Stack, role: str) -> set[str]:
    """Return the names, in the template, of the policies of the role `Worker` or `Producer`."""
    answer = boto3.client("iam").list_attached_role_policies(RoleName=stack.ids[f"{role}Role"])
    attached = {policy["PolicyArn"] for policy in answer["AttachedPolicies"]}
    return {name for name, physical in stack.ids.items() if physical in attached}


def as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def scaler() -> str:
    """Return the name of a role like that of KEDA's operator."""
    iam = boto3.client("iam")
    name = "keda-operator"
    if name not in {role["RoleName"] for role in iam.list_roles()["Roles"]}:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
    return name
