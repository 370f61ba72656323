"""The trace of a request: what of the caller's is taken, and what is said of it."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from ossa.gateway.tracing import Trace, Traced, trace_from, trace_of
from ossa.tracing import tracing_from
from tests.unit.tracing.collector import collecting

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()


def test_a_caller_finds_its_own_trace() -> None:
    made = trace_from([(b"host", b"x"), (b"traceparent", GOOD)])
    assert (made.trace_id, made.parent) == (TRACE, SPAN)
    assert made.span_id != SPAN
    assert made.traceparent == f"00-{TRACE}-{made.span_id}-01"


@pytest.mark.parametrize("flag", [b"00", b"01"])
def test_what_a_caller_wants_exported_does_not_count(flag: bytes) -> None:
    header = [(b"traceparent", GOOD[:-2] + flag)]
    assert trace_from(header, 1.0).sampled is True
    assert trace_from(header, 0.0).sampled is False


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"traceparent", b"")],
        [(b"traceparent", GOOD), (b"traceparent", GOOD)],
        [(b"traceparent", GOOD + b"-" + b"x" * 10_000)],
        [(b"traceparent", b"\xff\xfe" * 20)],
    ],
)
def test_anything_else_begins_a_new_trace(headers: list[tuple[bytes, bytes]]) -> None:
    first, second = trace_from(headers), trace_from(headers)
    assert first.parent is None
    assert first.trace_id not in (TRACE, second.trace_id)


def test_who_did_not_pass_has_none() -> None:
    with pytest.raises(TypeError, match="did not pass Traced"):
        trace_of({"type": "http", "ossa.trace": None})


async def test_requests_that_fail_and_those_of_probes() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - of the interface
        if scope["path"] == "/breaks":
            raise RuntimeError("a defect")
        assert isinstance(trace_of(scope), Trace)
        await send({"type": "http.response.start", "status": 503, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b""})

    async with collecting() as collector:
        tracing = tracing_from("ossa-gateway", {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})
        transport = httpx.ASGITransport(Traced(app, tracing))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            assert "traceparent" not in (await client.get("/readyz")).headers
            answer = await client.get("/away")
            with pytest.raises(RuntimeError, match="a defect"):
                await client.get("/breaks")
        assert tracing is not None
        await asyncio.to_thread(tracing.close)
        await collector.until(lambda: len(collector.named("gateway-receive")) == 2)
    assert (answer.headers["a"], len(answer.headers["traceparent"])) == ("b", 55)
    away, breaks = collector.named("gateway-receive")
    assert (away.failed, away.status, away.attributes["http.response.status_code"]) == (True, "status 503", 503)
    assert (breaks.failed, breaks.attributes["http.request.method"]) == (True, "GET")
    assert [span.parent for span in collector.named("gateway-respond")] == [away.span_id]


async def test_without_an_endpoint_requests_have_their_trace_all_the_same() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - of the interface
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": trace_of(scope).traceparent.encode()})

    async with httpx.AsyncClient(transport=httpx.ASGITransport(Traced(app, None)), base_url="http://gateway") as client:
        answer = await client.get("/", headers={"traceparent": GOOD.decode()})
    assert answer.text == answer.headers["traceparent"]
    assert answer.text.startswith(f"00-{TRACE}-")
