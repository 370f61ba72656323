"""Connections to PostgreSQL that survive its outages."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import orjson

from ossa.backoff import backoff
from ossa.store.records.errors import BadRecordsURL, RecordsUnavailable, is_passing

log = logging.getLogger(__name__)

if TYPE_CHECKING:  # generic in the stubs alone
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
else:
    Connection = asyncpg.pool.PoolConnectionProxy
# Seconds. A statement may take so long, a request for a connection, and the making of one.
STATEMENT, ACQUIRE, CONNECT = 10.0, 5.0, 5.0
BACKOFF_FIRST, BACKOFF_MOST = 0.1, 2.0
_REPLACEMENT = "\ufffd"


def check_url(url: str) -> str:
    """The URL as it is, where it can be one of PostgreSQL.

    Raises:
        BadRecordsURL: does not repeat the URL.
    """
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise BadRecordsURL("it is no URL; write postgresql://USER:PASSWORD@HOST:5432/DATABASE") from error
    if parts.scheme not in ("postgresql", "postgres") or not named:
        raise BadRecordsURL("write postgresql://USER:PASSWORD@HOST:5432/DATABASE?sslmode=verify-full")
    return url


def where(url: str) -> str:
    """Host, port and database of a URL, for a person: neither user nor password."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or 5432}{parts.path}"


def _without_nul(value: Any) -> Any:
    """PostgreSQL has no text with the character 0."""
    match value:
        case str():
            return value.replace("\0", _REPLACEMENT)
        case dict():
            return {_without_nul(key): _without_nul(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_nul(item) for item in value]
        case _:
            return value


def to_jsonb(value: Any) -> str:
    """JSON as PostgreSQL takes it: the character 0 is replaced."""
    text = orjson.dumps(value).decode()
    return orjson.dumps(_without_nul(orjson.loads(text))).decode() if "\\u0000" in text else text


async def _prepare(connection: Any) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=to_jsonb, decoder=orjson.loads, format="text"
        )


async def _nothing(connection: Any) -> None:
    """What the driver would do with a connection that comes back: a statement each time, as dear as the work itself.

    Nobody leaves anything behind: an open transaction is rolled back all the same, locks are a transaction's, settings
    are given when it connects, and nobody listens.
    """


def _server_settings(application: str, statement: float) -> dict[str, str]:
    return {
        "application_name": application,
        "statement_timeout": str(int(statement * 1000)),
        "idle_in_transaction_session_timeout": str(int(2 * statement * 1000)),
        "timezone": "UTC",
    }


@asynccontextmanager
async def connect(url: str, *, application: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """One connection, without a limit on how long a statement takes.

    Raises:
        RecordsUnavailable: as `Records.connection`.
    """
    check_url(url)
    held: asyncpg.Connection[asyncpg.Record] | None = None
    try:
        held = await asyncpg.connect(url, timeout=CONNECT, server_settings={"application_name": application})
        await _prepare(held)
        yield held
    except Exception as error:
        if not _is_ours(held, error):
            raise
        raise RecordsUnavailable(f"PostgreSQL at {where(url)}: {type(error).__name__}") from error
    finally:
        if held is not None and not held.is_closed():
            await held.close(timeout=CONNECT)


class Records:
    """A pool; an asynchronous context manager. It opens connections when they are asked for, so that a process starts
    with PostgreSQL down. After a failure to connect others fail at once for a while, instead of waiting in a queue.

    TLS is as the URL says: ?sslmode=verify-full&sslrootcert=FILE.
    """

    def __init__(self, url: str, *, application: str, size: int = 10, statement: float = STATEMENT) -> None:
        self._url = check_url(url)
        self._application = application
        self._size, self._statement = size, statement
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._failures, self._closed_until = 0, 0.0

    def __repr__(self) -> str:
        return f"Records({where(self._url)})"

    async def __aenter__(self) -> Self:
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._size,
            timeout=CONNECT,
            command_timeout=self._statement + 1.0,  # the server's own limit comes first, and says so
            max_inactive_connection_lifetime=300.0,
            init=_prepare,
            reset=_nothing,
            server_settings=_server_settings(self._application, self._statement),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), CONNECT)
            except TimeoutError:
                pool.terminate()

    @property
    def available(self) -> bool:
        """Whether the last attempt to ask PostgreSQL went well."""
        return self._failures == 0

    @asynccontextmanager
    async def connection(self, *, acquire: float = ACQUIRE) -> AsyncIterator[Connection]:
        """A connection of the pool, for a block. Rows are asyncpg's Records, json and jsonb are Python values.

        acquire: seconds that may pass until one is free.

        Raises:
            RecordsUnavailable: PostgreSQL is away, starting, or overloaded; also where it went away within the block.
        """
        pool = self._open()
        held: Connection | None = None
        try:
            held = await pool.acquire(timeout=acquire)
            yield held
        except Exception as error:
            if not _is_ours(held, error):
                raise
            # One that is of no use any more, or on which nobody answers, not even that a statement took too long: to
            # give it back in order would take time once more.
            useless = isinstance(error, asyncpg.InternalClientError | TimeoutError)
            if held is not None and not _is_gone(held) and useless:
                held.terminate()
            # A statement that the server itself has ended for taking too long is nobody else's trouble.
            reached = not _is_gone(held) and not isinstance(error, TimeoutError)
            raise self._failed(error, reached=reached) from error
        finally:
            if held is not None:
                await self._release(pool, held)
        self._failures, self._closed_until = 0, 0.0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection within a transaction, that is committed when the block ends well. Raises as `connection`."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    def _open(self) -> asyncpg.Pool[asyncpg.Record]:
        if self._pool is None:
            raise RuntimeError("Records is used outside of `async with`")
        if time.monotonic() < self._closed_until:
            raise RecordsUnavailable(f"PostgreSQL at {where(self._url)} did not answer a moment ago")
        return self._pool

    async def _release(self, pool: asyncpg.Pool[asyncpg.Record], held: Connection) -> None:
        try:
            await pool.release(held, timeout=CONNECT)
        except Exception as error:
            if not _is_ours(held, error):
                raise
            # It broke after its work was done, and is dropped.
            log.info("a connection to PostgreSQL is dropped", extra={"error": type(error).__name__})

    def _failed(self, error: Exception, *, reached: bool) -> RecordsUnavailable:
        if not reached:
            self._failures += 1
            self._closed_until = time.monotonic() + backoff(self._failures, first=BACKOFF_FIRST, most=BACKOFF_MOST)
        # Its text may quote what was written: the class says enough.
        told = {"at": where(self._url), "error": type(error).__name__, "failures": self._failures}
        log.warning("PostgreSQL cannot be asked", extra=told)
        return RecordsUnavailable(f"PostgreSQL at {where(self._url)}: {type(error).__name__}")


def _is_ours(held: Connection | asyncpg.Connection[asyncpg.Record] | None, error: Exception) -> bool:
    """Whether it is PostgreSQL that cannot be asked, and not something else that the block did."""
    if isinstance(error, asyncpg.InternalClientError):
        # The server has said that it ends, and the connection has not broken yet: it is of no use any more.
        return True
    if _is_gone(held):
        return is_passing(error) or isinstance(error, asyncpg.InterfaceError)
    return is_passing(error) and (isinstance(error, TimeoutError) or not isinstance(error, OSError))


def _is_gone(held: Connection | asyncpg.Connection[asyncpg.Record] | None) -> bool:
    """Whether there is no connection any more."""
    try:
        return held is None or held.is_closed()
    except asyncpg.InterfaceError:  # a pool takes back at once what broke
        return True
