"""`Bill`: dollars for storage, requests, messages, metrics and transfer of a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from producer.cost.prices import HOURS_A_MONTH, Prices
from producer.cost.requests import Requests
from producer.cost.traffic import VolumeTraffic

_GB = 1e9
_TASK_METRICS = 4
"""Metrics of a job beside one for each operator: see `chunkflow_worker.report.cloudwatch`."""


@dataclass(frozen=True)
class Bill:
    """Dollars once, but for storage_month, which is for each month that the output is kept."""

    s3_requests: float
    sqs: float
    cloudwatch: float
    transfer: float
    storage_month: float

    @property
    def once(self) -> float:
        return self.s3_requests + self.sqs + self.cloudwatch + self.transfer


def bill_of(
    requests: Requests,
    writes: Sequence[VolumeTraffic],
    prices: Prices,
    *,
    operators: int,
    hours: float,
    nat: bool,
) -> Bill:
    """hours: wall time. nat: all data passes a NAT gateway, as without an endpoint for S3."""
    cloudwatch = prices.cloudwatch
    metric_months = (operators + _TASK_METRICS) * ceil(hours) / HOURS_A_MONTH
    moved = (requests.bytes_in + requests.bytes_out) / _GB
    by_nat = prices.transfer.nat_gb * moved + prices.transfer.nat_hour * hours
    stored = sum(write.stored_bytes for write in writes) / _GB
    return Bill(
        s3_dollars(requests, prices),
        requests.of("SQS") / 1e6 * prices.sqs.million,
        requests.of("CloudWatch") / 1000 * cloudwatch.put_1000
        + metric_months * cloudwatch.metric_month,
        prices.transfer.same_region_gb * moved + (by_nat if nat else 0.0),
        stored * prices.s3.storage_gb_month,
    )


def s3_dollars(requests: Requests, prices: Prices) -> float:
    """Dollars for the requests to S3."""
    puts, gets = requests.of("S3", "PUT", "LIST"), requests.of("S3", "GET", "HEAD")
    return puts / 1000 * prices.s3.put_1000 + gets / 1000 * prices.s3.get_1000
