"""The gateway's sign-in over a real PostgreSQL and a real server that speaks Redis' protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis as Client

from ossa.gateway.metrics import Metrics
from ossa.gateway.signin.assembly import security
from ossa.gateway.signin.issuer import Client as IssuerClient
from ossa.gateway.signin.settings import SignInSettings
from ossa.httppool import LIMITS
from ossa.store.records.pool import Records
from tests.unit.gateway.kubernetes import kubernetes
from tests.unit.gateway.serving import Book, served
from tests.unit.gateway.signin.issuing import CLIENT_ID, CLIENT_SECRET, issuing
from tests.unit.gateway.signin.replicas import Replicas
from tests.unit.gateway.signin.site import MANAGES, Site, collaborating, settings_in


@pytest.fixture
async def replicas(records_url: str, redis_url: str) -> AsyncIterator[Replicas]:
    """Makes one more replica each time that it is called."""
    async with AsyncExitStack() as stack:
        yield Replicas(records_url, redis_url, stack)


@pytest.fixture
async def settings(tmp_path: Path) -> SignInSettings:
    return settings_in(tmp_path)


@pytest.fixture
async def site(settings: SignInSettings, records_url: str, redis_url: str) -> AsyncIterator[Site]:
    redis, book, metrics = Client.from_url(redis_url), Book(), Metrics()
    async with (
        Records(records_url, application="test") as records,
        kubernetes() as (cluster, api),
        issuing() as issuer,
        security(
            replace(settings, issuer=IssuerClient(issuer=issuer.url, client_id=CLIENT_ID, client_secret=CLIENT_SECRET)),
            records=records,
            redis=redis,
            api=api,
            metrics=metrics,
        ) as made,
    ):
        cluster.allowed = set(MANAGES)
        collaborators = collaborating(made, api=api, records=records, book=book, metrics=metrics)
        async with (
            served([made.router(collaborators)], metrics=metrics) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, limits=LIMITS) as client,
        ):
            site = Site(client, book, cluster, issuer, made, metrics)
            await site.until(200)
            book.entries.clear()
            collaborators.metrics.sign_ins.clear()
            yield site
    await redis.aclose()
