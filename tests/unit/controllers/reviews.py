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
    "agentpolicies": {"match": {"kinds": ["Agent"]}, "rules": [{"expression": "object.spec.owner != ''"}]},
    "agentpolicyexceptions": {
        "policy": "a-policy",
        "target": {"kind": "Agent", "name": "an-agent", "specHash": "sha256:" + "0" * 64},
        "owner": "data-team",
        "reason": "a migration",
        "expiresAt": "2999-01-01T00:00:00Z",
    },
}
BAD: dict[str, dict[str, Any]] = {
    "agents": {"capabilities": [{"name": "a", "inputSchema": {"type": "objct"}}], "runtime": {"handler": "a:b"}},
    "workflows": {"tasks": [{"name": "a", "agent": "a", "input": {"x": "${{ tasks.nobody.output }}"}}]},
    "executions": {"workflow": "w", "inputs": {"x": {"$artifact": "A"}}},
    "agentpolicies": {"match": {"kinds": ["Agent"]}, "rules": [{"expression": "object.spec.owner != '' &&"}]},
    "agentpolicyexceptions": {**GOOD["agentpolicyexceptions"], "expiresAt": "2020-01-01T00:00:00Z"},
}
FIELD = {
    "agents": "spec.capabilities[0].inputSchema.type: ",
    "workflows": "spec.tasks[0].input.x: ",
    "executions": "spec.inputs.x: ",
    "agentpolicies": "spec.rules[0].expression: `object.spec.owner != '' &&`: at character ",
    "agentpolicyexceptions": "spec.expiresAt: ",
}


def body(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x", "namespace": "team", "uid": "u", **metadata}, "spec": spec}
