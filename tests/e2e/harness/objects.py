"""Builders of objects: pure, and no longer than what a test wants to say."""

from __future__ import annotations

import json
from typing import Any

from ossa.api.contract import API_VERSION

JSONObject = dict[str, Any]

# Small enough for many side by side on two cores; a shell takes a few MiB.
SMALL = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}}


def resource(kind: str, name: str, spec: JSONObject) -> JSONObject:
    """An object of our own kinds; its namespace is that of the test."""
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def agent(
    name: str, runtime: JSONObject, *, takes: JSONObject | None = None, gives: JSONObject | None = None
) -> JSONObject:
    """An Agent with the one capability `do`; `takes` and `gives` are the schemas of its input and output."""
    capability: JSONObject = {"name": "do"}
    if takes is not None:
        capability["inputSchema"] = takes
    if gives is not None:
        capability["outputSchema"] = gives
    return resource("Agent", name, {"capabilities": [capability], "runtime": runtime})


def task(
    name: str,
    uses: str,
    *,
    give: JSONObject | None = None,
    when: str | None = None,
    after: list[str] | None = None,
    timeout: str | None = None,
) -> JSONObject:
    """A task run by the agent `uses`; `give` is its input."""
    fields = {"name": name, "agent": uses, "input": give, "when": when, "dependsOn": after, "timeout": timeout}
    return {field: value for field, value in fields.items() if value is not None}


def workflow(
    name: str,
    tasks: list[JSONObject],
    *,
    inputs: JSONObject | None = None,
    outputs: JSONObject | None = None,
    published: bool = True,
    triggers: list[JSONObject] | None = None,
) -> JSONObject:
    """A Workflow of tasks."""
    fields = {"tasks": tasks, "inputs": inputs, "outputs": outputs, "published": published, "triggers": triggers}
    return resource("Workflow", name, {field: value for field, value in fields.items() if value is not None})


def execution(name: str, of: str, inputs: JSONObject | None = None) -> JSONObject:
    """An Execution of the workflow `of`."""
    return resource("Execution", name, {"workflow": of, "inputs": inputs or {}})


def schema(**properties: JSONObject) -> JSONObject:
    """The schema of an object all of whose properties are required."""
    return {"type": "object", "required": sorted(properties), "properties": properties}


def says(output: Any) -> str:
    """A shell script that gives this output."""
    text = json.dumps(output)
    if "'" in text:
        raise ValueError("the script quotes with '")
    return f"printf %s '{text}' > $OSSA_OUTPUT"
