"""`read_yaml`: a YAML file that a person wrote, read with clear errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ConfigError, Fault

if TYPE_CHECKING:
    import yaml

_INDENT = "check the indentation (spaces only), and that all quotes and brackets are closed"
_KEEP_ONE = "keep one; each operator begins with a dash: - op: <name>"


def read_yaml(path: Path) -> Any:
    """The content of a YAML file in UTF-8.

    Raises ConfigError when the file cannot be read, is not YAML, or sets a key twice.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        faults = list(_duplicate_keys(root)) if root else []
        content = yaml.safe_load(text)
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise ConfigError.one(str(path), "file", problem) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        problem = f"is not YAML: {error.problem or error.context}"
        raise ConfigError.one(str(path), place, problem, _INDENT) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError.one(str(path), "file", f"is not YAML: {error}") from None
    if faults:
        raise ConfigError(str(path), faults)
    return content


def _duplicate_keys(root: yaml.Node) -> list[Fault]:
    """Keys that a mapping sets twice. YAML forbids them, but PyYAML silently takes the last."""
    import yaml

    faults: list[Fault] = []
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # reached before, through an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            faults += _duplicates_in(node)
            waiting.extend(value for _, value in reversed(node.value))
    return faults


def _duplicates_in(mapping: yaml.MappingNode) -> list[Fault]:
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
