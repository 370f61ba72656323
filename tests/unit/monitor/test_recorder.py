"""The recorder against a real PostgreSQL that goes away, and an API server whose objects change meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest

from ossa.api.base import JSONObject
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.kube.paths import OSSA
from ossa.monitor import outbox as outboxes
from ossa.monitor.recorder import Recorder
from ossa.monitor.recordssink import RecordsSink, task_infos
from ossa.store.records.pool import Records
from ossa.store.records.write import TaskInfo
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.records.objects import agent, execution, task, workflow
from tests.unit.servers import Postgres

LAB = f"{OSSA}/namespaces/lab"
EXECUTIONS = f"{LAB}/executions"
REVISIONS = "/apis/apps/v1/namespaces/lab/controllerrevisions"
SPEC = {"tasks": [{"name": "one", "agent": "worker", "priority": 3, "input": {"a": "${{ inputs.a }}"}}]}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "LINGER", 0.02)
    monkeypatch.setattr(outboxes, "BACKOFF_FIRST", 0.05)


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[ApiServer, KubeConfig]]:
    server = ApiServer()
    server.create(REVISIONS, {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "p-1"}})
    server.objects[f"{REVISIONS}/p-1"]["data"] = {"workflow": "pipeline", "spec": SPEC}
    async with server.served() as config:
        yield server, config


@asynccontextmanager
async def recording(config: KubeConfig, url: str) -> AsyncIterator[Recorder]:
    async with ApiClient(config) as api, Records(url, application="test", size=2) as records:
        recorder = Recorder(api, {"records": RecordsSink(records, api)})
        running = asyncio.create_task(recorder.run())
        try:
            yield recorder
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


async def rows(url: str, statement: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(url)
    try:
        return [dict(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def eventually(met: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not await met():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def same(url: str, server: ApiServer) -> Callable[[], Awaitable[bool]]:
    """Whether the records hold each Execution as it is, those that are gone as deleted, and every task."""

    async def compare() -> bool:
        try:
            found = await rows(url, "SELECT id::text, resource_version, deleted_at IS NULL AS live FROM executions")
            tasks = await rows(url, "SELECT execution_id::text AS id, status FROM tasks WHERE attempt = 1")
        except (OSError, asyncpg.PostgresError):
            return False
        items = server.of(EXECUTIONS)
        wanted = {item["metadata"]["uid"]: int(item["metadata"]["resourceVersion"]) for item in items}
        phases = {item["metadata"]["uid"]: item["status"]["tasks"]["one"]["phase"] for item in items}
        recorded = {row["id"]: row["resource_version"] for row in found if row["live"]}
        return recorded == wanted and phases == {row["id"]: row["status"] for row in tasks if row["id"] in wanted}

    return compare


def run(number: int, phase: str = "Pending") -> JSONObject:
    one = {"phase": phase} if phase == "Pending" else task(phase)
    return execution(f"e{number}", phase=phase, tasks={"one": one}, status={"revision": "p-1"})


def change(server: ApiServer, number: int, phase: str) -> None:
    server.put(EXECUTIONS, {**server.objects[f"{EXECUTIONS}/e{number}"], "status": run(number, phase)["status"]})


async def test_what_is_there_and_what_becomes_of_it(cluster: tuple[ApiServer, KubeConfig], records_url: str) -> None:
    server, config = cluster
    server.create(f"{LAB}/agents", agent("worker"))
    server.create(f"{LAB}/workflows", workflow("pipeline"))
    server.create(EXECUTIONS, run(1))
    async with recording(config, records_url):
        await eventually(same(records_url, server))
        server.create(EXECUTIONS, run(2))
        change(server, 1, "Running")
        change(server, 1, "Completed")
        server.remove(f"{EXECUTIONS}/e2")
        await eventually(same(records_url, server))
    [row] = await rows(
        records_url,
        "SELECT e.finished, w.name AS workflow, a.name AS agent, t.priority, t.input, t.status FROM executions e "
        "JOIN workflows w ON w.id = e.workflow_id JOIN tasks t ON t.execution_id = e.id "
        "JOIN agents a ON a.id = t.agent_id WHERE e.name = 'e1'",
    )
    assert row["input"] == '{"a": "${{ inputs.a }}"}'
    assert (row["finished"], row["workflow"], row["agent"], row["priority"]) == (True, "pipeline", "worker", 3)
    assert [row["name"] for row in await rows(records_url, "SELECT name FROM executions WHERE deleted_at IS NOT NULL")]


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_postgresql_goes_away_under_load_and_nothing_is_missing(
    cluster: tuple[ApiServer, KubeConfig], records_url: str, postgres: Postgres, how: str
) -> None:
    server, config = cluster
    mine, done = random.Random(how), asyncio.Event()  # noqa: S311 - a test's own

    async def load() -> None:
        number = 0
        while not done.is_set():
            number += 1
            server.create(EXECUTIONS, run(number))
            for phase in ("Running", "Completed"):
                change(server, mine.randint(max(1, number - 20), number), phase)
            if number > 40 and f"{EXECUTIONS}/e{number - 40}" in server.objects and number % 3 == 0:
                server.create(EXECUTIONS, run(number * 1000))
                server.remove(f"{EXECUTIONS}/e{number * 1000}")
            await asyncio.sleep(0.005)

    async with recording(config, records_url) as recorder:
        loading = asyncio.create_task(load())
        for _ in range(3):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(getattr(postgres, how))
            await asyncio.sleep(0.4)
            assert recorder.outboxes[0].pending > 0
            await asyncio.to_thread(postgres.start)
        await asyncio.sleep(0.3)
        done.set()
        await loading
        await eventually(same(records_url, server), 60)
        made = len(server.of(EXECUTIONS))
    # Those that came and went within an outage were recorded too.
    [row] = await rows(records_url, "SELECT count(*), count(deleted_at) AS gone FROM executions")
    assert row["count"] - row["gone"] == made
    assert row["gone"] > 0


async def test_a_recorder_that_dies_at_any_moment_is_followed_by_one_that_compares(
    cluster: tuple[ApiServer, KubeConfig], records_url: str
) -> None:
    server, config = cluster
    mine = random.Random(7)  # noqa: S311 - a test's own
    for number in range(1, 30):
        server.create(EXECUTIONS, run(number))
    for life in range(12):
        async with recording(config, records_url):
            for _ in range(10):
                change(server, mine.randint(1, 29), mine.choice(("Running", "Completed", "Failed")))
                await asyncio.sleep(mine.random() * 0.02)
        # Nobody watches: what is deleted now is seen by its absence.
        server.remove(f"{EXECUTIONS}/e{100 + life}")
        server.create(EXECUTIONS, run(101 + life))
    async with recording(config, records_url):
        await eventually(same(records_url, server))


async def test_a_state_that_postgresql_refuses_holds_up_no_other(
    cluster: tuple[ApiServer, KubeConfig], records_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, config = cluster
    broken = run(1)
    broken["status"]["startedAt"] = "a while ago"
    server.create(EXECUTIONS, broken)
    server.create(EXECUTIONS, run(2))
    async with recording(config, records_url) as recorder:
        names = "SELECT name FROM executions"
        await eventually(lambda: _is([{"name": "e2"}], rows(records_url, names)))
        change(server, 1, "Running")
        await eventually(same(records_url, server))
        assert recorder.outboxes[0].pending == 0
    line = next(record.__dict__ for record in caplog.records if "cannot be recorded" in record.message)
    told = (line["kind"], line["namespace"], line["execution"], line["uid"], len(line["traceId"]))
    assert told == ("executions", "lab", "e1", broken["metadata"]["uid"], 32)


async def _is(wanted: object, asked: Awaitable[object]) -> bool:
    return await asked == wanted


async def test_two_recorders_at_once_do_no_harm(cluster: tuple[ApiServer, KubeConfig], records_url: str) -> None:
    server, config = cluster
    async with recording(config, records_url), recording(config, records_url):
        for number in range(1, 60):
            server.create(EXECUTIONS, run(number))
            change(server, max(1, number // 2), "Running")
            change(server, number, "Completed")
            await asyncio.sleep(0.005)
        await eventually(same(records_url, server))


def test_what_a_revision_says_of_its_tasks() -> None:
    data = {"spec": {**SPEC, "finally": [{"name": "last", "workflow": "other"}]}}
    assert task_infos({"data": data}) == {
        "one": TaskInfo("worker", 3, {"a": "${{ inputs.a }}"}),
        "last": TaskInfo(None, 0, {}),
    }
    assert task_infos({}) == {}
