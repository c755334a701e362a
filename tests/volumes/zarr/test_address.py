from __future__ import annotations

import pytest

from chunkflow_worker.errors import Mistake
from chunkflow_worker.volumes.zarr.address import with_driver


@pytest.mark.parametrize(
    ("store", "given", "driver"),
    [
        ("n5://s3://lab/em", {}, "n5"),
        ("s3://lab/em|zarr3:", {}, "zarr3"),
        ("zarr2://s3://lab/em", {"driver": "local"}, "zarr"),
        ("zarr2://s3://lab/em", {"driver": "zarr"}, "zarr"),
        ("zarr://s3://lab/em", {"driver": "zarr3"}, "zarr3"),
        ("zarr://s3://lab/em", {}, None),
        ("s3://lab/em", {}, None),
        ("precomputed://s3://lab/em", {}, None),
    ],
)
def test_the_address_of_a_store_names_the_driver(
    store: str, given: dict[str, str], driver: str | None
) -> None:
    assert with_driver({"store": store, **given}).get("driver") == driver


@pytest.mark.parametrize(
    ("store", "driver"), [("n5://em", "zarr"), ("em|zarr3:", "zarr"), ("zarr://em", "n5")]
)
def test_an_address_and_a_driver_must_agree(store: str, driver: str) -> None:
    with pytest.raises(Mistake, match=f"driver is {driver}, and the address"):
        with_driver({"store": store, "driver": driver})
