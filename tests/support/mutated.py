"""JSON documents with faults, as a stranger may write them, for property tests."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

_DEEP: Any = []
for _ in range(300):
    _DEEP = [_DEEP]

ODD = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**18, -(10**18), 10**400, 1.5, 1e308, -0.0,
    float("nan"), float("inf"), "", " ", "0", "1e9", "\x00", "\x1b[2J\x1b]0;owned\x07", "a\nb\rc",
    "\u202egnp\u2066", "\ud800", "ﷺ" * 50, "x" * 20_000, "../../etc/passwd", "file:///etc",
    "http://127.0.0.1:9/latest/meta-data", "s3://key:secret@bucket/x", "${env:HOME}", "mem://x/../y",
    "0-4_0-8_0-16", "0-4_0-8_0-99999999999999999", "-9-9_-9-9_-9-9", "0-1_0-1_0-" + "9" * 5000,
    "2026-01-01T00:00:00+00:00", "0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59-23:59",
    "<script>alert(1)</script>", "[red]rich[/red]", "'; rm -rf ~; '", [], {}, [[]], [None] * 1000,
    [10**10] * 3, [1, 1, 10**10], [1e400, 0, 1], {"a": {"b": {"c": 1}}}, _DEEP,
)  # fmt: skip
"""Values of all types, of extreme sizes, and with text that acts on a terminal, shell or page."""


@st.composite
def mutated(draw: st.DrawFn, document: dict[str, Any], most: int = 3) -> bytes:
    """The bytes of a JSON document with up to `most` faults in it, or of what is no JSON."""
    content: Any = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, most))):
        content = _with_fault(draw, content)
    data = json.dumps(content).encode()
    match draw(st.integers(0, 12)):
        case 0:
            return data[: draw(st.integers(0, len(data)))]
        case 1:
            place = draw(st.integers(0, len(data)))
            return data[:place] + draw(st.binary(max_size=8)) + data[place:]
        case 2:
            return b'{"a":' * draw(st.sampled_from([10, 5000])) + data
        case 3:
            return data + b" " * draw(st.sampled_from([1, 5 * 2**20]))
        case 4:
            return data.replace(b"1", b"1" * 6000, 1)
    return data


def _with_fault(draw: st.DrawFn, content: Any) -> Any:
    """The same value with something in it replaced, removed, added or repeated."""
    if isinstance(content, dict) and content and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(content)))
        match draw(st.integers(0, 5)):
            case 0:
                del content[key]
            case 1:
                name = draw(st.sampled_from(["extra", "__class__", "\x1b[2J", "bbox"]))
                content[name] = deepcopy(draw(st.sampled_from(ODD)))
            case _:
                content[key] = _with_fault(draw, content[key])
        return content
    if isinstance(content, list) and content and draw(st.booleans()):
        place = draw(st.integers(0, len(content) - 1))
        content[place] = _with_fault(draw, content[place])
        return content * draw(st.sampled_from([1, 1, 1, 3000]))
    odd = st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=20)
    return deepcopy(draw(odd))  # the next fault may change it in place
