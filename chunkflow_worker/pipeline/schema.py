"""JSON Schema of a pipeline file."""

from __future__ import annotations

from typing import Any

from chunkflow_worker.config.catalog import operator_names
from chunkflow_worker.pipeline.operator import TaskSource, find_operator


def pipeline_schema() -> dict[str, Any]:
    """JSON Schema of a pipeline file, made of the operators' models."""
    definitions: dict[str, Any] = {}
    steps: list[dict[str, str]] = []
    sources: list[dict[str, str]] = []
    for name in operator_names():
        kind = find_operator(name)
        schema = kind.model_json_schema(ref_template="#/$defs/{model}")
        definitions.update(schema.pop("$defs", {}))
        schema["required"] = ["op", *(r for r in schema.get("required", []) if r != "op")]
        definitions[name] = schema
        (sources if issubclass(kind, TaskSource) else steps).append({"$ref": f"#/$defs/{name}"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "chunkflow pipeline",
        "type": "object",
        "additionalProperties": False,
        "required": ["operators"],
        "properties": {
            "tasks": {
                "description": "The operator that makes the boxes, here and in the producer.",
                "oneOf": sources,
            },
            "operators": {"type": "array", "minItems": 1, "items": {"oneOf": steps}},
        },
        "$defs": definitions,
    }
