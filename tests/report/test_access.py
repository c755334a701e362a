"""What errors of AWS, Google Cloud and the network mean. The errors are those of the libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import google.api_core.exceptions
import google.auth.exceptions
import pytest
import requests
from botocore import exceptions

from chunkflow_worker.report.access import is_refused, meaning


def answer(code: str, text: str = "", operation: str = "GetObject", **headers: str) -> Exception:
    metadata = {"HTTPHeaders": {name.replace("_", "-"): v for name, v in headers.items()}}
    response: Any = {"Error": {"Code": code, "Message": text}, "ResponseMetadata": metadata}
    return exceptions.ClientError(response, operation)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lab")
    (tmp_path / "config").write_text("[profile lab]\n[profile home]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)


REFUSED = [
    (exceptions.NoCredentialsError(), "no AWS credentials were found", "local-aws > aws.sh"),
    (
        exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"),
        "no AWS credentials were found",
        "AWS_SECRET_ACCESS_KEY",
    ),
    (
        exceptions.SSOTokenLoadError(error_msg="x"),
        "the SSO login of AWS profile lab is missing or has expired",
        "log in: aws sso login --profile lab",
    ),
    (
        exceptions.UnauthorizedSSOTokenError(),
        "the SSO login of AWS profile lab is missing or has expired",
        "log in: aws sso login --profile lab",
    ),
    (
        exceptions.TokenRetrievalError(provider="sso", error_msg="Token has expired"),
        "the SSO login of AWS profile lab is missing or has expired",
        "log in: aws sso login --profile lab",
    ),
    (
        exceptions.ProfileNotFound(profile="lap"),
        "there is no AWS profile 'lap'",
        "known: home, lab",
    ),
    (
        exceptions.CredentialRetrievalError(provider="custom-process", error_msg="no\nsuch file"),
        "Error when retrieving credentials from custom-process: no such file",
        "see profile lab",
    ),
    (
        exceptions.ParamValidationError(report='Invalid bucket name "Lab_1"'),
        'Invalid bucket name "Lab_1"',
        "correct it",
    ),
    (answer("ExpiredToken"), "the AWS credentials have expired", "aws sso login --profile lab"),
    (answer("RequestExpired"), "the AWS credentials have expired", "aws sso login"),
    (
        answer("InvalidAccessKeyId"),
        "AWS refuses the credentials: unknown keys (InvalidAccessKeyId)",
        "AWS_ACCESS_KEY_ID",
    ),
    (
        answer("InvalidClientTokenId", operation="GetQueueUrl"),
        "AWS refuses the credentials: unknown keys",
        "AWS_PROFILE",
    ),
    (
        answer("SignatureDoesNotMatch"),
        "AWS refuses the credentials: the secret key is wrong",
        "AWS_SECRET_ACCESS_KEY",
    ),
    (
        answer("AccessDenied"),
        "access denied: the credentials in use may not s3:GetObject",
        "policy",
    ),
    (answer("403", operation="HeadObject"), "may not s3:GetObject", "allow s3:GetObject in"),
    (answer("AccessDenied", operation="ListObjectsV2"), "may not s3:ListBucket", "allow s3:List"),
    (answer("AccessDenied", operation="PutObject"), "may not s3:PutObject", "allow s3:PutObject"),
    (
        answer(
            "AccessDenied",
            "User: arn:aws:iam::1:user/ada is not authorized to perform: sqs:getqueueurl on "
            "resource: arn:aws:sqs:us-east-1:1:jobs because no policy allows it",
            operation="GetQueueUrl",
        ),
        "may not sqs:GetQueueUrl",
        "allow sqs:GetQueueUrl on arn:aws:sqs:us-east-1:1:jobs in the policy",
    ),
    (
        answer("PermanentRedirect", x_amz_bucket_region="eu-west-1"),
        "the bucket is in another region",
        "set AWS_REGION=eu-west-1",
    ),
    (
        answer("AuthorizationHeaderMalformed", x_amz_bucket_region="eu-west-1"),
        "the bucket is in another region",
        "set AWS_REGION=eu-west-1",
    ),
    (
        google.auth.exceptions.DefaultCredentialsError("Your default credentials were not found."),
        "no Google credentials were found",
        "gcloud auth application-default login",
    ),
    (
        google.auth.exceptions.RefreshError("invalid_grant: Bad Request"),
        "the Google credentials have expired or were revoked",
        "gcloud auth application-default login",
    ),
    (
        google.api_core.exceptions.Forbidden("ada@lab.org does not have storage.objects.get"),
        "access denied: ada@lab.org does not have storage.objects.get",
        "with an account that may",
    ),
]


@pytest.mark.parametrize(("error", "problem", "cure"), REFUSED)
def test_a_refusal_is_told_in_two_lines_with_its_cure(
    error: Exception, problem: str, cure: str
) -> None:
    found = meaning(error)
    assert problem in found.problem
    assert cure in found.cure
    assert is_refused(error)
    assert len(str(found).splitlines()) == 2
    assert "Error" not in found.problem.replace("Error when", "")


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (answer("SlowDown", "Please reduce your request rate."), "SlowDown: Please reduce your"),
        (answer("503"), "503"),
        (
            exceptions.EndpointConnectionError(endpoint_url="https://sqs.us-eest-1.amazonaws.com/"),
            "sqs.us-eest-1.amazonaws.com cannot be reached",
        ),
        (
            exceptions.ReadTimeoutError(endpoint_url="https://s3.amazonaws.com/b", error="x"),
            "s3.amazonaws.com cannot be reached",
        ),
        (
            requests.ConnectionError(
                "HTTPConnectionPool(host='h', port=9): Max retries exceeded with url: /x (Caused "
                "by NewConnectionError('<...>: [Errno 111] Connection refused'))"
            ),
            "cannot be reached: Connection refused",
        ),
        (
            google.auth.exceptions.TransportError("[Errno -2] Name or service not known"),
            "cannot be reached: Name or service not known",
        ),
        (google.api_core.exceptions.ServiceUnavailable("try later"), "try later"),
        (OSError(28, "No space left on device", "/data/x"), "No space left on device: /data/x"),
        (OSError("reset"), "reset"),
    ],
)
def test_an_outage_is_told_in_the_systems_words(error: Exception, problem: str) -> None:
    found = meaning(error)
    assert found.problem.startswith(problem)
    assert not is_refused(error)
    assert type(error).__name__ not in str(found)


def test_answers_of_a_web_server_are_told_by_their_status() -> None:
    response = requests.Response()
    response.status_code, response.reason = 403, "Forbidden"
    error = requests.HTTPError("403 Client Error", response=response)
    assert meaning(error).problem == "the server answers 403 Forbidden"
    assert is_refused(error)
    response.status_code, response.reason = 502, "Bad Gateway"
    assert not is_refused(error)


@pytest.mark.parametrize("code", ["500", "502", "404"])
def test_a_web_page_in_an_answer_is_not_told(code: str) -> None:
    found = meaning(answer(code, "<!doctype html><title>Bad Gateway</title>"))
    assert found.problem == f"the server answers {code} with a web page"
    assert "AWS_ENDPOINT_URL" in found.cure


@pytest.mark.parametrize(
    ("host", "cure"),
    [
        ("minio.lab:5000", "check that it runs there, and AWS_ENDPOINT_URL"),
        (
            "127.0.0.1:5000",
            "chunkflow-worker local-aws, start it again, and then source its aws.sh",
        ),
        (
            "localhost:5000",
            "chunkflow-worker local-aws, start it again, and then source its aws.sh",
        ),
        ("[::1]:5000", "chunkflow-worker local-aws, start it again, and then source its aws.sh"),
    ],
)
def test_an_own_endpoint_that_does_not_answer_is_named(
    host: str, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}")
    error = exceptions.EndpointConnectionError(endpoint_url=f"http://{host}/jobs")
    told = meaning(error)
    assert told.problem == f"{host} cannot be reached"
    assert cure in told.cure
    assert not told.is_refused


def test_a_key_file_that_holds_no_credentials_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/absent.json")
    found = meaning(
        google.auth.exceptions.DefaultCredentialsError("File /absent.json was not found")
    )
    assert found.problem.startswith("GOOGLE_APPLICATION_CREDENTIALS is /absent.json")


@pytest.mark.parametrize(
    ("operation", "said", "action"),
    [
        ("ReceiveMessage", "sqs:receivemessage", "sqs:ReceiveMessage"),
        ("SendMessageBatch", "sqs:sendmessage", "sqs:SendMessage"),
        ("GetObject", "s3:ListBucket", "s3:ListBucket"),
        ("PutObject", "kms:GenerateDataKey", "kms:GenerateDataKey"),
        ("PutMetricData", "cloudwatch:PutMetricData", "cloudwatch:PutMetricData"),
    ],
)
def test_an_action_is_named_as_policies_write_it(operation: str, said: str, action: str) -> None:
    """SQS writes actions in lower case, and a read may need another permission than its name."""
    text = (
        f"User: arn:aws:sts::1:assumed-role/w/t is not authorized to perform: {said} on resource: "
        f"arn:aws:x:::y because no identity-based policy allows the {said} action"
    )
    found = meaning(answer("AccessDenied", text, operation))
    assert found.is_refused
    assert found.problem.endswith(f"may not {action}")
    assert found.cure.startswith(f"allow {action} on arn:aws:x:::y in the policy")
    denied = f"{text.partition(' because')[0]} with an explicit deny in a resource-based policy"
    cure = meaning(answer("AccessDenied", denied, operation)).cure
    assert cure.startswith(f"a policy denies {action} on arn:aws:x:::y")


def test_a_key_that_may_not_be_used_is_a_refusal() -> None:
    assert is_refused(answer("KMS.AccessDeniedException", "", "SendMessage"))
