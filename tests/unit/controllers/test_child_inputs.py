"""Artifacts that a task passes to the workflow that it runs, against the real artifact service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controllers.revisions import Revisions
from ossa.api.agent import AgentSpec
from ossa.api.contract import API_VERSION
from ossa.api.execution import ExecutionStatus
from ossa.api.workflow import WorkflowSpec
from ossa.engine.revision import AgentSnapshot, Revision
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from tests.unit.controllers.apiserver import ApiServer, succeeded
from tests.unit.controllers.lives import EXECUTIONS, PODS, WORKFLOWS, life
from tests.unit.controllers.test_lists import token_of, uploaded
from tests.unit.store.running import Running, running
from tests.unit.waiting import until

INNER: dict[str, Any] = {
    "tasks": [{"name": "use", "agent": "worker", "input": {"rows": "${{ inputs.rows }}", "all": "${{ inputs.all }}"}}],
    "outputs": {"rows": "${{ tasks.use.output.rows }}"},
}
OUTER: dict[str, Any] = {
    "tasks": [
        {"name": "make", "agent": "worker"},
        {"name": "many", "agent": "worker", "forEach": {"range": {"count": 10}}},
        {
            "name": "call",
            "workflow": "inner",
            "input": {
                "rows": "${{ tasks.make.output.rows }}",
                "all": "${{ tasks.many.output }}",
                "again": "${{ tasks.many.output }}",
            },
        },
    ],
    "outputs": {"rows": "${{ tasks.call.output.rows }}"},
}
OBJECT = {"apiVersion": API_VERSION}


class Cluster(ApiServer):
    """Two workflows, of which one runs the other. Pods end when a test says so."""

    async def prepare(self, api: ApiClient) -> None:
        agent = AgentSpec.model_validate({"capabilities": [{"name": "do"}], "runtime": {"handler": "do:run"}})
        held = AgentSnapshot(name="worker", uid="u", generation=1, image="worker:1", spec=agent)
        for name, spec in (("inner", INNER), ("outer", OUTER)):
            parsed = WorkflowSpec.model_validate(spec)
            meta = {"namespace": "lab", "name": name}
            made = self.create(WORKFLOWS, {**OBJECT, "kind": "Workflow", "metadata": meta, "spec": parsed.to_json()})
            revision = Revision(workflow=name, version="1", spec=parsed, agents={"worker": held})
            published = await Revisions(api).publish(made, revision)
            status = {"phase": "Published", "revision": published, "observedGeneration": 1}
            self.put(WORKFLOWS, {**made, "status": status})
        self.execute("run", {"workflow": "outer"})

    def execute(self, name: str, spec: dict[str, Any], **metadata: Any) -> None:
        meta = {"namespace": "lab", "name": name, **metadata}
        self.create(EXECUTIONS, {**OBJECT, "kind": "Execution", "metadata": meta, "spec": spec})

    def execution(self, name: str) -> dict[str, Any]:
        return self.objects[f"{EXECUTIONS}/{name}"]

    def status(self, name: str) -> ExecutionStatus:
        return ExecutionStatus.model_validate(self.execution(name).get("status") or {})

    async def until_failed(self, name: str) -> None:
        await until(lambda: self.status(name).phase == "Failed")

    def child(self) -> dict[str, Any] | None:
        return next((item for item in self.of(EXECUTIONS) if item["spec"]["workflow"] == "inner"), None)

    async def pods(self, task: str, count: int = 1) -> list[dict[str, Any]]:
        """The pods of a task, once they are there."""

        def found() -> list[dict[str, Any]]:
            return [pod for pod in self.of(PODS) if pod["metadata"]["labels"]["ossa.dev/task"] == task]

        await until(lambda: len(found()) == count)
        return found()

    def end(self, pod: dict[str, Any], output: dict[str, Any]) -> None:
        self.put(PODS, succeeded(pod, output))


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[tuple[Cluster, KubeConfig, Running]]:
    cluster = Cluster()
    async with running(tmp_path / "data") as service, cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        yield cluster, config, service


async def until_called(cluster: Cluster, service: Running, text: str) -> dict[str, Any]:
    """Ends the tasks before the call; the reference that one of them gave. The others give `text` each."""
    (make,) = await cluster.pods("make")
    rows = await uploaded(service, make, b'["row"]')
    cluster.end(make, {"rows": rows})
    for pod in await cluster.pods("many", 10):
        cluster.end(pod, {"text": text})
    return rows


async def fetched(service: Running, pod: dict[str, Any], reference: dict[str, Any]) -> tuple[int, bytes]:
    url = f"{service.url}/v1/artifacts/{reference['$artifact']}"
    async with aiohttp.ClientSession() as http, http.get(url, headers=token_of(service, pod)) as answer:
        return answer.status, await answer.read()


@pytest.mark.parametrize("text", ["short", "x" * 3000])
async def test_a_child_reads_what_its_parent_gave_it(tmp_path: Path, token: Path, text: str) -> None:
    async with world(tmp_path) as (cluster, config, service), life(config, service.url, token):
        rows = await until_called(cluster, service, text)
        (use,) = await cluster.pods("use")
        given = json.loads(use["metadata"]["annotations"]["ossa.dev/input"])
        assert given["rows"] == rows
        assert await fetched(service, use, rows) == (200, b'["row"]')
        if text == "short":
            assert given["all"] == [{"text": text}] * 10
        else:  # more than an Execution may be given
            status, content = await fetched(service, use, given["all"])
            assert (status, json.loads(content)) == (200, [{"text": text}] * 10)
        cluster.end(use, {"rows": rows})
        await until(lambda: cluster.status("run").phase == "Completed")
        assert cluster.status("run").outputs == {"rows": rows}


async def test_nobody_else_passes_artifacts_on(tmp_path: Path, token: Path) -> None:
    """Whoever gets past admission, with all that a real child has: each is refused, and the real one is not."""
    async with world(tmp_path) as (cluster, config, service), life(config, service.url, token):
        await until_called(cluster, service, "short")
        await cluster.pods("use")
        child = cluster.child()
        assert child is not None
        marks = child["metadata"]["annotations"]
        meta = {"annotations": marks, "ownerReferences": child["metadata"]["ownerReferences"]}
        cluster.execute("copy", child["spec"], **meta)
        unsealed = {key: value for key, value in marks.items() if key != "ossa.dev/inputs-seal"}
        cluster.execute("unsealed", child["spec"], **{**meta, "annotations": unsealed})
        for name in ("copy", "unsealed"):
            await cluster.until_failed(name)
            error = cluster.status(name).error
            assert error is not None
            assert (error.reason, "artifact reference" in error.message) == ("InvalidInput", True)
        assert cluster.status(child["metadata"]["name"]).phase == "Running"


async def test_while_the_artifact_service_is_away_the_child_waits(tmp_path: Path, token: Path) -> None:
    async with world(tmp_path) as (cluster, config, service):
        async with life(config, "http://127.0.0.1:9", token):
            await until_called(cluster, service, "x" * 2000)
            await until(lambda: "cannot be created yet" in (cluster.status("run").message or ""))
            assert "its Execution cannot be created yet: its inputs are large" in (cluster.status("run").message or "")
            assert cluster.child() is None
        async with life(config, service.url, token):
            (use,) = await cluster.pods("use")
            cluster.end(use, {"rows": 1})
            await until(lambda: cluster.status("run").phase == "Completed")
