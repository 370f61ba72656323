"""A collector: takes spans by OTLP over HTTP as a real one does, and keeps them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Received:
    """A span as it came. Ids are hex digits, times nanoseconds; parent is '' where there is none."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    failed: bool
    status: str


@dataclass
class Collector:
    """What has come, and where it is taken."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def named(self, name: str) -> list[Received]:
        """The spans of a name."""
        return [span for span in self.spans if span.name == name]

    async def until(self, met: Callable[[], bool]) -> None:
        """Waits until what has come is as wanted."""
        async with asyncio.timeout(20):
            while not met():
                self.news.clear()
                await self.news.wait()

    async def take(self, request: web.Request) -> web.Response:
        """POST /v1/traces"""
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            held = {item.key: item.value.string_value for item in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [_received(span, held["service.name"]) for span in scope.spans]
        self.news.set()
        return web.Response(body=b"", content_type="application/x-protobuf")


def _received(span: Any, service: str) -> Received:
    attributes = {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes}
    return Received(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=attributes,
        failed=span.status.code == 2,
        status=span.status.message,
    )


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """On a local port."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    collector.url = f"http://{host}:{port}"
    try:
        yield collector
    finally:
        await runner.cleanup()
