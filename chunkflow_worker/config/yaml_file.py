"""`read_yaml`: a YAML file that a person wrote, read with clear errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ConfigError, Fault

if TYPE_CHECKING:
    import yaml

_INDENT = "check the indentation (spaces only), and that all quotes and brackets are closed"
# Octal numbers (007) and numbers to the base of 60 (1:30), both without a warning.
_OTHER_BASE = re.compile(r"[+-]?(0[0-9_]+$|[0-9_]+:)")
_LARGEST = 512 * 1024  # bytes of a file
_MOST_NODES = 100_000  # values in it
_KEEP_ONE = "keep one; each operator begins with a dash: - op: <name>"


def read_yaml(path: Path) -> Any:
    """The content of a YAML file in UTF-8.

    Raises ConfigError when the file cannot be read, is not YAML, sets a key twice, or holds a
    number that YAML reads to another base than ten.
    """
    import yaml

    try:
        size = path.stat().st_size
        if size > _LARGEST:
            problem = f"has {size} bytes, and a pipeline has at most {_LARGEST}"
            raise ConfigError.one(str(path), "file", problem)
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root and _nodes(root, {}) > _MOST_NODES:
            problem = f"has more than {_MOST_NODES} values once its aliases (*name) are followed"
            raise ConfigError.one(str(path), "file", problem, "write them out")
        faults = list(_faults(root)) if root else []
        content = yaml.safe_load(text)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise ConfigError.one(str(path), "file", problem) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        problem = f"is not YAML: {error.problem or error.context}"
        raise ConfigError.one(str(path), place, problem, _INDENT) from None
    except UnicodeDecodeError:
        cure = "save it as UTF-8, as text without formatting"
        raise ConfigError.one(str(path), "file", "is not text in UTF-8", cure) from None
    except RecursionError:
        raise ConfigError.one(str(path), "file", "is not YAML: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError.one(str(path), "file", f"is not YAML: {error}") from None
    if faults:
        raise ConfigError(str(path), faults)
    return content


def _nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values there are below a node, with those of aliases each time.

    known: of the nodes that were counted. One that holds itself counts as too many.
    """
    import yaml

    if id(node) in known:
        return known[id(node)]
    known[id(node)] = _MOST_NODES + 1
    inner = list(node.value) if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in inner for part in pair]
    known[id(node)] = 1 + sum(_nodes(part, known) for part in inner)
    return known[id(node)]


def _faults(root: yaml.Node) -> Iterator[Fault]:
    """What YAML would read otherwise than it looks, in the order of the file."""
    import yaml

    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # reached before, through an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            yield from _duplicates_in(node)
            waiting.extend(value for _, value in reversed(node.value))
        elif isinstance(node, yaml.ScalarNode) and (fault := _misleading(node)):
            yield fault


def _misleading(scalar: yaml.ScalarNode) -> Fault | None:
    """The fault of a number that YAML 1.1 reads to another base than ten."""
    import yaml

    text, is_number = scalar.value, scalar.tag.endswith((":int", ":float"))
    if scalar.style is not None or not is_number or not _OTHER_BASE.match(text):
        return None
    meant = yaml.safe_load(text)
    cure = f"put it in quotes if it is text, or write {meant} if it is that number"
    place = f"line {scalar.start_mark.line + 1}, column {scalar.start_mark.column + 1}"
    return Fault(place, f"YAML reads {text} as {meant}", cure)


def _duplicates_in(mapping: yaml.MappingNode) -> list[Fault]:
    """Keys that a mapping sets twice. YAML forbids them, but PyYAML silently takes the last."""
    import yaml

    faults: list[Fault] = []
    first_lines: dict[str, int] = {}
    for key, _ in mapping.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":  # << may merge several
            continue
        line = key.start_mark.line + 1
        if key.value in first_lines:
            problem = f"the key {key.value!r} is already in line {first_lines[key.value]}"
            faults.append(Fault(f"line {line}", problem, _KEEP_ONE))
        else:
            first_lines[key.value] = line
    return faults
