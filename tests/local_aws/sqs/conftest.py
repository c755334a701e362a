from __future__ import annotations

import pytest

from tests.local_aws.sqs.account import Account


@pytest.fixture
def account() -> Account:
    return Account()
