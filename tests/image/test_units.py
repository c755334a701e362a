import pytest

from chunkflow_worker.image.units import nanometres

# The list of the OME-Zarr specification 0.4 and 0.5, section "axes", with the lengths of UDUNITS-2.
OME_ZARR = {
    "angstrom": 0.1,
    "attometer": 1e-9,
    "centimeter": 1e7,
    "decimeter": 1e8,
    "exameter": 1e27,
    "femtometer": 1e-6,
    "foot": 304.8e6,
    "gigameter": 1e18,
    "hectometer": 1e11,
    "inch": 25.4e6,
    "kilometer": 1e12,
    "megameter": 1e15,
    "meter": 1e9,
    "micrometer": 1e3,
    "mile": 1609.344e9,
    "millimeter": 1e6,
    "nanometer": 1.0,
    "parsec": 3.0856775814913673e25,
    "petameter": 1e24,
    "picometer": 1e-3,
    "terameter": 1e21,
    "yard": 914.4e6,
    "yoctometer": 1e-15,
    "yottameter": 1e33,
    "zeptometer": 1e-12,
    "zettameter": 1e30,
}


@pytest.mark.parametrize("unit", OME_ZARR)
def test_units_of_ome_zarr(unit: str) -> None:
    assert nanometres(unit) == pytest.approx(OME_ZARR[unit], rel=1e-9)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("nm", 1.0),
        ("NM", 1.0),
        ("Nanometers", 1.0),
        ("nanometre", 1.0),
        ("micron", 1e3),
        ("microns", 1e3),
        ("um", 1e3),
        ("µm", 1e3),  # MICRO SIGN
        ("μm", 1e3),  # GREEK SMALL LETTER MU
        ("\\u00B5m", 1e3),  # as ImageJ escapes it
        ("micrometres", 1e3),
        (" mm ", 1e6),
        ("cm", 1e7),
        ("m", 1e9),
        ("inches", 25.4e6),
        ("feet", 304.8e6),
        ("Å", 0.1),
    ],
)
def test_other_spellings(unit: str, expected: float) -> None:
    assert nanometres(unit) == pytest.approx(expected)


def test_usual_units_are_exact() -> None:
    assert [nanometres(u) for u in ("nm", "um", "mm", "m")] == [1.0, 1e3, 1e6, 1e9]


@pytest.mark.parametrize("unit", ["", "pixel", "px", "voxel", "second", "Mm", "nanosecond", "?"])
def test_what_is_no_length_is_not_known(unit: str) -> None:
    assert nanometres(unit) is None
