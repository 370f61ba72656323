"""Queries: pages that miss nothing, and plans that go by an index however many rows there are."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from ossa.store.records.names import principal_id
from ossa.store.records.pages import BadCursor, Page, encode
from ossa.store.records.pool import Connection, Records
from ossa.store.records.queries import (
    ExecutionFilter,
    get_execution,
    list_executions,
    list_tasks,
)
from ossa.store.records.retention import Retention, upkeep
from ossa.store.records.write import recorded
from tests.unit.serverfixtures import made_database
from tests.unit.servers import Postgres

ROWS = 100_000
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ALICE = "ossa:alice"
# One Execution a minute; two in three of the newest namespace, most Completed, one in a thousand by alice.
FILL = f"""
INSERT INTO principals VALUES ('{principal_id(ALICE)}', '{ALICE}', 'person'),
    ('{principal_id("ossa:bob")}', 'ossa:bob', 'person');
INSERT INTO agents (id, namespace, name, type, version, status, capabilities, config, created_at, resource_version)
SELECT md5('agent' || n)::uuid, 'lab', 'agent-' || n, 'worker', '1', 'Ready', '[]', '{{}}', now(), n
FROM generate_series(1, 1000) n;
INSERT INTO executions (id, namespace, name, workflow, status, finished, context, progress, attempt, created_by,
    created_at, resource_version, deleted_at)
SELECT md5('e' || n)::uuid, (ARRAY['lab', 'lab', 'team'])[1 + n % 3], 'run-' || n, 'workflow-' || n % 20,
    CASE WHEN n % 100 = 7 THEN 'Failed' ELSE 'Completed' END, true, '{{}}', '1/1', 1,
    CASE WHEN n % 1000 = 0 THEN '{principal_id(ALICE)}'::uuid ELSE '{principal_id("ossa:bob")}'::uuid END,
    $1::timestamptz - make_interval(mins => (n / 2)::int), n, CASE WHEN n > 100 THEN now() END
FROM generate_series(1, {ROWS}) n;
INSERT INTO tasks (id, execution_id, agent_id, name, index, round, attempt, status, priority, execution_created_at,
    resource_version)
SELECT md5('t' || n)::uuid, e.id, md5('agent' || 1 + n % 1000)::uuid, 'task-' || n % 10, -1, 1, 1, 'Completed', 0,
    e.created_at, 1
FROM generate_series(0, {ROWS - 1}) n JOIN executions e ON e.id = md5('e' || 1 + n / 10)::uuid;
"""  # noqa: S608 - a test's own


class Explaining:
    """A connection that looks at the plan of each query before it asks it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.scanned = 0
        self.sequential: list[str] = []

    async def fetch(self, statement: str, *parameters: Any) -> Any:
        text = await self._connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *parameters)
        plan = text if isinstance(text, list) else orjson.loads(text)
        for node in _nodes(plan[0]["Plan"]):
            if "Relation Name" not in node:
                continue
            looked_at = int(node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0))
            self.scanned += looked_at
            # A partition without rows, and the few principals, are read as they lie.
            if node["Node Type"] == "Seq Scan" and looked_at and node["Relation Name"] != "principals":
                self.sequential.append(node["Relation Name"])
        return await self._connection.fetch(statement, *parameters)

    async def fetchrow(self, statement: str, *parameters: Any) -> Any:
        rows = await self.fetch(statement, *parameters)
        return rows[0] if rows else None


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    # What is never carried out, such as the scan of a partition that cannot hold a row, costs nothing.
    if plan.get("Actual Loops", 1):
        yield plan
        for part in plan.get("Plans", ()):
            yield from _nodes(part)


@pytest.fixture(scope="module")
def filled_url(postgres_of_session: Postgres, template_of_session: str) -> Iterator[str]:
    with made_database(postgres_of_session, template_of_session) as url:
        yield url


@pytest.fixture
async def connection(filled_url: str) -> AsyncIterator[Connection]:
    async with Records(filled_url, application="test", statement=60) as records:
        async with records.connection() as held:
            there = await held.fetchval("SELECT count(*) FROM executions")
        if not there:
            await upkeep(records, Retention(tasks=None, metrics=None, task_events=None).tables, NOW)
            async with records.connection() as held:
                for statement in FILL.split(";\n"):
                    if statement.strip():
                        await held.execute(statement, *([NOW] if "$1" in statement else []))
            await upkeep(records, Retention(tasks=None, metrics=None, task_events=None).tables, NOW)
            async with records.connection() as held:
                await held.execute("ANALYZE")
        async with records.connection() as held:
            yield held


FILTERS = {
    "all": ExecutionFilter(),
    "namespace": ExecutionFilter(namespace="team"),
    "workflow": ExecutionFilter(namespace="lab", workflow="workflow-3"),
    "phase": ExecutionFilter(namespace="lab", phase="Failed"),
    "phase that is rare": ExecutionFilter(namespace="lab", phase="Running"),
    "author": ExecutionFilter(author=ALICE),
    "author in a namespace": ExecutionFilter(namespace="lab", author=ALICE),
    "time": ExecutionFilter(namespace="lab", since=NOW - timedelta(days=20), until=NOW - timedelta(days=19)),
    "nobody": ExecutionFilter(author="ossa:nobody"),
}


@pytest.mark.parametrize("which", FILTERS.values(), ids=FILTERS)
async def test_lists_of_executions_read_no_more_than_a_page(connection: Connection, which: ExecutionFilter) -> None:
    explaining: Any = Explaining(connection)
    first = await list_executions(explaining, which, limit=50)
    if first.cursor is not None:
        second = await list_executions(explaining, which, limit=50, cursor=first.cursor)
        assert {row.id for row in first.items}.isdisjoint(row.id for row in second.items)
    assert explaining.sequential == []
    # A page is 51 rows, and as many of their authors; what two conditions leave over is a few times that.
    assert explaining.scanned <= 1000


async def test_one_execution_and_its_tasks_are_found_at_once(connection: Connection) -> None:
    explaining: Any = Explaining(connection)
    found = await get_execution(explaining, "team", "run-5")
    assert found is not None
    assert (found.author, found.workflow, found.status) == ("ossa:bob", "workflow-5", "Completed")
    tasks = await list_tasks(explaining, found, limit=4)
    more = await list_tasks(explaining, found, limit=50, cursor=tasks.cursor)
    assert [row.name for row in (*tasks.items, *more.items)] == [f"task-{number}" for number in range(10)]
    assert await get_execution(explaining, "lab", "run-5") is None
    assert await get_execution(explaining, "team", "run-5", uid=found.id) == found
    assert await get_execution(explaining, "team", "run-5", uid=uuid.uuid4()) is None
    assert explaining.sequential == []
    assert explaining.scanned <= 100


async def test_all_pages_together_are_all_rows(connection: Connection) -> None:
    which = ExecutionFilter(namespace="lab", phase="Failed")
    seen = await every(lambda cursor: list_executions(connection, which, limit=100, cursor=cursor))
    wanted = await connection.fetchval("SELECT count(*) FROM executions WHERE namespace='lab' AND status='Failed'")
    assert len({row.id for row in seen}) == len(seen) == wanted


async def test_the_recorder_asks_for_what_is_live_by_an_index(connection: Connection) -> None:
    explaining: Any = Explaining(connection)
    assert len((await recorded(explaining))["executions"]) == 100
    assert "executions" not in explaining.sequential


async def every(ask: Any) -> list[Any]:
    """All rows of all pages."""
    rows: list[Any] = []
    page: Page[Any] = await ask(None)
    while page.cursor is not None:
        rows += page.items
        page = await ask(page.cursor)
    return rows + page.items


@pytest.mark.parametrize(
    "cursor", ["", "x", "ÿ", encode((1, 2)), encode(("2026-01-01", "x")), encode((None,)), "W10", "e30"]
)
async def test_a_cursor_that_no_page_gave_is_refused(connection: Connection, cursor: str) -> None:
    with pytest.raises(BadCursor, match="leave it out"):
        await list_executions(connection, ExecutionFilter(), cursor=cursor)


@pytest.mark.parametrize("evil", ["'; DROP TABLE executions; --", "a\0b", "%", "\\", "$1"])
async def test_what_is_asked_for_never_becomes_a_statement(connection: Connection, evil: str) -> None:
    which = ExecutionFilter(namespace=evil, workflow=evil, phase=evil, author=evil)
    assert (await list_executions(connection, which)).items == []
    assert await get_execution(connection, evil, evil) is None
