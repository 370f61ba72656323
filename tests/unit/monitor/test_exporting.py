"""Spans of the process ossa-monitor, at a collector that takes OTLP over HTTP; and at one that does not."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ossa.api.contract import ANNOTATION_TRACEPARENT
from ossa.api.trace import AGGREGATE, PROCESS, TASK, aggregate_span, process_span, task_span, trace_of
from ossa.engine.clock import to_text
from ossa.kube import paths
from tests.ports import free_port
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.monitor.states import FINISHED, execution
from tests.unit.monitor.test_process import DONE, RUNS, monitor, server_with_kinds, value
from tests.unit.tracing.collector import collecting
from tests.unit.waiting import until

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
MANY = 40


def uid_of(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012d}"


def put(server: ApiServer, number: int, phase: str, annotations: dict[str, str] | None = None) -> None:
    """An Execution of one task, by number; Completed: just now."""
    now = to_text(datetime.now(UTC))
    ended: dict[str, Any] = {"conditions": FINISHED, "startedAt": now, "completedAt": now}
    held = execution(phase, tasks=DONE, **ended) if phase == "Completed" else execution(phase, tasks=RUNS)
    metadata = {**held["metadata"], "name": f"run-{number}", "uid": uid_of(number), "annotations": annotations or {}}
    server.put(paths.ossa("executions", "team"), {**held, "metadata": metadata})


async def test_each_execution_is_one_tree(redis_url: str, records_url: str, tmp_path: Path) -> None:
    """One within the trace of whoever asked for it, one with a trace of its own."""
    server = server_with_kinds()
    asked: dict[int, dict[str, str]] = {1: {ANNOTATION_TRACEPARENT: CALLER}, 2: {}}
    for number, notes in asked.items():
        put(server, number, "Running", notes)
    async with (
        server.served() as config,
        collecting() as collector,
        monitor(config, records_url, redis_url, tmp_path, "one", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as one,
    ):
        await until(one.leads, 60)
        for number, notes in asked.items():
            put(server, number, "Completed", notes)
        await until(lambda: len(collector.spans) >= 6, 60)
    assert sorted((span.name, span.trace_id, span.span_id, span.parent) for span in collector.spans) == sorted(
        (name, trace.trace_id, own, parent)
        for number, notes in asked.items()
        for uid, trace in [(uid_of(number), trace_of(notes, uid_of(number)))]
        for name, own, parent in [
            (PROCESS, process_span(uid), trace.parent or ""),
            (TASK, task_span(uid, "load"), process_span(uid)),
            (AGGREGATE, aggregate_span(uid), process_span(uid)),
        ]
    )
    assert {span.trace_id for span in collector.spans} > {CALLER[3:35]}
    assert {span.parent for span in collector.named(PROCESS)} == {CALLER[36:52], ""}
    assert {span.service for span in collector.spans} == {"ossa-orchestrator"}


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The URL of somebody who takes connections, and never answers."""
    taken: list[asyncio.StreamWriter] = []

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in taken:
            writer.close()


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """A URL where nobody listens."""
    yield f"http://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("collector", [silent, nobody])
async def test_a_collector_that_is_away_holds_up_nothing(
    collector: Any, redis_url: str, records_url: str, tmp_path: Path
) -> None:
    server = server_with_kinds()
    for number in range(1, MANY + 1):
        put(server, number, "Running")

    async def recorded() -> bool:
        return bool(await value(records_url, "SELECT count(*) = 40 FROM executions WHERE status = 'Completed'"))

    async def told() -> bool:
        query = "SELECT count(*) = 40 FROM task_events WHERE type = 'execution' AND phase = 'Completed'"
        return bool(await value(records_url, query))

    async with (
        server.served() as config,
        collector() as url,
        monitor(config, records_url, redis_url, tmp_path, "one", OTEL_EXPORTER_OTLP_ENDPOINT=url) as one,
    ):
        await until(one.leads, 60)
        for number in range(1, MANY + 1):
            put(server, number, "Completed")
        await until(recorded)
        await until(told)
        assert await one.get("/healthz") == (200, "ok\n")
        began = time.monotonic()
        one.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(one.process.wait(), 30) == 0
        assert time.monotonic() - began < 20
    lines = [json.loads(line) for line in (tmp_path / "one.log").read_text().splitlines()]
    assert len([line for line in lines if line["level"] in ("warning", "error")]) < 10, lines
