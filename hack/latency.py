"""How long from the end of a task until the pod that comes next is there, measured on the cluster of the kubeconfig.

    .venv/bin/python hack/latency.py -n 20 --concurrency 1 -o json

Runs the data pipeline of the samples in a namespace of its own. One process, one watch of pods and one clock see
both ends: the event that shows the last of a task's dependencies terminated, and the event that shows the task's pod
added. What the watch itself takes is in both, and falls out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ossa.api.contract import API_VERSION, LABEL_MANAGED_BY, MANAGED_BY
from ossa.api.workflow import WorkflowSpec
from ossa.engine.graph import build_graph, parse_task
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.config import NoCluster, load_config
from ossa.kube.pods import identity_of, pod_view
from ossa.kube.watch import list_and_watch

SAMPLES = Path(__file__).resolve().parents[1] / "manifests" / "samples"
WORKFLOW = "data-pipeline"
PATIENCE = 600.0  # seconds that one execution may take
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


class GaveUpError(Exception):
    """It cannot be measured; says why."""


@dataclass(slots=True)
class Clock:
    """A `Listener` of the pods' watch that notes when something was first seen, by execution and task. Seconds."""

    added: dict[tuple[str, str], float] = field(default_factory=dict)
    ended: dict[tuple[str, str], float] = field(default_factory=dict)
    listed: asyncio.Event = field(default_factory=asyncio.Event)

    def replaced(self, items: list[dict[str, Any]], version: int) -> None:  # noqa: ARG002 - of the interface
        if self.listed.is_set() and items:
            raise GaveUpError("the watch broke and pods were listed anew: the times between are lost; measure again")
        self.listed.set()

    def changed(self, kind: str, item: dict[str, Any]) -> None:  # noqa: ARG002 - the first sight counts
        now = time.monotonic()
        identity = identity_of(item)
        if identity is None:
            return
        key = (identity.execution, identity.task)
        self.added.setdefault(key, now)
        if pod_view(item, identity).ended:
            self.ended.setdefault(key, now)

    def advanced(self, version: int) -> None:
        """Nothing to do."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. Seconds; one of `edges` for each task that has dependencies, in each execution."""

    executions: int
    concurrency: int
    edges: Sequence[float]
    starts: Sequence[float]  # from the answer to an Execution's creation to its first pod


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of all are not above (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def edges_of(clock: Clock, execution: str, parents: Mapping[str, frozenset[str]]) -> Iterator[float]:
    """From the end of the last dependency to the pod, for each task of an execution that has dependencies."""
    for task, above in parents.items():
        if above:
            last = max(clock.ended[execution, parent] for parent in above)
            yield clock.added[execution, task] - last


def samples() -> tuple[list[dict[str, Any]], WorkflowSpec]:
    """The shipped agents and the workflow, and the workflow's spec."""
    files = (SAMPLES / "00-agents.yaml", SAMPLES / "10-data-pipeline.yaml")
    items = [item for path in files for item in yaml.safe_load_all(path.read_text()) if item]
    wanted = [item for item in items if item["kind"] in ("Agent", "Workflow")]
    [spec] = [item["spec"] for item in wanted if item["kind"] == "Workflow" and item["metadata"]["name"] == WORKFLOW]
    return wanted, WorkflowSpec.model_validate(spec)


async def prepare(api: ApiClient, items: list[dict[str, Any]]) -> str:
    """A namespace with the agents and the workflow, once that is published."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "latency-"}}
    namespace: str = (await api.post(paths.core("namespaces"), body))["metadata"]["name"]
    for item in items:
        await api.post(paths.ossa(item["kind"].lower() + "s", namespace), item)
    deadline = time.monotonic() + 60
    while True:
        found = (await api.get(paths.ossa("workflows", namespace, WORKFLOW))).get("status") or {}
        if found.get("phase") == "Published":
            return namespace
        if time.monotonic() > deadline:
            raise GaveUpError(f"the workflow is not published: {found.get('message') or 'no operator looked at it'}")
        await asyncio.sleep(0.2)


async def run_one(api: ApiClient, namespace: str, name: str) -> float:
    """Runs one execution to its end; the moment at which it had been created."""
    body = {
        "apiVersion": API_VERSION,
        "kind": "Execution",
        "metadata": {"name": name},
        "spec": {"workflow": WORKFLOW},
    }
    await api.post(paths.ossa("executions", namespace), body)
    created = time.monotonic()
    while time.monotonic() - created < PATIENCE:
        # Seldom enough to be no load that is measured with the rest.
        await asyncio.sleep(0.5)
        status = (await api.get(paths.ossa("executions", namespace, name))).get("status") or {}
        if status.get("phase") == "Completed":
            return created
        if status.get("phase") in EXECUTION_TERMINAL:
            raise GaveUpError(f"execution {name} failed: {status.get('message')}")
    raise GaveUpError(f"execution {name} did not end within {PATIENCE:g} s")


async def measure(api: ApiClient, namespace: str, spec: WorkflowSpec, *, count: int, concurrency: int) -> Result:
    """Runs `count` executions, `concurrency` of them at a time."""
    clock, slots = Clock(), asyncio.Semaphore(concurrency)
    templates = {task.name: parse_task(task, f"spec.tasks[{number}]") for number, task in enumerate(spec.tasks)}
    graph = build_graph(spec.tasks, templates, ended=frozenset())
    selector = {"labelSelector": f"{LABEL_MANAGED_BY}={MANAGED_BY}"}
    watching = asyncio.create_task(list_and_watch(api, paths.core("pods", namespace), selector, clock))

    async def one(name: str) -> tuple[list[float], float]:
        async with slots:
            created = await run_one(api, namespace, name)
        first = min(at for (execution, _), at in clock.added.items() if execution == name)
        return list(edges_of(clock, name, graph.parents)), first - created

    try:
        await clock.listed.wait()
        found = await asyncio.gather(*(one(f"run-{number}") for number in range(1, count + 1)))
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    edges = [edge for held, _ in found for edge in held]
    return Result(count, concurrency, edges, [start for _, start in found])


def summary(values: Sequence[float]) -> dict[str, float]:
    """Quantiles in milliseconds, and how many values there are."""
    told = {name: round(quantile(values, share) * 1000, 1) for name, share in QUANTILES.items()}
    return {**told, "n": len(values)}


def as_text(result: Result) -> str:
    """For a person."""
    head = f"{result.executions} executions of {WORKFLOW}, {result.concurrency} at a time; milliseconds"
    rows = {
        "end of a task -> pod of the next": summary(result.edges),
        "execution created -> its first pod": summary(result.starts),
    }
    columns = [*QUANTILES, "n"]
    lines = [f"{'':36}" + "".join(f"{column:>9}" for column in columns)]
    lines += [f"{name:36}" + "".join(f"{row[column]:>9g}" for column in columns) for name, row in rows.items()]
    return "\n".join([head, *lines])


def as_json(result: Result) -> str:
    """For a program."""
    told = {
        "workflow": WORKFLOW,
        "executions": result.executions,
        "concurrency": result.concurrency,
        "unit": "ms",
        "taskToTask": summary(result.edges),
        "start": summary(result.starts),
        "edges": [round(edge * 1000, 1) for edge in result.edges],
    }
    return json.dumps(told)


async def run(arguments: argparse.Namespace) -> Result:
    """Prepares, measures, and takes the namespace away again."""
    items, spec = samples()
    async with ApiClient(load_config(arguments.context)) as api:
        namespace = await prepare(api, items)
        try:
            return await measure(
                api, namespace, spec, count=arguments.executions, concurrency=max(1, arguments.concurrency)
            )
        finally:
            if not arguments.keep:
                await api.delete(paths.core("namespaces", name=namespace))


def main() -> int:
    """The exit code: 1 where nothing could be measured; the reason is on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("-n", "--executions", type=int, default=20, help="how many executions are run (default: 20)")
    parser.add_argument("--concurrency", type=int, default=1, help="how many of them at a time (default: 1)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument("--context", help="context of the kubeconfig; its current one by default")
    parser.add_argument("--keep", action="store_true", help="leave the namespace behind, to look at it")
    arguments = parser.parse_args()
    try:
        result = asyncio.run(run(arguments))
    except (GaveUpError, NoCluster) as error:
        print(error, file=sys.stderr)
        return 1
    print(as_json(result) if arguments.output == "json" else as_text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
