"""One trace from the request to the end of the Execution, as a collector gets it: gateway, orchestrator, workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from ossa.api.contract import ANNOTATION_TRACEPARENT
from ossa.api.trace import process_span
from ossa.engine.clock import to_text
from ossa.gateway.tracing import Traced, trace_of
from ossa.monitor.outbox import Change
from ossa.monitor.spans import SpanSink
from ossa.tracing import Tracing, tracing_from
from tests.unit.engine.world import NOW, Run, compiled, spec
from tests.unit.tracing.collector import Collector, collecting
from tests.unit.worker.tasks import Pod

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
HANDLER = """
    import os
    def run(task):
        if task.input.get("fail"):
            raise ValueError("secret data")
        return {"traceparent": task.traceparent}
"""


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with collecting() as made:
        yield made


def tracing_to(collector: Collector, service: str) -> Tracing:
    made = tracing_from(service, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
    assert made is not None
    return made


async def requested(collector: Collector) -> str:
    """A request to the gateway; the traceparent of the Execution that it makes."""
    said: list[str] = []

    async def orchestrate(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - of the interface
        said.append(trace_of(scope).traceparent)
        await send({"type": "http.response.start", "status": 202, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    gateway = tracing_to(collector, "ossa-gateway")
    transport = httpx.ASGITransport(Traced(orchestrate, gateway))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        answer = await client.post("/orchestrate", headers={"traceparent": CALLER})
    assert answer.headers["traceparent"] == said[0]
    await asyncio.to_thread(gateway.close)
    return said[0]


def a_run(traceparent: str) -> Run:
    run = Run(compiled(spec({"name": "first"}, {"name": "second", "dependsOn": ["first"]})))
    held = run.snapshot.execution.metadata.model_copy(
        update={"annotations": {ANNOTATION_TRACEPARENT: traceparent}, "creation_timestamp": to_text(NOW)}
    )
    run.change(execution=run.snapshot.execution.model_copy(update={"metadata": held}))
    return run


async def worked(run: Run, task: str, pod: Pod, collector: Collector) -> None:
    """The worker of a task does its work, and the engine hears of it."""
    identity = next(request.identity for request in run.requests if request.task == task)
    environ: dict[str, Any] = {"OSSA_TASK": identity.model_dump_json(), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    ended = await pod.run(**environ, PYTHONWARNINGS=None)
    assert ended.fields["traceparent"].startswith(f"00-{identity.traceparent[3:35]}-")
    run.later(seconds=3)
    run.succeed(task, ended.fields)


async def test_a_collector_gets_the_whole_tree(collector: Collector, tmp_path: Path) -> None:
    run = a_run(await requested(collector))
    run.step()
    assert run.status.trace_id == CALLER[3:35]
    pod = Pod(tmp_path, code=HANDLER)
    await worked(run, "first", pod, collector)
    running = run.snapshot.execution.model_dump(by_alias=True, mode="json", exclude_none=True)
    await worked(run, "second", pod, collector)
    assert run.phase() == "Completed"
    ended = run.snapshot.execution.model_dump(by_alias=True, mode="json", exclude_none=True)
    monitor = tracing_to(collector, "ossa-orchestrator")
    # Told twice, as after a failover.
    for before in (running, running):
        await SpanSink(monitor).write([Change("executions", "e", 2, before, ended)])
    await asyncio.to_thread(monitor.close)

    await collector.until(lambda: len(collector.named("orchestrator-aggregate")) == 2)
    assert {span.trace_id for span in collector.spans} == {CALLER[3:35]}
    (receive,), (respond,) = collector.named("gateway-receive"), collector.named("gateway-respond")
    assert (receive.parent, respond.parent) == (CALLER[36:52], receive.span_id)
    process, again = collector.named("orchestrator-process")
    assert process == again
    assert (process.parent, process.span_id) == (receive.span_id, process_span("uid-run"))
    executes = collector.named("worker-execute")
    assert [span.parent for span in executes] == [process.span_id] * 2
    assert [span.attributes["ossa.task"] for span in executes] == ["first", "second"]
    assert {span.parent for span in collector.named("orchestrator-task")} == {process.span_id}
    aggregate = collector.named("orchestrator-aggregate")[0]
    assert aggregate.parent == process.span_id
    assert process.start <= aggregate.start <= aggregate.end == process.end
    assert {span.name: span.service for span in collector.spans} == {
        "gateway-receive": "ossa-gateway",
        "gateway-respond": "ossa-gateway",
        "orchestrator-process": "ossa-orchestrator",
        "orchestrator-task": "ossa-orchestrator",
        "orchestrator-aggregate": "ossa-orchestrator",
        "worker-execute": "ossa-worker",
    }
    # Each span is one, however often it was told of.
    assert len({span.span_id for span in collector.spans}) == 8


async def test_an_attempt_that_fails_says_so_and_no_data(collector: Collector, tmp_path: Path) -> None:
    run = a_run(CALLER[:-2] + "01")
    run.step()
    environ: dict[str, Any] = {
        "OSSA_TASK": run.requests[0].identity.model_dump_json(),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
    }
    pod = Pod(tmp_path, code=HANDLER)
    first = await pod.run({"fail": True}, **environ, PYTHONWARNINGS=None)
    assert (first.code, first.output) == (1, "")
    assert first.last_line == "ValueError: secret data"
    await collector.until(lambda: len(collector.spans) == 1)
    # The same attempt delivered once more is the same span.
    await pod.run(**environ, PYTHONWARNINGS=None)
    await collector.until(lambda: len(collector.spans) == 2)
    failed, done = collector.spans
    assert (failed.span_id, failed.trace_id) == (done.span_id, done.trace_id)
    assert (failed.failed, failed.status, done.failed) == (True, "ValueError", False)


async def test_what_is_not_sampled_is_not_exported(collector: Collector, tmp_path: Path) -> None:
    run = a_run(CALLER)
    run.step()
    identity = run.requests[0].identity
    assert identity.traceparent.endswith("-00")
    environ: dict[str, Any] = {"OSSA_TASK": identity.model_dump_json(), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    ended = await Pod(tmp_path, code=HANDLER).run(**environ)
    assert ended.fields == {"traceparent": identity.traceparent}
    assert collector.spans == []


@pytest.mark.parametrize(("endpoint", "words"), [("http://127.0.0.1:9", ""), ("no-url", "is no http:// or https://")])
async def test_a_task_ends_well_without_a_collector(tmp_path: Path, endpoint: str, words: str) -> None:
    run = a_run(CALLER[:-2] + "01")
    run.step()
    environ: dict[str, Any] = {
        "OSSA_TASK": run.requests[0].identity.model_dump_json(),
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
    }
    ended = await Pod(tmp_path, code=HANDLER).run(**environ, PYTHONWARNINGS=None)
    assert ended.fields["traceparent"].startswith(CALLER[:36])
    assert words in ended.stderr
