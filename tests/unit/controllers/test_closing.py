"""An Execution is deleted after its time only where the records have its end, and no turn waits for PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

from controllers.closing import AGAIN, Closing
from ossa.store.records.closing import closed
from ossa.store.records.pool import Records
from ossa.store.records.write import Write, write
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import EXECUTIONS, reconciler
from tests.unit.records.objects import execution, uid
from tests.unit.servers import Postgres
from tests.unit.waiting import until

UID = uid("Execution/e")
REQUEST = str(uuid4())


async def record(url: str, phase: str, version: int) -> None:
    item = execution("e", phase=phase, version=version, metadata={"annotations": {"ossa.dev/request-id": REQUEST}})
    async with Records(url, application="test") as records, records.connection() as connection:
        await write(connection, [Write("executions", UID, version, None, item)])


async def request_is(url: str, state: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        "INSERT INTO requests (id, user_name, identity, namespace, name, spec, traceparent, state, due_at) "
        "VALUES ($1, 'ossa:alice', '{}', 'lab', 'e', '{}', '', $2, now()) "
        "ON CONFLICT (id) DO UPDATE SET state = EXCLUDED.state",
        REQUEST,
        state,
    )
    await connection.close()


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[tuple[Closing, list[str]]]:
    woken: list[str] = []
    closing = Closing(Records(url, application="test"), woken.append)
    running = asyncio.create_task(closing.run())
    yield closing, woken
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_records_nothing_waits() -> None:
    woken: list[str] = []
    closing = Closing(None, woken.append)
    assert closing.may_go(UID, None)
    await asyncio.wait_for(closing.run(), 1)
    assert woken == []


async def test_one_that_is_not_closed_stays_and_is_woken_when_it_is(records_url: str) -> None:
    async with asking(records_url) as (closing, woken):
        assert not closing.may_go(UID, REQUEST)
        await record(records_url, "Running", 1)
        await asyncio.sleep(0.3)
        assert not closing.may_go(UID, REQUEST)
        assert woken == []
        await record(records_url, "Completed", 2)
        await until(lambda: woken == [UID], 15)
        assert closing.may_go(UID, REQUEST)
        closing.forget(UID)
        assert not closing.may_go(UID, REQUEST)


async def test_one_whose_request_is_open_stays(records_url: str) -> None:
    await record(records_url, "Completed", 1)
    await request_is(records_url, "open")
    async with Records(records_url, application="test") as records, records.connection() as connection:
        assert await closed(connection, {UID: REQUEST}) == set()
        await request_is(records_url, "done")
        assert await closed(connection, {UID: REQUEST, uid("other"): None, "no-uid": "no-uid"}) == {UID}


async def test_with_postgresql_away_it_waits_and_no_turn_does(postgres: Postgres, records_url: str) -> None:
    await record(records_url, "Completed", 1)
    postgres.stop()
    async with asking(records_url) as (closing, woken):
        began = time.monotonic()
        assert not closing.may_go(UID, None)
        assert time.monotonic() - began < 1.0
        await asyncio.sleep(0.5)
        assert woken == []
        postgres.start()
        await until(lambda: woken == [UID], 15)
        assert closing.may_go(UID, None)


async def test_the_reconciler_deletes_only_what_is_closed(records_url: str) -> None:
    """At the end of its time: not while its end is not recorded, nor while its request is open; then at once."""
    cluster = ApiServer()
    for name, held in (("e", {"ossa.dev/request-id": REQUEST}), ("other", {})):
        status = {"completedAt": "2026-11-20T10:01:00Z"}
        item = execution(name, phase="Completed", tasks={}, status=status, metadata={"annotations": held})
        item["spec"]["ttlSecondsAfterFinished"] = 1
        cluster.create(EXECUTIONS, item)

    def there() -> set[str]:
        return {item["metadata"]["name"] for item in cluster.of(EXECUTIONS)}

    await request_is(records_url, "open")
    async with cluster.served() as config, reconciler(config, records=Records(records_url, application="test")):
        await asyncio.sleep(0.5)
        assert there() == {"e", "other"}
        async with Records(records_url, application="test") as records, records.connection() as connection:
            items = cluster.of(EXECUTIONS)
            await write(connection, [Write("executions", i["metadata"]["uid"], 9, None, i) for i in items])
        await until(lambda: there() == {"e"}, 15)
        await asyncio.sleep(1.5 * AGAIN)  # it was asked for meanwhile
        assert there() == {"e"}
        await request_is(records_url, "done")
        await until(lambda: there() == set(), 15)
