"""The process ossa-monitor: real PostgreSQL, real Redis, and as much of an API server as it asks for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from ossa.bus.consumer import Observer
from ossa.bus.group import Standing
from ossa.bus.messages import EVENTS, Alert
from ossa.engine.clock import to_text
from ossa.kube import paths
from ossa.kube.config import KubeConfig
from ossa.monitor.announcer import Announcer
from ossa.monitor.metrics import Metrics
from ossa.monitor.outbox import Outbox
from ossa.monitor.watching import KINDS
from ossa.store.records.pool import Records
from tests.ports import free_port
from tests.unit.bus.busy import client_of
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.documented import documented
from tests.unit.monitor.states import FINISHED, UID, execution
from tests.unit.monitor.test_announcer import nobody, phases
from tests.unit.servers import Postgres, Redis
from tests.unit.tracing.collector import collecting
from tests.unit.waiting import until

ROOT = Path(__file__).parents[3]
RUNS = {"load": {"phase": "Running", "attempt": 1, "startedAt": "2026-01-01T12:00:05Z"}}
DONE = {"load": {**RUNS["load"], "phase": "Completed", "completedAt": "2026-01-01T12:00:09Z"}}


class Running:
    """A process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, metrics_port: int) -> None:
        self.process = process
        self._urls = {"/metrics": metrics_port, "/healthz": port, "/readyz": port}

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text; 0 where nobody listens."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self._urls[path]}{path}") as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError:
            return 0, ""

    async def sample(self, name: str) -> float | None:
        """The first value of a metric."""
        _, text = await self.get("/metrics")
        found = [
            one.value for family in text_string_to_metric_families(text) for one in family.samples if one.name == name
        ]
        return found[0] if found else None

    async def leads(self) -> bool:
        return await self.sample("ossa_leader") == 1.0


@asynccontextmanager
async def monitor(
    config: KubeConfig, records: str, bus: str, folder: Path, name: str, **more: str
) -> AsyncIterator[Running]:
    """The process with what it needs, and `more` of its environment; it is killed in the end where it still runs."""
    kubeconfig = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "clusters": [{"name": "test", "cluster": {"server": config.server}}],
        "users": [{"name": "test", "user": {"token": "token"}}],
    }
    file = folder / "kubeconfig"
    file.write_text(json.dumps(kubeconfig))
    port, metrics_port = free_port(), free_port()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "KUBECONFIG": str(file),
        "OSSA_RECORDS_URL": records,
        "OSSA_BUS_URL": bus,
        "OSSA_NAMESPACE": "ossa-system",
        "OSSA_POD": name,
        # The states of these tests are of another year.
        "OSSA_KEEP_TASKS_DAYS": "0",
        "OSSA_KEEP_METRICS_DAYS": "0",
        "OSSA_HEALTH_PORT": str(port),
        "OSSA_METRICS_PORT": str(metrics_port),
        **more,
    }
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "operator" / "monitor.py"), env=environment, stderr=log
        )
    try:
        yield Running(process, port, metrics_port)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def server_with_kinds() -> ApiServer:
    server = ApiServer()
    server.objects["/apis/ossa.dev/v1alpha1"] = {"resources": [{"name": name} for name in KINDS]}
    return server


def put(server: ApiServer, phase: str, tasks: dict[str, Any], **status: Any) -> None:
    server.put(paths.ossa("executions", "team"), execution(phase, tasks=tasks, **status))


async def value(url: str, query: str) -> Any:
    async with Records(url, application="test", size=1) as records, records.connection() as connection:
        return await connection.fetchval(query)


async def test_what_happens_is_recorded_told_processed_and_taken_over_by_another(
    redis: Redis, records_url: str, tmp_path: Path
) -> None:
    server = server_with_kinds()
    put(server, "Running", RUNS)

    async def recorded() -> bool:
        return bool(await value(records_url, "SELECT count(*) FROM task_events WHERE type = 'execution'"))

    async def completed() -> bool:
        return bool(await value(records_url, "SELECT status = 'Completed' FROM executions"))

    async def measured() -> bool:
        return bool(await value(records_url, "SELECT count(*) = 3 FROM metrics"))

    async with (
        server.served() as config,
        monitor(config, records_url, redis.url, tmp_path, "one") as one,
        client_of(redis.url) as client,
    ):
        await until(recorded, 60)
        await until(one.leads)
        assert await one.get("/healthz") == (200, "ok\n")
        assert (await one.get("/readyz"))[0] == 200
        async with monitor(config, records_url, redis.url, tmp_path, "two") as two:
            one.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(one.process.wait(), 30) == 0, (tmp_path / "one.log").read_text()
            put(server, "Completed", DONE, conditions=FINISHED, startedAt="2026-01-01T12:00:04Z")
            await until(completed, 60)
            await until(measured, 60)
            assert await two.leads()
            two.process.kill()
            await two.process.wait()
        expected = ["execution Running", "task Running", "task Completed", "execution Completed"]
        assert await phases(client) == expected
        assert "secret" not in (tmp_path / "one.log").read_text() + (tmp_path / "two.log").read_text()


async def test_with_postgresql_and_redis_away_it_starts_and_catches_up(
    redis: Redis, postgres: Postgres, database: str, tmp_path: Path
) -> None:
    server = server_with_kinds()
    put(server, "Running", RUNS)
    postgres.stop()
    redis.stop()

    async def recorded() -> bool:
        return bool(await value(database, "SELECT count(*) FROM executions"))

    async def told() -> bool:
        return bool(await value(database, "SELECT count(*) = 2 FROM task_events"))

    async with server.served() as config, monitor(config, database, redis.url, tmp_path, "one") as one:
        await until(one.leads, 60)
        assert (await one.get("/readyz"))[0] == 200
        redis.start()
        async with client_of(redis.url) as client:

            async def announced() -> bool:
                return await phases(client) == ["execution Running", "task Running"]

            await until(announced)
        postgres.start()
        await until(lambda: _exists(database))
        await until(recorded)
        await until(told)
        one.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(one.process.wait(), 30) == 0, (tmp_path / "one.log").read_text()
    assert await value(database, "SELECT execution_id::text FROM task_events LIMIT 1") == UID


async def _exists(url: str) -> bool:
    return bool(await value(url, "SELECT to_regclass('task_events') IS NOT NULL"))


async def test_spans_of_what_has_ended_are_exported_where_an_endpoint_is_set(
    redis: Redis, records_url: str, tmp_path: Path
) -> None:
    server, now = server_with_kinds(), to_text(datetime.now(UTC))
    put(server, "Completed", DONE, conditions=FINISHED, startedAt=now, completedAt=now)
    async with (
        server.served() as config,
        collecting() as collector,
        monitor(config, records_url, redis.url, tmp_path, "one", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as one,
    ):
        await until(lambda: bool(collector.spans), 60)
        assert {span.service for span in collector.spans} == {"ossa-orchestrator"}
        one.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(one.process.wait(), 30) == 0


async def test_settings_that_do_not_fit_end_it_at_once(tmp_path: Path) -> None:
    config = KubeConfig(server="http://127.0.0.1:1", token=lambda: None, namespace="lab")
    async with monitor(config, "mysql://ossa:secret@db", "redis://ossa-redis:6382", tmp_path, "one") as one:
        assert await asyncio.wait_for(one.process.wait(), 60) == 1
    text = (tmp_path / "one.log").read_text()
    assert "OSSA_RECORDS_URL" in text
    assert "secret" not in text


async def test_every_metric_is_documented_with_its_labels(redis: Redis) -> None:
    metrics = Metrics()
    observer: Observer = metrics
    observer.handled(EVENTS, "tasks", messages=5, seconds=0.1)
    observer.failed(EVENTS, "tasks")
    observer.claimed(EVENTS, "tasks", 2)
    observer.parked(EVENTS, "tasks")
    observer.lost(EVENTS, "tasks", 1)
    alert = Alert.model_validate(
        {
            "id": "a",
            "time": "2026-01-01T12:00:00Z",
            "source": "monitor",
            "key": "k",
            "severity": "warning",
            "summary": "s",
        }
    )
    metrics.looked([Standing(EVENTS, "tasks", 3, 2, 1), Standing(EVENTS, "alerts", None, 0, 1)], [(EVENTS, 4)], [alert])
    async with client_of(redis.url) as client:
        metrics.outboxes([Outbox("events", Announcer(client, nobody))])
    metrics.leads()
    told = documented()
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        if family.name.endswith("_created"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            assert (family.type, set(sample.labels) - {"le"}) == told[name], sample
            found[sample.name, *sorted(sample.labels.values())] = sample.value
    assert found["ossa_bus_messages_total", "handled", EVENTS, "tasks"] == 5
    assert found["ossa_bus_lag", EVENTS, "tasks"] == 3
    assert ("ossa_bus_lag", "alerts", EVENTS) not in found
    assert found["ossa_alerts_firing", "warning"] == 1
    metrics.away()
    assert "ossa_bus_up 0.0" in metrics.text().decode()
