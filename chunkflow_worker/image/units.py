"""Units of length, as files of all formats spell them, in nanometres."""

from __future__ import annotations

# The units of UDUNITS-2 that OME-Zarr allows: SI prefixes of the metre, and these others.
_PREFIXES = {
    "yocto": 1e-24,
    "zepto": 1e-21,
    "atto": 1e-18,
    "femto": 1e-15,
    "pico": 1e-12,
    "nano": 1e-9,
    "micro": 1e-6,
    "milli": 1e-3,
    "centi": 1e-2,
    "deci": 1e-1,
    "": 1.0,
    "hecto": 1e2,
    "kilo": 1e3,
    "mega": 1e6,
    "giga": 1e9,
    "tera": 1e12,
    "peta": 1e15,
    "exa": 1e18,
    "zetta": 1e21,
    "yotta": 1e24,
}
_METRES = {
    **{f"{prefix}meter": metres for prefix, metres in _PREFIXES.items()},
    "angstrom": 1e-10,
    "inch": 0.0254,
    "foot": 0.3048,
    "yard": 0.9144,
    "mile": 1609.344,
    "parsec": 3.0856775814913673e16,
}
_OTHER_NAMES = {
    "micron": "micrometer",
    "feet": "foot",
    "ft": "foot",
    "inche": "inch",  # inches, without its s
    "in": "inch",
    "yd": "yard",
    "mi": "mile",
    "å": "angstrom",
    "a": "angstrom",
    "ang": "angstrom",
}
# Short names, where case matters: mm and Mm differ.
_SYMBOLS = {
    "pm": "picometer",
    "nm": "nanometer",
    "um": "micrometer",
    "µm": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "dm": "decimeter",
    "m": "meter",
    "km": "kilometer",
    "fm": "femtometer",
}


def nanometres(unit: str) -> float | None:
    """How many nanometres one `unit` has; None if it is not known as a unit of length.

    Names may be written in full (micrometer, micrometres, Micron) or as a symbol (um, µm).
    """
    # ImageJ writes the micro sign as an escape, and Unicode has two of them.
    text = unit.strip().replace("\\u00B5", "µ").replace("\u03bc", "µ")
    symbol = text.lower() if text.isupper() else text  # NM, but Mm is no mm
    name = _SYMBOLS.get(symbol) or _full_name(text.lower())
    metres = _METRES.get(name)
    # Rounded, since 1e-9 * 1e9 is not quite 1.
    return None if metres is None else float(f"{metres * 1e9:.12g}")


def _full_name(text: str) -> str:
    if text in _OTHER_NAMES:
        return _OTHER_NAMES[text]
    single = text.removesuffix("s").replace("metre", "meter")
    return _OTHER_NAMES.get(single, single)
