"""Bounds on what files ask for."""

from __future__ import annotations

import resource

import pytest

from chunkflow_worker.config.largest_block import VARIABLE, largest_block
from chunkflow_worker.errors import ConfigError, DataRefused
from chunkflow_worker.machine.memory import usable_bytes
from chunkflow_worker.storage.largest import bytes_text, check_block, check_read


@pytest.mark.parametrize(("text", "size"), [("1000", 1000), ("2GiB", 2 << 30), ("", 512 << 20)])
def test_the_setting_is_a_size(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv(VARIABLE, text)
    assert largest_block() == size
    check_block(size, "a block")
    with pytest.raises(DataRefused, match=f"a block has .* unpacked.*\\n.*{VARIABLE}"):
        check_block(size + 1, "a block")


def test_a_setting_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(ConfigError, match=r"LARGEST_BLOCK: 'much' is not a size\n +bytes, or"):
        largest_block()


def test_half_of_the_memory_is_read_at_once() -> None:
    most = usable_bytes() // 2
    check_read(most, "em")
    with pytest.raises(DataRefused, match=r"em has .* at most .* half of the memory"):
        check_read(most + 1, "em")


def test_the_memory_is_at_most_what_the_shell_allows() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    assert usable_bytes() > 0
    assert soft <= 0 or usable_bytes() <= soft


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (2**33, "8 GiB"),
        (10**40, "1024 EiB"),
    ],
)
def test_sizes_in_words(size: int, text: str) -> None:
    assert bytes_text(size) == text
