from __future__ import annotations

import pytest

from tests.job.local_sqs.account import Account


@pytest.fixture
def account() -> Account:
    return Account()
