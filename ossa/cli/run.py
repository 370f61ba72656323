"""`ossa run`: starts an Execution of a Workflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from ossa.api.contract import API_VERSION
from ossa.cli.manifests import read_manifests
from ossa.cli.outcome import Exit, Stop
from ossa.cli.session import Session, get_object
from ossa.cli.view import one_line
from ossa.governance.world import metadata_of


async def start(session: Session, workflow: str, *, name: str | None, inputs: Sequence[str]) -> dict[str, Any]:
    """Create the Execution; the object. Raises Stop where the workflow or an input does not fit."""
    found = await get_object(session, "Workflow", workflow)
    schema = found.get("spec", {}).get("inputs") or {}
    given = parse_inputs(inputs, schema)
    created = await create(session, {"workflow": workflow}, prefix=workflow, name=name, inputs=given)
    status = found.get("status", {})
    if status.get("phase") == "Draft":
        reason = status.get("message") or f"see kubectl describe workflow {workflow}"
        print(f"Workflow '{workflow}' is a Draft, so the Execution waits: {reason}", file=sys.stderr)
    return created


async def start_inline(session: Session, file: str, *, name: str | None, inputs: Sequence[str]) -> dict[str, Any]:
    """Create an Execution of a Workflow that lies in a file, and need not be in the cluster; the object.

    Raises Stop where the file does not hold one Workflow, or an input does not fit.
    """
    workflow = workflow_in(file)
    spec = {field: value for field, value in workflow["spec"].items() if field not in ("triggers", "published")}
    prefix = str(metadata_of(workflow).get("name") or "inline")
    given = parse_inputs(inputs, spec.get("inputs") or {})
    return await create(session, {"workflowSpec": spec}, prefix=prefix, name=name, inputs=given)


def workflow_in(file: str) -> dict[str, Any]:
    """The one Workflow of a file, or of standard input where it is `-`. Raises Stop where there is another number."""
    found = read_manifests([file])
    for held in found.unreadable:
        raise Stop(one_line(f"{held.file}:{held.number}: {held.problem}"), Exit.USAGE)
    workflows = [held.item for held in found.manifests if held.kind == "Workflow" and held.is_ours]
    if len(workflows) != 1 or not isinstance(workflows[0].get("spec"), dict):
        raise Stop(f"{file} holds {len(workflows)} Workflows; name a file with one, which has a spec", Exit.USAGE)
    return workflows[0]


async def create(
    session: Session, runs: dict[str, Any], *, prefix: str, name: str | None, inputs: dict[str, Any]
) -> dict[str, Any]:
    """Create an Execution; the object. runs: spec.workflow or spec.workflowSpec, and what else its spec has."""
    metadata = {"name": name} if name else {"generateName": f"{prefix}-"}
    spec = {**runs, "inputs": inputs} if inputs else runs
    body = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": metadata, "spec": spec}
    created: dict[str, Any] = await session.api.post(session.path("Execution"), body)
    return created


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
