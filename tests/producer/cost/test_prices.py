from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from chunkflow_worker.errors import ConfigError
from producer.cost.prices import DEFAULT_FILE, Prices


def test_the_table_of_the_package_is_dated_and_names_its_sources() -> None:
    prices = Prices.load()
    assert date.fromisoformat(prices.date)
    services = (prices.beside_machines, prices.s3, prices.sqs, prices.cloudwatch, prices.transfer)
    for row in (*prices.machines, *services):
        assert row.source.startswith("https://"), row
    assert any(machine.gpu for machine in prices.machines)
    for machine in prices.machines:
        assert machine.spot < machine.on_demand
        assert prices.machine(machine.name) is machine


def test_an_unknown_machine_is_answered_with_those_of_the_table() -> None:
    with pytest.raises(ConfigError, match=r"no machine 'x1'; it has c7i\.2xlarge, "):
        Prices.load().machine("x1")


def test_a_mistake_in_an_edited_table_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = DEFAULT_FILE.read_text()
    file.write_text(text.replace("million: 0.50", "million: -1").replace("put_1000", "put_10"))
    with pytest.raises(ConfigError) as raised:
        Prices.load(file)
    places = {fault.place for fault in raised.value.faults}
    assert {"sqs.million", "s3.put_10", "s3.put_1000"} <= places
    assert str(file) in str(raised.value)
