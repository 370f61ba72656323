"""The agent and the workflows that are run. What each gives is worked out independently in model.py."""

from __future__ import annotations

from typing import Any

from ossa.api.contract import API_VERSION
from tests.bench.workloads import IMAGE, TAINT

JSONObject = dict[str, Any]

NODES = ("ossa-chaos-stays", "ossa-chaos-comes-and-goes")
NODE_LABEL = "chaos.ossa.example/node"
APPROVER = "chaos-approver"
TRIGGERS = {"every-minute": "Allow", "one-at-a-time": "Forbid"}
RETRY = {"maxAttempts": 3, "backoff": {"initial": "300ms", "max": "2s"}}
# Seconds that a pod stays on a node that is gone or not ready, of those that Kubernetes waits by itself 300.
TOLERATED = 3


def agent() -> JSONObject:
    """Its pods land on the fake nodes, which play them by the task's input."""
    away = [
        {
            "key": f"node.kubernetes.io/{why}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": TOLERATED,
        }
        for why in ("not-ready", "unreachable")
    ]
    spec = {
        "nodeSelector": {NODE_LABEL: "fake"},
        "tolerations": [{"key": TAINT, "operator": "Exists"}, *away],
        "terminationGracePeriodSeconds": 5,
    }
    capability = {
        "name": "work",
        "inputSchema": {"type": "object", "required": ["step", "values"]},
        "outputSchema": {"type": "object", "required": ["value", "note"]},
    }
    runtime = {"container": {"image": IMAGE}, "podTemplate": {"spec": spec}}
    return _object("Agent", "worker", {"version": "1.0.0", "capabilities": [capability], "runtime": runtime})


def _task(name: str, *values: str, of: str | None = None, retry: bool = True, **more: Any) -> JSONObject:
    """A task whose pods add up `values`. `of`: where its Step is, by default in the inputs under its name."""
    given = f"${{{{ [{', '.join(values)}] }}}}" if values else []
    held: JSONObject = {
        "name": name,
        "agent": "worker",
        "timeout": "1h",
        "input": {"step": of or f"${{{{ inputs.steps['{name}'] }}}}", "values": given},
        **({"retry": RETRY} if retry else {}),
    }
    return {**held, **more}


def _value(task: str) -> str:
    return f"tasks.{task}.output.value"


def _each(name: str, parallelism: int, **more: Any) -> JSONObject:
    loop = {"items": "${{ inputs.items }}", "parallelism": parallelism}
    return _task(name, of="${{ item }}", forEach=loop, **more)


def _sum(name: str, values: str, **more: Any) -> JSONObject:
    """Like `_task`, with a list that one expression gives."""
    held = _task(name, **more)
    return {**held, "input": {**held["input"], "values": f"${{{{ {values} }}}}"}}


def workflows() -> list[JSONObject]:
    """All of them."""
    return [
        _chain(),
        _diamond(),
        _loop(),
        _tolerant(),
        _doomed(),
        _leaf(),
        _nested(),
        _locked(),
        _again(),
        _approved(),
        _scheduled(),
    ]


def _chain() -> JSONObject:
    tasks = [_task("a"), *(_task(name, _value(before)) for before, name in zip("abc", "bcd", strict=True))]
    return _workflow("chain", tasks, {"value": "${{ tasks.d.output.value }}"})


def _diamond() -> JSONObject:
    tasks = [
        _task("first"),
        _task("left", _value("first")),
        _task("right", _value("first")),
        _task("last", _value("left"), _value("right")),
    ]
    return _workflow("diamond", tasks, {"value": "${{ tasks.last.output.value }}"})


def _loop() -> JSONObject:
    tasks = [
        _task("split"),
        _each("each", 3, dependsOn=["split"]),
        _sum("join", "[tasks.split.output.value] + tasks.each.output.map(o, o.value)"),
    ]
    outputs = {"each": "${{ tasks.each.output.map(o, o.value) }}", "total": "${{ tasks.join.output.value }}"}
    return _workflow("loop", tasks, outputs)


def _tolerant() -> JSONObject:
    failed = "${{ tasks.primary.phase == 'Failed' }}"
    tasks = [
        _task("shaky", retry=False, continueOnError=True, defaultOutput={"value": 1000, "note": ""}),
        _task("after", _value("shaky")),
        _task("primary", retry=False),
        _task("mirror", when=failed, defaultOutput={"value": 0, "note": ""}),
        _task("last", _value("after"), _value("mirror")),
    ]
    outputs = {"value": "${{ tasks.last.output.value }}", "mirror": "${{ tasks.mirror.phase }}"}
    return _workflow("tolerant", tasks, outputs)


def _doomed() -> JSONObject:
    tasks = [_task("a"), _task("b", _value("a")), _task("c", _value("b"))]
    tell = _task("tell")
    tell["input"]["note"] = "${{ status }}:${{ error == null || !has(error.task) ? '' : error.task }}"
    return _workflow("doomed", tasks, {"value": "${{ tasks.c.output.value }}"}, **{"finally": [tell]})


def _leaf() -> JSONObject:
    return _workflow("leaf", [_task("only")], {"value": "${{ tasks.only.output.value }}"})


def _nested() -> JSONObject:
    tasks = [
        {"name": "one", "workflow": "chain", "input": {"steps": "${{ inputs.chain }}"}},
        {
            "name": "many",
            "workflow": "leaf",
            "forEach": {"items": "${{ inputs.items }}", "parallelism": 2},
            "input": {"steps": {"only": "${{ item }}"}},
        },
        _sum("sum", "[tasks.one.output.value] + tasks.many.output.map(o, o.value)"),
    ]
    outputs = {
        "one": "${{ tasks.one.output.value }}",
        "many": "${{ tasks.many.output.map(o, o.value) }}",
        "sum": "${{ tasks.sum.output.value }}",
    }
    return _workflow("nested", tasks, outputs)


def _locked() -> JSONObject:
    tasks = [
        _task("alone", locks=[{"name": "mutex-${{ inputs.lock }}"}]),
        _each("shared", 4, locks=[{"name": "semaphore", "limit": 2}]),
    ]
    outputs = {
        "alone": "${{ tasks.alone.output.value }}",
        "shared": "${{ tasks.shared.output.map(o, o.value) }}",
    }
    return _workflow("locked", tasks, outputs)


def _again() -> JSONObject:
    tasks = [
        _task("a", retry=False),
        _task("b", _value("a"), retry=False),
        _each("each", 3, retry=False, continueOnError=False, dependsOn=["a"]),
        _sum("c", "[tasks.b.output.value] + tasks.each.output.map(o, o.value)", retry=False),
    ]
    retry = {"maxAttempts": 2, "backoff": {"initial": "500ms"}}
    return _workflow("again", tasks, {"value": "${{ tasks.c.output.value }}"}, retry=retry, failFast=False)


def _approved() -> JSONObject:
    ask = {"name": "ask", "dependsOn": ["a"], "approval": {"message": "Go on?", "approverUsers": [APPROVER]}}
    tasks = [_task("a"), ask, _task("b", _value("a"), dependsOn=["ask"])]
    return _workflow("approved", tasks, {"value": "${{ tasks.b.output.value }}"})


def _scheduled() -> JSONObject:
    step = {"add": 1, "ms": 1500, "fail": 0, "rounds": 0}
    triggers = [
        {
            "name": name,
            "cron": "* * * * *",
            "concurrencyPolicy": policy,
            "catchUp": "All",
            "inputs": {"steps": {"only": step}},
            "successfulHistoryLimit": 100,
            "failedHistoryLimit": 100,
        }
        for name, policy in TRIGGERS.items()
    ]
    return _workflow("scheduled", [_task("only")], {"value": "${{ tasks.only.output.value }}"}, triggers=triggers)


def _workflow(name: str, tasks: list[JSONObject], outputs: JSONObject, **more: Any) -> JSONObject:
    return _object("Workflow", name, {"version": "1.0.0", "tasks": tasks, "outputs": outputs, **more})


def _object(kind: str, name: str, spec: JSONObject) -> JSONObject:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
