"""Numbers of sections, by names that people give their files."""

from __future__ import annotations

import pytest

from chunkflow_worker.storage.formats.section_numbers import NotNumbered, section_numbers


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["slice_8", "slice_9", "slice_10"], [8, 9, 10]),
        (["00008", "00009", "00010"], [8, 9, 10]),
        (["run2_s07_v1", "run2_s08_v1"], [7, 8]),
        (["2024-01-31 z9", "2024-01-31 z10"], [9, 10]),
        (["z8_8", "z9_9"], [8, 9]),
        (["s001_z0nm", "s002_z40nm"], [1, 2]),
        (["12h0856_s08", "12h0903_s09", "12h0911_s10"], [8, 9, 10]),
        (["run2_s07"], [7]),
        (["-0002", "-0001", "00000"], [-2, -1, 0]),
        (["b", "a"], None),
        (["a1", "b2", "c"], None),
    ],
)
def test_the_number_that_differs_is_the_section(names: list[str], numbers) -> None:
    assert section_numbers([f"{name}.png" for name in names]) == numbers


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["x1_z1", "x1_z2", "x2_z1"], "several numbers differ in 'x1_z1.png' and 'x1_z2.png'"),
        (["s0_tr1", "s1_tr2"], "several numbers differ"),
        (["s0_40nm", "s2_80nm"], "several numbers differ"),
        (["1", "2", "overview"], "'overview.png' is not named like '1.png'"),
        (["07", "7"], "'07.png' and '7.png' have the same number"),
        (["s1", "s2", "s2b"], "'s2b.png' is not named like 's1.png'"),
    ],
)
def test_names_without_one_number_are_refused(names: list[str], why: str) -> None:
    with pytest.raises(NotNumbered, match=why):
        section_numbers([f"{name}.png" for name in names])


def test_digits_choose_the_number() -> None:
    names = ["x1_z00042.png", "x2_z00043.png"]
    assert section_numbers(names, digits=5) == [42, 43]
    assert section_numbers(["999.png", "1000.png"], digits=3) == [999, 1000]
    with pytest.raises(NotNumbered, match=r"'x1_z00042.png' does not have 4 digits"):
        section_numbers(names, digits=4)


def test_what_all_begin_with_has_no_number() -> None:
    assert section_numbers(["em2_8.png", "em2_9.png"], "em2_") == [8, 9]
    assert section_numbers(["em-8.png", "em-9.png"], "em") == [8, 9], "no minus"
