"""Outputs that are too many for the status: through deaths of the reconciler, and with the artifact service away."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controllers.archive import Archive
from controllers.background import PATIENCE
from controllers.transfers import Transfers
from controllers.working import Working
from ossa.api.contract import API_VERSION
from ossa.kube.client import ApiClient, ApiError
from ossa.kube.config import KubeConfig
from ossa.kube.pods import identity_of
from ossa.store.client import ArtifactClient
from tests.unit.controllers.apiserver import succeeded
from tests.unit.controllers.lives import EXECUTIONS, PODS, Cluster, life
from tests.unit.store.running import Running, running
from tests.unit.waiting import until

COUNT, TEXT = 60, "x" * 1000
TASKS = [
    {
        "name": "each",
        "agent": "worker",
        "forEach": {"range": {"count": COUNT}, "parallelism": 30},
        "input": {"n": "${{ item }}"},
    },
    {
        "name": "last",
        "agent": "worker",
        "input": {"texts": "${{ tasks.each.output.map(o, o.n) }}"},
        "dependsOn": ["each"],
    },
]
SIZE = 64 * 1024


class Kubelet(Cluster):
    """Items give a text each; the last task runs when it is told."""

    def __init__(self) -> None:
        super().__init__(TASKS)
        self.waiting: list[dict[str, Any]] = []

    def _run(self, collection: str, item: dict[str, Any]) -> None:
        identity = identity_of(item)
        if collection != PODS or identity is None:
            return
        if identity.task == "last":
            self.waiting.append(item)
        else:
            self.end(item, {"n": identity.index, "text": TEXT})

    def end(self, item: dict[str, Any], output: dict[str, Any]) -> None:
        identity = identity_of(item)
        assert identity is not None
        self.runs[f"{identity.task}[{identity.index}]"] += 1
        self.put(PODS, succeeded(item, output))

    def end_last(self) -> None:
        self.end(self.waiting[-1], {"run": "done"})

    def size(self) -> int:
        return len(json.dumps(self.objects[f"{EXECUTIONS}/run"]))


@asynccontextmanager
async def prepared(cluster: Kubelet) -> AsyncIterator[KubeConfig]:
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        yield config


def archived(cluster: Kubelet) -> bool:
    status = cluster.status()
    return bool(status.archive and status.archive.outputs) and status.tasks["each"].phase == "Completed"


def check(cluster: Kubelet, artifacts: Running) -> None:
    status = cluster.status()
    assert (status.phase, status.outputs) == ("Completed", {"last": "done"})
    assert cluster.runs == {**{f"each[{n}]": 1 for n in range(COUNT)}, "last[0]": 1}
    identity = json.loads(cluster.waiting[-1]["metadata"]["annotations"]["ossa.dev/input"])
    assert identity == {"texts": list(range(COUNT))}
    assert cluster.size() < SIZE
    assert artifacts.objects()


@pytest.mark.parametrize(
    "deaths", [[], [(20, True)], [(45, False), (30, True)], [(66, True)], [(63, False), (2, True)]]
)
async def test_whenever_the_reconciler_dies_no_output_is_lost(
    deaths: list[tuple[int, bool]], tmp_path: Path, token: Path
) -> None:
    cluster = Kubelet()
    async with running(tmp_path / "data") as service, prepared(cluster) as config:
        for at, after in deaths:
            async with life(config, service.url, token, at=at, after=after) as mortal:
                await until(lambda: mortal.dead.is_set() or archived(cluster))
        async with life(config, service.url, token):
            await until(lambda: archived(cluster))
            cluster.end_last()
            await until(lambda: cluster.status().phase == "Completed")
        check(cluster, service)


async def test_with_the_artifact_service_away_nothing_is_lost_and_nothing_fails(tmp_path: Path, token: Path) -> None:
    cluster, data = Kubelet(), tmp_path / "data"
    async with prepared(cluster) as config:
        async with running(data) as service:
            port = service.port
            async with life(config, service.url, token):
                await until(lambda: archived(cluster))
        async with life(config, f"http://127.0.0.1:{port}", token):
            cluster.end_last()
            await asyncio.sleep(0.5)
            assert cluster.status().phase == "Running"
            async with running(data, port=port) as service:
                await until(lambda: cluster.status().phase == "Completed")
                check(cluster, service)


async def test_what_cannot_be_stored_is_written_when_it_can(tmp_path: Path, token: Path) -> None:
    """The service is away while the items end; their pods are what there is to know."""
    cluster, data = Kubelet(), tmp_path / "data"
    async with running(data) as service:
        port = service.port
    async with prepared(cluster) as config, life(config, f"http://127.0.0.1:{port}", token):
        await until(lambda: bool(cluster.waiting))
        await asyncio.sleep(1.5)
        assert cluster.status().tasks["each"].phase != "Completed"
        async with running(data, port=port) as service:
            await until(lambda: archived(cluster))
            cluster.end_last()
            await until(lambda: cluster.status().phase == "Completed")
            check(cluster, service)


async def test_what_is_gone_for_good_fails_the_execution_and_says_so(tmp_path: Path, token: Path) -> None:
    cluster = Kubelet()
    async with running(tmp_path / "data") as service, prepared(cluster) as config:
        async with life(config, service.url, token):
            await until(lambda: archived(cluster))
        shutil.rmtree(service.data / "lab")
        async with life(config, service.url, token):
            await until(lambda: cluster.status().phase == "Failed")
        error = cluster.status().error
        assert error is not None
        assert (error.reason, error.task) == ("ArchiveLost", None)
        assert "status.archive" in error.message


@pytest.mark.usefixtures("unhurried")
async def test_large_outputs_are_stored_once_however_often_the_status_is_tried_to_be_written(
    tmp_path: Path, token: Path
) -> None:
    outputs = {"text": TEXT * 20, "same": TEXT * 20, "more": TEXT * 30, "small": 1}
    metadata = {"name": "run", "namespace": "lab", "uid": "u1", "resourceVersion": "1"}
    item = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": metadata, "spec": {"workflow": "flow"}}
    held = Working.of({**item, "status": {"phase": "Completed", "outputs": outputs}})
    async with running(tmp_path / "data") as service, ArtifactClient(service.url, token) as artifacts:
        archive = Archive(artifacts, Transfers(artifacts, lambda _: None), lambda _: None)
        written = [(await archive.pack(held, held.status)).outputs or {} for _ in range(2)]
        assert len(service.objects()) == 2 * 2  # the bytes and their record, of each of two values
    assert written[0] == written[1]
    assert {name for name, value in written[0].items() if isinstance(value, dict)} == {"text", "same", "more"}
    assert written[0]["small"] == 1


async def test_a_service_that_hangs_holds_up_a_turn_for_a_moment_only(token: Path) -> None:
    over = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()
        await writer.wait_closed()

    metadata = {"name": "run", "namespace": "lab", "uid": "u1", "resourceVersion": "1"}
    task = {"phase": "Completed", "output": {"text": TEXT}}
    item = {
        "apiVersion": API_VERSION,
        "kind": "Execution",
        "metadata": metadata,
        "spec": {"workflow": "flow"},
        "status": {"phase": "Running", "tasks": {f"t{n}": task for n in range(COUNT)}},
    }
    held = Working.of(item)
    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with ArtifactClient(f"http://127.0.0.1:{port}", token) as artifacts:
            archive = Archive(artifacts, Transfers(artifacts, lambda _: None), lambda _: None)
            for patience in (PATIENCE + 1, PATIENCE):
                async with asyncio.timeout(patience):
                    with pytest.raises(ApiError, match="takes long"):
                        await archive.pack(held, held.status)
            archive.forget("u1")
        over.set()
        await asyncio.sleep(0.1)  # nothing of a connection is left for another test to stumble over
    assert held.parts == ()
