"""Fixtures of real servers, all told of by tests/unit/conftest.py.

A session (each worker of pytest-xdist is one) has one server of each, started when a test first asks for it. A test
gets a database of its own, and may stop, kill and start the servers.

    postgres: the server; runs again after the test, whatever the test did to it.
    database: URL of an empty database of this test's own.
    records_url: likewise, with all migrations applied.
    redis: the server, with nothing in it; likewise runs again afterwards.
    redis_url: its URL.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg
import pytest

from ossa.store.records.migrate import migrate
from tests.unit.servers import Postgres, Redis

TEMPLATE = "ossa_template"
S = TypeVar("S", Postgres, Redis)


@contextmanager
def started(server: S) -> Iterator[S]:
    """Runs until the block ends, and leaves nothing."""
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_of_session() -> Iterator[Postgres]:
    with started(Postgres()) as server:
        yield server


@pytest.fixture
def postgres(postgres_of_session: Postgres) -> Iterator[Postgres]:
    if not postgres_of_session.running:
        postgres_of_session.start()
    yield postgres_of_session
    if not postgres_of_session.running:
        postgres_of_session.start()


T = TypeVar("T")


def _in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Its own loop: that of the test is pytest's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _create(server: Postgres, name: str, template: str) -> None:
    _in_thread(_execute(server.url, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'))


def _drop(server: Postgres, name: str) -> None:
    _in_thread(_execute(server.url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


@contextmanager
def made_database(server: Postgres, template: str) -> Iterator[str]:
    """URL of a database like the template, for a block."""
    name = f"test_{uuid.uuid4().hex}"
    _create(server, name, template)
    yield server.url_of(name)
    if not server.running:
        server.start()
    _drop(server, name)


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    with made_database(postgres, "template0") as url:
        yield url


@pytest.fixture(scope="session")
def template_of_session(postgres_of_session: Postgres) -> str:
    _create(postgres_of_session, TEMPLATE, "template0")
    _in_thread(migrate(postgres_of_session.url_of(TEMPLATE)))
    return TEMPLATE


@pytest.fixture
def records_url(postgres: Postgres, template_of_session: str) -> Iterator[str]:
    with made_database(postgres, template_of_session) as url:
        yield url


@pytest.fixture(scope="session")
def redis_of_session() -> Iterator[Redis]:
    with started(Redis()) as server:
        yield server


@pytest.fixture
def redis(redis_of_session: Redis) -> Iterator[Redis]:
    if not redis_of_session.running:
        redis_of_session.start()
    redis_of_session.command("FLUSHALL")
    yield redis_of_session
    if not redis_of_session.running:
        redis_of_session.start()


@pytest.fixture
def redis_url(redis: Redis) -> str:
    return redis.url
