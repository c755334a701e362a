"""The catalog reads files; what it tells must be what the classes say."""

from __future__ import annotations

import pytest

from chunkflow_worker.cli.chunkflow import GROUPS
from chunkflow_worker.pipeline.catalog import Entry, folder_names, operator_names, read_entry
from chunkflow_worker.pipeline.operator import find_operator


@pytest.mark.parametrize("name", sorted(folder_names()))
def test_an_entry_is_what_the_class_says(name: str) -> None:
    kind = find_operator(name)
    assert kind.__doc__ is not None
    assert read_entry(name) == Entry(name, kind.group, kind.__doc__.strip().splitlines()[0])
    assert kind.group in GROUPS


def test_names_are_sorted_and_hold_the_folder() -> None:
    assert operator_names() == sorted(operator_names())
    assert folder_names() <= set(operator_names())


def test_a_file_that_declares_no_operator_is_told() -> None:
    with pytest.raises(LookupError, match=r"__init__\.py declares no operator"):
        read_entry("--init--")
