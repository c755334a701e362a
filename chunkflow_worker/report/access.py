"""What an error of AWS, Google Cloud or the network means for the user, and what to do about it."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_MISSING = {"NoCredentialsError", "PartialCredentialsError", "NoAuthTokenError"}
_UNREACHED = {
    "ConnectionError", "ConnectTimeout", "ConnectTimeoutError", "ConnectionClosedError",
    "EndpointConnectionError", "HTTPClientError", "ProxyConnectionError", "ReadTimeout",
    "ReadTimeoutError", "SSLError", "TransportError",
}  # fmt: skip
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_UNKNOWN_KEYS = {
    "AuthFailure", "InvalidAccessKeyId", "InvalidClientTokenId", "InvalidSecurity", "InvalidToken",
    "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_DENIED = {
    "403", "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AuthorizationError",
    "Forbidden", "KMS.AccessDeniedException", "UnauthorizedOperation",
}  # fmt: skip
_DENIED_BY_POLICY = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_OTHER_REGION = {
    "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
    "PermanentRedirect",
}  # fmt: skip
_ACTIONS = {
    "ListObjectsV2": "s3:ListBucket", "ListObjects": "s3:ListBucket", "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject", "UploadPart": "s3:PutObject", "DeleteObjects": "s3:DeleteObject",
    "SendMessageBatch": "sqs:SendMessage", "DeleteMessageBatch": "sqs:DeleteMessage",
    "ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "PutMetricData": "cloudwatch:PutMetricData",
}  # fmt: skip
_CHECK_ENDPOINT = "check that it runs there, and AWS_ENDPOINT_URL"
_LOCAL = (
    "if it was chunkflow-worker local-aws, start it again, and then source its aws.sh in each "
    "shell: its address changes; or correct AWS_ENDPOINT_URL"
)
_NOT_AUTHORIZED = re.compile(r"not authorized to perform: (\S+)(?: on resource: \"?([^\s\"]+))?")
_REASON = re.compile(r"\[Errno -?\d+\] ([^')\]]+)")


class Meaning(NamedTuple):
    """problem: what is wrong, on one line. cure: what to do about it; may be empty.

    is_refused: a person must act; the same request would be refused again.
    is_missing: there are no credentials at all.
    """

    problem: str
    cure: str = ""
    is_refused: bool = False
    is_missing: bool = False

    def __str__(self) -> str:
        return f"{self.problem}\n    {self.cure}" if self.cure else self.problem


NO_CREDENTIALS = Meaning(
    "no AWS credentials were found",
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role; on a "
    "laptop: chunkflow-worker local-aws > aws.sh & then source aws.sh",
    is_refused=True,
    is_missing=True,
)

GOOGLE_LOGIN = "log in: gcloud auth application-default login"


def meaning(error: BaseException) -> Meaning:
    """What an error of boto3, cloudfiles, google-auth, requests or the system means."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "ClientError" in kinds and isinstance(getattr(error, "response", None), dict):
        return _answer_of_aws(error)
    if "GoogleAuthError" in kinds or "GoogleAPIError" in kinds:
        return _of_google(error, kinds)
    for found in (_about_credentials(error, kinds), _about_network(error, kinds)):
        if found is not None:
            return found
    return Meaning(_one_line(_reason(error)))


def is_denied(error: BaseException | None) -> bool:
    """Whether AWS knows who asks, and the policy of the user or role does not allow it.

    error: of boto3, or with one as its cause.
    """
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            answer = response.get("Error", {})
            named = _NOT_AUTHORIZED.search(str(answer.get("Message", "")))
            return bool(named) or answer.get("Code") in _DENIED_BY_POLICY
        error = error.__cause__
    return False


def is_refused(error: BaseException) -> bool:
    """Whether the same request would be refused again."""
    return meaning(error).is_refused


def _about_credentials(error: BaseException, kinds: set[str]) -> Meaning | None:
    """What errors of boto3 mean that arise before anything is sent."""
    if kinds & _MISSING:
        return NO_CREDENTIALS
    provider = str(getattr(error, "kwargs", {}).get("provider", ""))
    if "SSOError" in kinds or ("TokenRetrievalError" in kinds and "sso" in provider):
        return _login_needed("the SSO login", "sso login")
    if "LoginError" in kinds:
        return _login_needed("the login", "login")
    if "ProfileNotFound" in kinds:
        known = ", ".join(_profiles()) or "none"
        cure = f"set AWS_PROFILE to one of those in ~/.aws/config; known: {known}"
        name = str(getattr(error, "kwargs", {}).get("profile", ""))
        return Meaning(f"there is no AWS profile {name!r}", cure, is_refused=True)
    if kinds & {"CredentialRetrievalError", "TokenRetrievalError", "ConfigParseError"}:
        cure = f"see profile {_profile()} in ~/.aws/config"
        return Meaning(_one_line(str(error)), cure, is_refused=True)
    if "ParamValidationError" in kinds:  # for example of the name of a bucket
        return Meaning(_one_line(str(error)), "correct it", is_refused=True)
    if kinds & {"NoRegionError", "InvalidRegionError"}:
        return Meaning(_one_line(str(error)), "set AWS_REGION, for example to us-east-1", True)
    return None


def _login_needed(what: str, command: str) -> Meaning:
    profile = _profile()
    problem = f"{what} of AWS profile {profile} is missing or has expired"
    return Meaning(problem, f"log in: aws {command} --profile {profile}", is_refused=True)


def _answer_of_aws(error: Any) -> Meaning:
    """What an answer of AWS means that is an error."""
    answer = error.response.get("Error", {})
    code, text = str(answer.get("Code", "")), str(answer.get("Message", ""))
    if code in _EXPIRED:
        profile = f" --profile {_profile()}" if _profile() != "default" else ""
        cure = f"get new ones; with SSO: aws sso login{profile}"
        return Meaning("the AWS credentials have expired", cure, is_refused=True)
    if code in _UNKNOWN_KEYS:
        what = "the secret key is wrong" if code == "SignatureDoesNotMatch" else "unknown keys"
        cure = "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set AWS_PROFILE"
        return Meaning(f"AWS refuses the credentials: {what} ({code})", cure, is_refused=True)
    named = _NOT_AUTHORIZED.search(text)
    if code in _DENIED or named:
        action = _action(error)
        if named and named[1].lower() != action.lower():  # SQS writes actions in lower case
            action = named[1]
        place = f" on {named[2]}" if named and named[2] else ""
        cure = f"allow {action}{place} in the policy of the user or role, or use other credentials"
        if "explicit deny" in text:
            cure = f"a policy denies {action}{place}, whatever others allow: change that policy"
        return Meaning(f"access denied: the credentials in use may not {action}", cure, True)
    if code in _OTHER_REGION:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = headers.get("x-amz-bucket-region") or answer.get("Region") or ""
        cure = f"set AWS_REGION={region}" if region else "set AWS_REGION to that of the bucket"
        return Meaning("the bucket is in another region", cure, is_refused=True)
    if code == "RequestTimeTooSkewed":
        return Meaning(
            "AWS refuses the request: the clock of this machine is wrong", "set it", True
        )
    if text.lstrip().startswith("<"):  # the page of a web server or a proxy
        cure = "check AWS_ENDPOINT_URL, and that AWS answers there"
        return Meaning(f"the server answers {code} with a web page", cure)
    return Meaning(_one_line(f"{code}: {text}" if text and text != "None" else code))


def _action(error: Any) -> str:
    operation = str(getattr(error, "operation_name", ""))
    service = "sqs" if "Queue" in operation or "Message" in operation else "s3"
    return _ACTIONS.get(operation, f"{service}:{operation}")


def _of_google(error: BaseException, kinds: set[str]) -> Meaning:
    if "DefaultCredentialsError" in kinds:
        cure = f"{GOOGLE_LOGIN}, or set GOOGLE_APPLICATION_CREDENTIALS to a key file"
        path = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        if path:
            problem = f"GOOGLE_APPLICATION_CREDENTIALS is {path}, which holds no credentials"
            return Meaning(problem, f"correct it, or {GOOGLE_LOGIN}", is_refused=True)
        return Meaning("no Google credentials were found", cure, is_refused=True, is_missing=True)
    if "RefreshError" in kinds:
        return Meaning("the Google credentials have expired or were revoked", GOOGLE_LOGIN, True)
    if kinds & _UNREACHED:
        return Meaning(f"cannot be reached: {_one_line(_reason(error))}")
    if kinds & {"Forbidden", "Unauthorized"}:
        cure = f"{GOOGLE_LOGIN}, with an account that may read and write there"
        text = _one_line(str(getattr(error, "message", error)))
        return Meaning(f"access denied: {text}", cure, is_refused=True)
    return Meaning(_one_line(str(getattr(error, "message", error))))


def _about_network(error: BaseException, kinds: set[str]) -> Meaning | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int):
        reason = getattr(error.response, "reason", "") or ""  # type: ignore[attr-defined]
        return Meaning(f"the server answers {status} {reason}".rstrip(), "", status in (401, 403))
    if not kinds & _UNREACHED:
        return None
    endpoint = getattr(error, "kwargs", {}).get("endpoint_url") or ""
    host = urlsplit(str(endpoint)).netloc
    reason = _one_line(_reason(error))
    problem = f"{host} cannot be reached" if host else f"cannot be reached: {reason}"
    given = os.environ.get("AWS_ENDPOINT_URL", "")
    if host and host in (urlsplit(given).netloc, _host("S3"), _host("SQS")):
        return Meaning(problem, _LOCAL if _is_here(host) else _CHECK_ENDPOINT)
    is_aws = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    return Meaning(problem, "check the network, and AWS_REGION" if is_aws else "")


def _is_here(host: str) -> bool:
    return host.rsplit(":", 1)[0] in ("127.0.0.1", "localhost", "[::1]")


def _host(service: str) -> str:
    return urlsplit(os.environ.get(f"AWS_ENDPOINT_URL_{service}", "")).netloc


def _reason(error: BaseException) -> str:
    """The system's own words in an error that libraries have wrapped, or else its text."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    found = _REASON.search(str(error))
    return found[1].strip() if found else str(error)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}..."


def _profile() -> str:
    return os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"


def _profiles() -> list[str]:
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        return sorted(Session().available_profiles)
    except BotoCoreError:
        return []
