"""`read_yaml`: a file that people wrote, read with clear errors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from chunkflow_worker.errors import ConfigError, Fault

if TYPE_CHECKING:
    import yaml


def read_yaml(path: Path) -> Any:
    """What a YAML file holds. Raises ConfigError when it cannot be read or is not YAML, and for keys that stand twice."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        faults = list(_twins(node)) if node else []
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError.one(
            str(path), "file", f"cannot be read: {error.strerror or error}"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        cure = "look at the indentation, by spaces alone, and for quotes and brackets that are not closed"
        raise ConfigError.one(
            str(path), place, f"is not YAML: {error.problem or error.context}", cure
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError.one(str(path), "file", f"is not YAML: {error}") from None
    if faults:
        raise ConfigError(str(path), faults)
    return content


def _twins(root: yaml.Node) -> list[Fault]:
    """Keys that a mapping has twice; YAML forbids them, and PyYAML takes the last."""
    import yaml

    faults, waiting, seen = [], [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, _ in node.value:
                if (
                    not isinstance(key, yaml.ScalarNode) or key.value == "<<"
                ):  # a merge, of which there may be several
                    continue
                line = key.start_mark.line + 1
                if key.value in lines:
                    problem = f"the key {key.value!r} stands in line {lines[key.value]} already"
                    faults.append(
                        Fault(
                            f"line {line}",
                            problem,
                            "keep one; each operator begins with a dash: - op: <name>",
                        )
                    )
                lines.setdefault(key.value, line)
            waiting.extend(value for _, value in reversed(node.value))
    return faults
