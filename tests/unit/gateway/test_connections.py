"""Clients that are slow, large or rude, at a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body
from starlette.responses import Response, StreamingResponse

from ossa.gateway.answers import JSON
from ossa.gateway.metrics import Metrics
from tests.unit.gateway.serving import SETTINGS, raw, served

MEGABYTE = 1 << 20


def router() -> APIRouter:
    """An echo, and an answer without end."""
    routes = APIRouter()

    @routes.post("/echo")
    async def echo(body: Annotated[dict[str, Any], Body()]) -> Response:
        return JSON(body)

    @routes.get("/endless")
    async def endless() -> Response:
        async def pieces() -> Any:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)

        return StreamingResponse(pieces())

    @routes.get("/broken")
    async def broken() -> Response:
        raise LookupError("a secret of the process")

    return routes


def post(length: str) -> bytes:
    return f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode()


def dropped(metrics: Metrics, cause: str) -> float:
    return metrics.registry.get_sample_value("ossa_gateway_dropped_connections_total", {"cause": cause}) or 0.0


async def test_headers_must_come_in_time() -> None:
    """On a fresh connection, and on one that was answered before, whatever drips in."""
    metrics = Metrics()
    async with served([router()], settings=SETTINGS, metrics=metrics) as port:
        async with raw(port) as silent:
            assert await silent.closed()
        async with raw(port) as slow:
            began = time.monotonic()
            for letter in ("G", "E"):
                await slow.send(letter.encode())
                await asyncio.sleep(0.1)
            status, _, body = await slow.answer()
            assert (status, json.loads(body)["status"]) == (408, 408)
            assert "0.5 s" in json.loads(body)["detail"]
            assert time.monotonic() - began < 1.5
            assert await slow.closed()
        async with raw(port) as second:
            await second.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await second.answer())[0] == 200
            await second.send(b"\r\n")  # ends the idle time, and begins no request
            assert await second.closed()
        async with raw(port) as idle:  # while one that sends nothing may stay
            await idle.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await idle.answer())[0] == 200
            assert not await idle.closed(1.0)
    assert dropped(metrics, "headers") == 3


async def test_a_body_must_come_in_time() -> None:
    async with served([router()], settings=SETTINGS) as port:
        for length in ("Content-Length: 100", "Transfer-Encoding: chunked"):
            async with raw(port) as slow:
                await slow.send(post(length))
                status, headers, body = await slow.answer()
                assert (status, headers["content-type"]) == (408, "application/problem+json")
                assert "within 0.5 s" in json.loads(body)["detail"]
                assert await slow.closed()


async def test_headers_have_a_size() -> None:
    metrics = Metrics()
    async with served([router()], settings=SETTINGS, metrics=metrics) as port, raw(port) as large:
        await large.send(b"GET / HTTP/1.1\r\nX: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                await large.send(b"x" * 4096)
                await asyncio.sleep(0)
        assert (await large.answer())[0] in (431, 0)  # 0: the reset was faster than the answer
        assert await large.closed()
    assert dropped(metrics, "size") == 1


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_100_megabytes(chunked: bool) -> None:
    """It is refused before it is read, or where it does not say its length once too much is there."""
    metrics = Metrics()
    async with served([router()], settings=SETTINGS, metrics=metrics) as port, raw(port) as client:
        if chunked:
            await client.send(post("Transfer-Encoding: chunked"))
            piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            sent = 0
            for _ in range(17):
                await client.send(piece)
                sent += 65536
        else:
            await client.send(post(f"Content-Length: {100 * MEGABYTE}"))
            piece = b"x" * 65538
        status, headers, body = await client.answer()
        problem = json.loads(body)
        assert (status, headers["content-type"]) == (413, "application/problem+json")
        assert problem["detail"].startswith(f"a body may have {MEGABYTE} bytes")
        # A client that does not read before all is sent sees the answer too.
        for _ in range(1600):
            await client.send(piece)


async def test_what_is_refused_may_not_go_on_for_ever() -> None:
    async with served([router()], settings=replace(SETTINGS, linger=0.3)) as port, raw(port) as client:
        await client.send(post(f"Content-Length: {100 * MEGABYTE}"))
        assert (await client.answer())[0] == 413
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 3:
                await client.send(b"x")
                await asyncio.sleep(0.05)
        assert time.monotonic() - began < 2


async def test_an_answer_must_be_read() -> None:
    metrics = Metrics()
    async with served([router()], settings=SETTINGS, metrics=metrics) as port, raw(port) as client:
        await client.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(100):
            await asyncio.sleep(0.05)
            if dropped(metrics, "write"):
                break
        assert dropped(metrics, "write") == 1


@pytest.mark.parametrize(
    "request_",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_no_http(request_: bytes) -> None:
    """Among them what two parsers could read in two ways."""
    async with served([router()], settings=SETTINGS) as port, raw(port) as client:
        await client.send(request_)
        status, headers, _ = await client.answer()
        assert (status, headers["content-type"]) == (400, "application/problem+json")
        assert await client.closed()


async def test_a_defect_tells_nothing_but_its_request(caplog: pytest.LogCaptureFixture) -> None:
    async with served([router()], settings=SETTINGS) as port, raw(port) as client:
        await client.send(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = await client.answer()
        problem = json.loads(body)
        assert (status, problem["instance"]) == (500, headers["x-request-id"])
        assert "secret" not in body.decode()
    assert any(getattr(record, "request", "") == headers["x-request-id"] for record in caplog.records)


async def test_draining_closes_connections_after_their_answers() -> None:
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(served([router()], settings=replace(SETTINGS, drain_delay=3)))
        client = await stack.enter_async_context(raw(port))
        await client.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.answer())[0] == 200
        ending = asyncio.create_task(stack.pop_all().aclose())
        await asyncio.sleep(0.1)
        for path, expected in (("/readyz", 503), ("/healthz", 200)):
            async with raw(port) as other:
                await other.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                status, headers, _ = await other.answer()
                assert (status, headers["connection"]) == (expected, "close")
                assert await other.closed()
        await ending
