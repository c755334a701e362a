"""The dashboard asks only for metrics that workers give, and for all of them."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from chunkflow_worker.machine.nvml import GpuFigures
from chunkflow_worker.report.prometheus import Prometheus
from chunkflow_worker.report.tally import Tally
from tests.support.paths import ROOT

FOLDER = ROOT / "deploy" / "grafana"


class Meter:
    def read(self) -> GpuFigures:
        return GpuFigures("A10", 5, 24, 0.5)


def families() -> dict[str, str]:
    """The types of all metrics by name."""
    metrics = Prometheus(lambda: 0, {}, gpu=Meter(), tally=Tally())  # type: ignore[arg-type]
    return {family.name: family.type for family in metrics.registry.collect()}


def names() -> dict[str, str]:
    """The families by the names that queries use."""
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"]}
    return {
        name + ending: name
        for name, kind in families().items()
        for ending in endings.get(kind, [""])
    }


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "chunkflow.json").read_text())
    return found


def expressions() -> list[str]:
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [*panels, dashboard()["templating"]["list"][1]["query"]["query"]]


def test_the_dashboard_asks_for_all_metrics_and_for_no_others() -> None:
    asked = {name for text in expressions() for name in re.findall(r"\bchunkflow_\w+", text)}
    assert asked <= set(names())
    assert {names()[name] for name in asked} == set(families())


def test_panels_have_numbers_and_places_of_their_own() -> None:
    panels = dashboard()["panels"]
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels]
    assert len({panel["id"] for panel in panels}) == len(set(places)) == len(panels)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels)


def test_the_page_lists_all_metrics() -> None:
    page = (ROOT / "docs" / "service.md").read_text()
    listed = set(re.findall(r"^\| `(chunkflow_\w+)`", page, re.M))
    endings = {"counter": "_total", "info": "_info"}
    assert listed == {name + endings.get(kind, "") for name, kind in families().items()}


def test_prometheus_finds_the_pods_and_may_reach_them() -> None:
    monitor, policy = yaml.safe_load_all((FOLDER / "prometheus.yaml").read_text())
    worker = yaml.safe_load((ROOT / "deploy/kubernetes/base/worker.yaml").read_text())
    labels = worker["spec"]["template"]["metadata"]["labels"]
    namespace = yaml.safe_load((ROOT / "deploy/kubernetes/base/namespace.yaml").read_text())
    for one in (monitor, policy):
        assert one["metadata"]["namespace"] == namespace["metadata"]["name"]
    assert monitor["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["portNumber"] == policy["spec"]["ingress"][0]["ports"][0]["port"]
    assert endpoint["honorLabels"]
