"""What the monitor tells of the trail, and what the compliance report makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from ossa.api.trail import STATUS_KEY, TRAIL_STATUS, TrailStatus
from ossa.audit.findings import Verdict
from ossa.governance.evidence import of_trail
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.monitor import trailstatus
from ossa.monitor.trailstatus import AGAIN, INTERVAL, RETRY, TrailVerifier, manifest, pause_after, status_of
from tests.unit.audit.running import KEYS, now, record_many, writing
from tests.unit.audit.trails import NOW, chain_of, verdict_of
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.waiting import until


def told(records: Verdict, archive: Verdict | None = None) -> TrailStatus:
    verdicts = {"records": records} if archive is None else {"records": records, "archive": archive}
    return status_of(verdicts, NOW, kept=timedelta(days=183), archived=archive is not None)


def test_a_proven_trail_is_told_and_is_evidence() -> None:
    item = manifest("ossa-system", told(verdict_of(chain_of(5)), verdict_of(chain_of(5))))
    data = item["data"]
    assert isinstance(data, dict)
    status = TrailStatus.model_validate_json(data[STATUS_KEY])
    assert (status.links, status.chains, status.faults, status.archived) == (5, 1, 0, True)
    assert of_trail(status, "trail", NOW).status == "evidence-present"
    assert of_trail(status, "retention", NOW).status == "evidence-present"


def test_what_is_wrong_in_any_place_is_told_and_speaks_against_it() -> None:
    written = chain_of(5)
    status = told(verdict_of(written), verdict_of(written, texts=written.texts[:3]))
    assert (status.faults, status.finding.startswith("archive: unsigned: gateway-0")) == (2, True)
    assert of_trail(status, "trail", NOW).status == "not-met"


@pytest.mark.parametrize(
    ("links", "took", "pause"),
    [(0, 0.1, RETRY), (0, 500.0, RETRY), (1, 0.1, AGAIN), (9, 10.0, 1000.0), (9, 900.0, INTERVAL)],
)
def test_a_short_trail_is_verified_often(links: int, took: float, pause: float) -> None:
    assert pause_after(links, took) == pause


PLACE = paths.core("configmaps", "ossa-system", TRAIL_STATUS)
# What is recorded just now may be on its way still: it is looked at a while later.
LATER = timedelta(hours=1)


@asynccontextmanager
async def verifying(server: ApiServer, records_url: str) -> AsyncIterator[TrailVerifier]:
    async with server.served() as config, ApiClient(config) as api:
        yield TrailVerifier(
            api=api,
            namespace="ossa-system",
            records_url=records_url,
            archive=None,
            keys=KEYS,
            kept=timedelta(days=183),
            clock=lambda: now() + LATER,
        )


def said(server: ApiServer) -> TrailStatus | None:
    item = server.objects.get(PLACE)
    return None if item is None else TrailStatus.model_validate_json(item["data"][STATUS_KEY])


async def test_a_trail_that_begins_after_the_monitor_is_told_soon(
    records_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trailstatus, "RETRY", 0.05)
    server = ApiServer()
    async with verifying(server, records_url) as verifier:
        running = asyncio.create_task(verifier.run())
        await until(lambda: (held := said(server)) is not None and held.links == 0)
        async with writing(records_url, None) as trail:
            await record_many(trail, 1, 5)
        await until(lambda: (held := said(server)) is not None and held.links >= 5)
        running.cancel()
        await asyncio.wait([running])
    held = said(server)
    assert held is not None
    assert (held.chains, held.faults, held.archived, held.kept_days) == (1, 0, False, 183)
    assert of_trail(held, "trail", now()).status == "evidence-present"


async def test_what_was_altered_is_told(records_url: str) -> None:
    async with writing(records_url, None) as trail:
        await record_many(trail, 1, 5)
    connection = await asyncpg.connect(records_url)
    await connection.execute("ALTER TABLE audit DISABLE TRIGGER ALL; DELETE FROM audit WHERE seq = 3")
    await connection.close()
    server = ApiServer()
    async with verifying(server, records_url) as verifier:
        status = await verifier.verify()
    assert status == said(server)
    assert status.faults > 0
    assert status.finding.startswith("records: ")
    assert of_trail(status, "trail", now()).status == "not-met"


async def test_with_postgresql_away_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trailstatus, "RETRY", 0.05)
    server = ApiServer()
    async with verifying(server, "postgresql://nobody@127.0.0.1:1/none") as verifier:
        running = asyncio.create_task(verifier.run())
        await until(lambda: caplog.text.count("the audit trail could not be verified") > 1)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
    assert said(server) is None
