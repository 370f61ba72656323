"""The monitor's sink of spans behind the recorder, which sees the resources change; and behind one that takes over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

from ossa.engine.clock import to_text
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.kube.paths import OSSA
from ossa.monitor.recorder import Recorder
from ossa.monitor.spans import RECENT, SpanSink
from ossa.tracing import Tracing, tracing_from
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.monitor.states import execution
from tests.unit.tracing.collector import Collector, collecting

EXECUTIONS = f"{OSSA}/namespaces/team/executions"


@asynccontextmanager
async def recording(config: KubeConfig, collector: Collector) -> AsyncIterator[None]:
    """One life of a monitor that leads."""
    tracing = tracing_from("ossa-orchestrator", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert isinstance(tracing, Tracing)
    async with ApiClient(config) as api:
        running = asyncio.create_task(Recorder(api, {"spans": SpanSink(tracing)}).run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await asyncio.to_thread(tracing.close)


async def test_an_execution_that_ends_is_told_of_by_whoever_leads() -> None:
    now = datetime.now(UTC)
    server = ApiServer()
    old = execution("Completed", uid="u-old", completedAt=to_text(now - timedelta(seconds=RECENT + 60)))
    old["metadata"]["name"] = "old"
    server.create(EXECUTIONS, old)
    server.create(EXECUTIONS, execution())
    async with server.served() as config, collecting() as collector:
        async with recording(config, collector):
            server.put(EXECUTIONS, execution("Completed", completedAt=to_text(now)))
            await collector.until(lambda: len(collector.spans) == 2)
        first = {span.name: span for span in collector.spans}
        assert set(first) == {"orchestrator-process", "orchestrator-aggregate"}
        async with recording(config, collector):
            await collector.until(lambda: len(collector.spans) == 4)
        assert {span.name: span for span in collector.spans[2:]} == first
