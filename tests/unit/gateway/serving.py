"""A gateway on a local port, with people who may do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from fastapi import APIRouter

from ossa.audit.entry import Entry
from ossa.gateway.app import create
from ossa.gateway.health import Health
from ossa.gateway.identity import Access, Identity
from ossa.gateway.metrics import Metrics
from ossa.gateway.problems import Problem, Unkept
from ossa.gateway.server import listen, server, serving
from ossa.gateway.settings import Settings

SETTINGS = Settings(
    records_url="postgresql://unused",
    bus_url="redis://unused",
    header_timeout=0.5,
    body_timeout=0.5,
    write_timeout=0.5,
    drain_delay=0.0,
    drain_timeout=5.0,
)
# Where a test is not about deadlines, a busy machine must not meet them.
PATIENT = replace(SETTINGS, header_timeout=30.0, body_timeout=30.0, write_timeout=30.0)


@dataclass
class People:
    """Tokens and rights. With `cluster_away` nobody can be asked for rights; `seen` are those seen lately."""

    tokens: dict[str, Identity] = field(default_factory=dict)
    rights: set[tuple[str, str, str, str]] = field(default_factory=set)  # user, verb, resource, namespace
    seen: set[tuple[str, str, str, str]] = field(default_factory=set)
    cluster_away: bool = False
    taken: list[tuple[str, str]] = field(default_factory=list)  # user, address
    full: set[str] = field(default_factory=set)  # users whose rate is used up

    def add(self, name: str, *rights: tuple[str, str, str], groups: tuple[str, ...] = ()) -> Identity:
        """Somebody who signs in with their name as the token; rights are (verb, resource, namespace)."""
        identity = Identity(f"ossa:{name}", groups)
        self.tokens[name] = identity
        self.rights |= {(identity.user, *right) for right in rights}
        return identity

    async def identify(self, token: str) -> Identity:
        """As Authenticator."""
        if token not in self.tokens:
            raise Problem(HTTPStatus.UNAUTHORIZED, "the token is none of ours; sign in again")
        return self.tokens[token]

    async def require(self, identity: Identity, access: Access) -> None:
        """As Authorizer."""
        right = _right(identity, access)
        if self.cluster_away:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the API server cannot be asked")
        if right not in self.rights:
            raise Problem(HTTPStatus.FORBIDDEN, f"{identity.user} may not {access.verb} {access.resource}")
        self.seen.add(right)

    def seen_lately(self, identity: Identity, access: Access) -> bool:
        """As Authorizer."""
        return _right(identity, access) in self.seen

    async def take(self, identity: Identity | None, address: str, cost: int = 1) -> None:
        """As RateLimiter."""
        user = identity.user if identity is not None else ""
        self.taken.append((user, address))
        if user in self.full:
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "slower, please", headers={"Retry-After": str(cost)})


def _right(identity: Identity, access: Access) -> tuple[str, str, str, str]:
    resource = f"{access.resource}/{access.subresource}" if access.subresource else access.resource
    return identity.user, access.verb, resource, access.namespace


@dataclass
class Book:
    """An audit trail in memory; `away` are the outcomes that it cannot keep."""

    entries: list[Entry] = field(default_factory=list)
    away: set[str] = field(default_factory=set)

    async def record(self, entry: Entry) -> None:
        """As Trail."""
        if entry.outcome in self.away:
            raise Unkept(f"{entry.outcome} cannot be kept")
        self.entries.append(entry)


@asynccontextmanager
async def served(
    routers: Iterable[APIRouter], *, settings: Settings = PATIENT, metrics: Metrics | None = None
) -> AsyncIterator[int]:
    """The port of a gateway with these routers."""
    metrics, health = metrics or Metrics(), Health()
    sock = listen("127.0.0.1", 0)
    app = create(settings, metrics, routers, health=health)
    async with serving(server(app, settings, metrics), sock, health=health, drain_delay=settings.drain_delay):
        yield sock.getsockname()[1]


@dataclass
class Raw:
    """A connection whose every byte the test chooses."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, seconds: float = 3.0) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of one answer that says its length; status 0 where the connection was closed."""
        try:
            async with asyncio.timeout(seconds):
                head = await self.reader.readuntil(b"\r\n\r\n")
                status, *lines = head.decode().split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines if line)}
                body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, {}, b""
        return int(status.split(" ")[1]), headers, body

    async def closed(self, seconds: float = 3.0) -> bool:
        """Whether the other side closes within the time."""
        try:
            async with asyncio.timeout(seconds):
                while await self.reader.read(1 << 16):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    """Connected."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
