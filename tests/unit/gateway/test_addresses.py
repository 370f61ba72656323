"""Where a request came from: limits and the audit trail go by it, so no client may choose it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect

from ossa.environment import BadSetting
from ossa.gateway.events.handshake import read_handshake
from ossa.gateway.guard import address_of
from ossa.gateway.settings import settings_from
from tests.unit.gateway.serving import PATIENT, served

PROXY, CLIENT, STRANGER = "127.0.0.1", "192.0.2.7", "127.0.0.2"  # this machine has all of 127.0.0.0/8
TRUSTED = (PROXY, "10.0.0.0/8")


def router() -> APIRouter:
    """Tells a client its address, as limits and the trail have it."""
    routes = APIRouter()

    @routes.get("/address")
    async def address(request: Request) -> Response:
        return PlainTextResponse(address_of(request))

    routes.routes.append(WebSocketRoute("/socket", Socket()))
    return routes


class Socket:
    """Likewise."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": read_handshake(scope).address})
        await send({"type": "websocket.close"})


@asynccontextmanager
async def gateway(*trusted: str) -> AsyncIterator[int]:
    async with served([router()], settings=replace(PATIENT, trusted_proxies=trusted)) as port:
        yield port


async def seen(port: int, peer: str, *forwarded: str) -> tuple[str, str]:
    """The address that the gateway takes, over HTTP and over a WebSocket. forwarded: headers, in order."""
    headers = "".join(f"X-Forwarded-For: {value}\r\n" for value in forwarded)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(peer, 0))
    writer.write(f"GET /address HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode())
    told = (await reader.read()).rpartition(b"\r\n\r\n")[2].decode()
    writer.close()
    more = [("X-Forwarded-For", value) for value in forwarded]
    url = f"ws://127.0.0.1:{port}/socket"
    async with connect(url, additional_headers=more, local_addr=(peer, 0), proxy=None) as socket:
        return told, str(await socket.recv())


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (PROXY, [], PROXY),
        (PROXY, [CLIENT], CLIENT),
        (PROXY, [f"{CLIENT}, 10.1.2.3"], CLIENT),  # two proxies
        (PROXY, [f"{CLIENT}:4711"], CLIENT),
        (PROXY, ["2001:db8::7"], "2001:db8::7"),
        # What a client wrote itself stands before what the proxy added.
        (PROXY, [f"198.51.100.9, {CLIENT}"], CLIENT),
        (PROXY, [f"10.0.0.1, {CLIENT}"], CLIENT),
        (PROXY, ["198.51.100.9", CLIENT], CLIENT),
        (PROXY, [f"127.0.0.1, 10.0.0.1, {CLIENT}, 10.1.2.3"], CLIENT),
        # Whoever is no proxy says nothing of others.
        (STRANGER, [], STRANGER),
        (STRANGER, [CLIENT], STRANGER),
        (STRANGER, ["127.0.0.1, 10.1.2.3"], STRANGER),
    ],
)
async def test_the_last_one_that_is_no_proxy(peer: str, forwarded: list[str], address: str) -> None:
    async with gateway(*TRUSTED) as port:
        assert await seen(port, peer, *forwarded) == (address, address)


async def test_nobody_is_believed_unless_they_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own default is another: this machine, or who stands in its variable."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    async with gateway() as port:
        assert await seen(port, PROXY, CLIENT) == (PROXY, PROXY)


@pytest.mark.parametrize("wrong", ["*", "10.0.0.1/8", "10.0.0.0/33", "proxy.example", ""])
def test_what_is_no_network_is_refused_at_the_start(wrong: str) -> None:
    environment = {"OSSA_RECORDS_URL": "postgresql://a@b/c", "OSSA_BUS_URL": "redis://a:6382"}
    name = "OSSA_GATEWAY_TRUSTED_PROXIES"
    assert settings_from({**environment, name: '["10.0.0.0/8", "::1"]'}).trusted_proxies == ("10.0.0.0/8", "::1")
    with pytest.raises(BadSetting, match=name):
        settings_from({**environment, name: f'["{wrong}"]'})
