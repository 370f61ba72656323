"""Objects of each kind that admission takes, and that it refuses."""

from __future__ import annotations

from typing import Any

GOOD: dict[str, dict[str, Any]] = {
    "agents": {"capabilities": [{"name": "a"}], "runtime": {"handler": "a:b"}},
    "workflows": {
        "tasks": [
            {"name": "a", "agent": "a"},
            {"name": "b", "agent": "b", "input": {"x": "${{ tasks.a.output.x }}"}},
        ]
    },
    "executions": {"workflow": "w", "inputs": {"x": 1}},
}
BAD: dict[str, dict[str, Any]] = {
    "agents": {"capabilities": [{"name": "a", "inputSchema": {"type": "objct"}}], "runtime": {"handler": "a:b"}},
    "workflows": {"tasks": [{"name": "a", "agent": "a", "input": {"x": "${{ tasks.nobody.output }}"}}]},
    "executions": {"workflow": "w", "inputs": {"x": {"$artifact": "A"}}},
}
FIELD = {
    "agents": "spec.capabilities[0].inputSchema.type: ",
    "workflows": "spec.tasks[0].input.x: ",
    "executions": "spec.inputs.x: ",
}


def body(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "uid": "u", **metadata}, "spec": spec}
