"""JSON Schema of a pipeline file."""

from __future__ import annotations

from typing import Any

from chunkflow_worker.config.catalog import operator_names
from chunkflow_worker.job import share
from chunkflow_worker.job.stage import SHARES, STAGE_NAME, TREE, ZEROS
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
    tasks = {
        "description": "The operator that makes the boxes, here and in the producer.",
        "oneOf": sources,
    }
    operators = {"type": "array", "minItems": 1, "items": {"oneOf": steps}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "chunkflow pipeline",
        "type": "object",
        "additionalProperties": False,
        "oneOf": [{"required": ["operators"]}, {"required": ["stages"]}],
        "properties": {
            "tasks": tasks,
            "operators": operators,
            "stages": {
                "description": "Stages, each of which is a job of its own, instead of operators.",
                "type": "array",
                "minItems": 1,
                "items": _stage(sources, operators),
            },
        },
        "$defs": definitions,
    }


def _stage(sources: list[dict[str, str]], operators: dict[str, Any]) -> dict[str, Any]:
    tree = {
        "description": "The stage whose boxes the tasks join, wave by wave.",
        "type": "string",
    }
    shares = {
        "description": "How many tasks there are, each of which does its share of the objects.",
        "enum": [*share.LEGAL],
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "tasks", "operators"],
        "properties": {
            "name": {"type": "string", "pattern": f"^{STAGE_NAME}$"},
            "tasks": {"oneOf": [*sources, _only(TREE, tree), _only(SHARES, shares)]},
            "operators": operators,
            "needs": {
                "description": "Stages that must be complete before; by default, the one above.",
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            },
            "verify": {
                "description": "Read its output back before stages that need it begin; "
                f"{ZEROS}: blocks of zeros are right, as in a mask.",
                "enum": [False, True, ZEROS],
            },
            "queue": {
                "description": "What the name of its queue ends in: queue em and gpu give em-gpu.",
                "type": "string",
            },
        },
    }


def _only(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """An object with this one property."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name],
        "properties": {name: value},
    }
