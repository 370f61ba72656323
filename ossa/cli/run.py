"""`ossa run`: starts an Execution of a Workflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from ossa.api.contract import API_VERSION
from ossa.cli.outcome import Exit, Stop
from ossa.cli.session import Session, get_object


async def start(session: Session, workflow: str, *, name: str | None, inputs: Sequence[str]) -> dict[str, Any]:
    """Create the Execution; the object. Raises Stop where the workflow or an input does not fit."""
    found = await get_object(session, "Workflow", workflow)
    schema = found.get("spec", {}).get("inputs") or {}
    body = execution_body(workflow, name=name, inputs=parse_inputs(inputs, schema))
    created = await session.api.post(session.path("Execution"), body)
    status = found.get("status", {})
    if status.get("phase") == "Draft":
        reason = status.get("message") or f"see kubectl describe workflow {workflow}"
        print(f"Workflow '{workflow}' is a Draft, so the Execution waits: {reason}", file=sys.stderr)
    return created


def execution_body(workflow: str, *, name: str | None, inputs: dict[str, Any]) -> dict[str, Any]:
    """The Execution to create: with the name, or one that the API server makes from the workflow's."""
    metadata = {"name": name} if name else {"generateName": f"{workflow}-"}
    spec: dict[str, Any] = {"workflow": workflow}
    if inputs:
        spec["inputs"] = inputs
    return {"apiVersion": API_VERSION, "kind": "Execution", "metadata": metadata, "spec": spec}


def parse_inputs(pairs: Sequence[str], schema: dict[str, Any]) -> dict[str, Any]:
    """Inputs from `key=value`: text where the workflow's schema says string, else JSON where it is JSON.

    Raises Stop for a pair without `=`, a key given twice, or one that the workflow does not have.
    """
    properties = schema.get("properties", {})
    inputs: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise Stop(f"--input {pair}: write it as name=value", Exit.USAGE)
        if key in inputs:
            raise Stop(f"--input {key} is given twice", Exit.USAGE)
        if key not in properties and schema.get("additionalProperties") is False:
            known = ", ".join(sorted(properties)) or "none"
            raise Stop(f"--input {key}: the workflow has no such input. It has: {known}", Exit.USAGE)
        inputs[key] = _value(text, properties.get(key, {}))
    return inputs


def _value(text: str, schema: Any) -> Any:
    if isinstance(schema, dict) and schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
