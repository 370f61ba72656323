"""What is run: the data pipeline with agents that the fake node ends at once, and the plain pod of the ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from ossa.api.contract import API_VERSION
from ossa.api.workflow import WorkflowSpec
from ossa.engine.graph import build_graph, parse_task

JSONObject = dict[str, Any]

NODE = "ossa-bench"
TAINT = "ossa.dev/fake"
# What the fake node gives as the termination message of a pod's container `main`.
ANNOTATION_OUTPUT = "bench.ossa.example/output"
# Never pulled: no kubelet sees these pods.
IMAGE = "bench.invalid/none:1"
FOREACH_COUNT, FOREACH_PARALLELISM = 10_000, 200

# task -> (input, output): small JSON that is passed on by expressions.
PIPELINE: Mapping[str, tuple[JSONObject, JSONObject]] = {
    "ingest": (
        {"dataset": "${{ inputs.dataset }}"},
        {"records": {"batch": "b-0001", "count": 178}, "source": "wine"},
    ),
    "validate": (
        {"records": "${{ tasks.ingest.output.records }}"},
        {"records": {"batch": "b-0002", "count": 166}, "rejected": 12},
    ),
    "transform": (
        {"records": "${{ tasks.validate.output.records }}"},
        {"train": {"batch": "b-0003", "count": 116}, "heldOut": {"batch": "b-0004", "count": 50}},
    ),
    "ml-score": (
        {"train": "${{ tasks.transform.output.train }}", "heldOut": "${{ tasks.transform.output.heldOut }}"},
        {"verdicts": {"batch": "b-0005", "count": 50}, "accuracy": 0.96},
    ),
    "rules": (
        {"records": "${{ tasks.transform.output.heldOut }}"},
        {"verdicts": {"batch": "b-0006", "count": 41}, "coverage": 0.82},
    ),
    "aggregate": (
        {
            "model": "${{ tasks['ml-score'].output.verdicts }}",
            "rules": "${{ tasks.rules.output.verdicts }}",
        },
        {"records": {"batch": "b-0007", "count": 50}, "disagreements": 3},
    ),
    "report": (
        {
            "aggregate": "${{ tasks.aggregate.output }}",
            "rejected": "${{ tasks.validate.output.rejected }}",
            "accuracy": "${{ tasks['ml-score'].output.accuracy }}",
        },
        {"report": "r-0001", "summary": "50 records, 3 disagreements"},
    ),
}


def placement(*, scheduler: bool) -> JSONObject:
    """The part of a PodSpec that brings a pod to the fake node: by the scheduler, or past it."""
    tolerations = [{"key": TAINT, "operator": "Exists"}]
    if scheduler:
        return {"nodeSelector": {"kubernetes.io/hostname": NODE}, "tolerations": tolerations}
    return {"nodeName": NODE, "tolerations": tolerations}


def agent(name: str, *, output: JSONObject, inputs: list[str], scheduler: bool) -> JSONObject:
    """An Agent whose pods the fake node ends with `output`. It has schemas: checking them is work of the engine."""
    template = {
        "metadata": {"annotations": {ANNOTATION_OUTPUT: orjson.dumps(output).decode()}},
        "spec": placement(scheduler=scheduler),
    }
    capability = {
        "name": "run",
        "inputSchema": {"type": "object", "required": inputs},
        "outputSchema": {"type": "object", "required": list(output)},
    }
    return _object(
        "Agent",
        name,
        {
            "type": "worker",
            "version": "1.0.0",
            "capabilities": [capability],
            "runtime": {"container": {"image": IMAGE}, "podTemplate": template},
        },
    )


def pipeline() -> JSONObject:
    """The graph of the data pipeline: seven tasks, two of them side by side."""
    return _object(
        "Workflow",
        "pipeline",
        {
            "version": "1.0.0",
            "inputs": {"type": "object", "properties": {"dataset": {"type": "string", "default": "wine"}}},
            "tasks": [
                {"name": name, "agent": name, "timeout": "30m", "input": given} for name, (given, _) in PIPELINE.items()
            ],
            "outputs": {"report": "${{ tasks.report.output.report }}"},
        },
    )


def foreach() -> JSONObject:
    """One task over a range."""
    task = {
        "name": "each",
        "agent": "ingest",
        "timeout": "30m",
        "input": {"dataset": "${{ string(index) }}"},
        "forEach": {"range": {"count": FOREACH_COUNT}, "parallelism": FOREACH_PARALLELISM},
    }
    return _object("Workflow", f"foreach-{FOREACH_COUNT}", {"version": "1.0.0", "tasks": [task]})


WORKFLOWS = {"pipeline": pipeline, f"foreach-{FOREACH_COUNT}": foreach}
TASKS = {"pipeline": len(PIPELINE), f"foreach-{FOREACH_COUNT}": FOREACH_COUNT}


def agents(*, scheduler: bool) -> list[JSONObject]:
    """One a task of the pipeline."""
    return [
        agent(name, output=output, inputs=list(given), scheduler=scheduler)
        for name, (given, output) in PIPELINE.items()
    ]


def parents(workflow: JSONObject) -> Mapping[str, frozenset[str]]:
    """The direct dependencies of each task, as the engine sees them."""
    spec = WorkflowSpec.model_validate(workflow["spec"])
    templates = {task.name: parse_task(task, f"spec.tasks[{number}]") for number, task in enumerate(spec.tasks)}
    return dict(build_graph(spec.tasks, templates, ended=frozenset()).parents)


def execution(name: str, workflow: str) -> JSONObject:
    """One run."""
    return _object("Execution", name, {"workflow": workflow})


def plain_pod(name: str, *, scheduler: bool) -> JSONObject:
    """The least that is a pod: what the ceiling is measured with."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [{"name": "main", "image": IMAGE}],
            **placement(scheduler=scheduler),
        },
    }


def _object(kind: str, name: str, spec: JSONObject) -> JSONObject:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
