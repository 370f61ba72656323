"""The way to Redis: one client a process, its errors as one, and pauses between tries."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,  # noqa: A004 - redis-py's own, no OSError
    InvalidResponse,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,  # noqa: A004 - likewise
    TryAgainError,
)

from ossa.backoff import backoff

SCHEMES: Final = ("redis", "rediss", "unix")
# Seconds. A read that waits for entries (BLOCK) stays below the answer's.
CONNECT_SECONDS, ANSWER_SECONDS, BLOCK_SECONDS = 2.0, 5.0, 2.0
PAUSE_FIRST, PAUSE_MOST = 0.05, 5.0
CONNECTIONS = 64
# What passes by itself: no connection, a server that loads its data, has no room, or is being taken over by another; or
# somebody else at its address, as where a pod has just got that of one that was killed.
_AWAY = (
    *(ConnectionError, TimeoutError, OSError, InvalidResponse),
    *(ReadOnlyError, MasterDownError, OutOfMemoryError, TryAgainError),
)
# What does not, until somebody changes the URL or the rights; tried again all the same, for a Secret may be renewed.
_REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)


class BadBusURL(ValueError):
    """The URL of Redis makes no sense; the text holds no password."""


class BusUnavailable(Exception):
    """Redis cannot be used now. Whether what was sent has arrived is not known."""


def check_url(url: str) -> str:
    """The URL as it is, where it can be one of Redis.

    Raises:
        BadBusURL: says what to write instead, and does not repeat the URL.
    """
    try:
        parts = urlsplit(url)
        scheme, named = parts.scheme, bool(parts.hostname or parts.scheme == "unix") and parts.port != 0
    except ValueError:
        raise BadBusURL("the bus' URL is none: write redis://host:6382") from None
    if scheme not in SCHEMES or not named:
        raise BadBusURL("the bus' URL names no server of Redis: write redis://host:6382, or rediss:// with TLS")
    return url


def connect(url: str, *, name: str, connections: int = CONNECTIONS, answer: float | None = ANSWER_SECONDS) -> Redis:
    """A client that connects when it is first used, and anew where a connection has gone.

    url: redis://[user:password@]host:port[/database], or rediss:// with TLS.
    name: of this process, as CLIENT LIST shows it.
    answer: seconds that the server may take; None for who bounds each call, since here that costs a task a command.

    Raises:
        BadBusURL: says what to write instead.
    """
    check_url(url)
    client: Redis = Redis.from_url(
        url,
        client_name=name,
        socket_connect_timeout=CONNECT_SECONDS,
        socket_timeout=answer,
        socket_keepalive=True,
        max_connections=connections,
        # One more try, for a connection that was closed while it lay idle; who waits longer has loops of their own.
        retry=Retry(NoBackoff(), 1),
        protocol=2,  # XREAD's answers keep one shape
    )
    return client


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turns what redis-py raises where the server is away into one error.

    Raises:
        BusUnavailable: with `what` was tried, and why it did not go.
    """
    try:
        yield
    except _REFUSED as error:
        raise BusUnavailable(f"{what}: Redis refuses: {error}; look at user and password of the bus' URL") from error
    except _AWAY as error:
        raise BusUnavailable(f"{what}: {error or type(error).__name__}") from error


class Pauses:
    """Growing pauses with jitter between tries, so that many who lost one server do not come back at one time."""

    def __init__(self, first: float = PAUSE_FIRST, most: float = PAUSE_MOST) -> None:
        self._first, self._most, self._failures = first, most, 0

    @property
    def failures(self) -> int:
        """Since the last success."""
        return self._failures

    def over(self) -> None:
        """It went well."""
        self._failures = 0

    def next(self) -> float:
        """Seconds to wait now."""
        self._failures += 1
        return backoff(self._failures - 1, first=self._first, most=self._most)

    async def wait(self) -> None:
        """Waits so long."""
        await asyncio.sleep(self.next())
