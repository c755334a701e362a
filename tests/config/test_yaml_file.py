from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chunkflow_worker.config.yaml_file import read_yaml
from chunkflow_worker.errors import ConfigError


def faults(tmp_path: Path, content: bytes) -> list[str]:
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert caught.value.subject == str(path)
    return [f"{fault.place}: {fault.problem}" for fault in caught.value.faults]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "as written on Windows"])
def test_text_is_utf_8_whatever_the_locale(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "a.yaml").write_bytes(mark + "path: file://größe/日本".encode())
    code = (
        "from pathlib import Path; from chunkflow_worker.config.yaml_file import read_yaml; "
        "print(ascii(read_yaml(Path('a.yaml'))))"
    )
    posix = os.environ | {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=posix,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ascii({"path": "file://größe/日本"})


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a:\n  - b: 1\n   c: 2\n", "line 3, column 4: is not YAML: expected <block end>"),
        (b"a:\n\t- b\n", "line 2, column 1: is not YAML: found character '\\t'"),
        (b"a: [1\n", "line 2, column 1: is not YAML: expected ',' or ']'"),
        (b"\xff\xfe\x00", "file: is not text in UTF-8"),
        ("operators: []".encode("utf-16"), "file: is not text in UTF-8"),
        ("name: größe".encode("latin-1"), "file: is not text in UTF-8"),
        (b"a: \x01", "file: is not YAML: unacceptable character"),
        (b"a: 2026-13-45", "file: is not YAML: month must be in 1..12"),
        (b"[" * 3000, "file: is not YAML: nested too deeply"),
        (b"{[1]: 2}", "line 1, column 2: is not YAML: found unhashable key"),
    ],
)
def test_text_that_is_not_yaml_is_reported_with_its_place(
    tmp_path: Path, content: bytes, fault: str
) -> None:
    (found,) = faults(tmp_path, content)
    assert found.startswith(fault)


def test_all_keys_that_are_set_twice_are_reported(tmp_path: Path) -> None:
    text = b"a:\n- b: 1\n  b: 2\n- c: {d: 1, d: 2}\na: 3\n"
    assert faults(tmp_path, text) == [
        "line 5: the key 'a' is already in line 1",
        "line 3: the key 'b' is already in line 2",
        "line 4: the key 'd' is already in line 4",
    ]


def test_a_merged_key_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "a: &a {b: 1, c: 2}\nd: &d {<<: *a, c: 3}\ne: {<<: *d, <<: *a, b: 4}\nf: [*a, *a]\n"
    )
    assert read_yaml(path)["e"] == {"b": 4, "c": 2}


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="file: cannot be read: No such file or directory"):
        read_yaml(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1}, ' * 9}]\n" for n in range(1, 12)),
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n} {{b: *a{n - 1}, c: *a{n - 1}}}\n" for n in range(1, 40)),
        "a: &a [*a]\n",
        "a: &a {b: {c: *a}}\n",
    ],
    ids=["lists", "mappings", "itself", "itself below"],
)
def test_aliases_that_multiply_are_refused(tmp_path: Path, text: str) -> None:
    (found,) = faults(tmp_path, text.encode())
    assert found == "file: has more than 100000 values once its aliases (*name) are followed"


@pytest.mark.parametrize("text", [b"[" * 100_000, b"- " * 100_000, b'{"a":' * 50_000])
def test_deep_nesting_is_refused(tmp_path: Path, text: bytes) -> None:
    assert len(faults(tmp_path, text)) == 1


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, b"a: 1\n" * 200_000)
    assert found == "file: has 1000000 bytes, and a pipeline has at most 524288"
