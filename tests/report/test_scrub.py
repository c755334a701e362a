from __future__ import annotations

import pytest

from chunkflow_worker.report.scrub import scrub

SECRET = "wJalrXUtnFEMI/K7MDENG"


@pytest.mark.parametrize(
    "text",
    [
        f"https://b.s3.amazonaws.com/k?X-Amz-Credential=a%2F{SECRET}&X-Amz-Expires=5",
        f"https://b.s3.amazonaws.com/k?X-Amz-Signature={SECRET}&X-Amz-Expires=5",
        f"?X-Amz-Security-Token={SECRET}",
        f"{{'Authorization': 'AWS4-HMAC-SHA256 Credential=x, Signature={SECRET}'}}",
        f"Authorization: Basic {SECRET}",
        f"Bearer {SECRET}",
        f"http://user:{SECRET}@proxy:80/x",
        f"aws_secret_access_key={SECRET}",
        f'"SecretAccessKey": "{SECRET}"',
        f"password={SECRET}",
        f"s3://key:{SECRET}@bucket/em",
        f"https://user:p@ss/{SECRET}@host/em",
        f"https://{SECRET.replace('/', '')}@host/em",
        f"https://host/em?token={SECRET}",
        f"https://host/em?a=1&api_key={SECRET}#part",
        f"https://host/em?sig={SECRET}&se=2026",
        f"volume_path=https://host/em;sessionid={SECRET}",
    ],
)
def test_credentials_are_hidden(text: str) -> None:
    assert SECRET not in scrub(text)
    assert SECRET.replace("/", "") not in scrub(text)
    assert "***" in scrub(text)


def test_access_keys_are_hidden_and_all_other_text_is_kept() -> None:
    assert scrub("key AKIAIOSFODNN7EXAMPLE is bad") == "key *** is bad"
    assert scrub("ASIAIOSFODNN7EXAMPLE") == "***"
    plain = "load on 0-4_0-4_0-8: s3://bucket/em: OSError: http://127.0.0.1:5000/ failed, 3 left"
    assert scrub(plain) == plain
    kept = "https://host:8080/em?mip=1&level=2 mailto:someone@lab.example s3://b/k=v/em@v1"
    assert scrub(kept) == kept


def test_the_secrets_of_this_process_are_hidden_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "local")
    text = f"no luck with {SECRET}, nor with wJalrXUtnFEMI%2FK7MDENG"
    assert scrub(text) == "no luck with ***, nor with ***"
    assert scrub("the local disk") == "the local disk"
