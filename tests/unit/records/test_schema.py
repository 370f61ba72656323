"""The tables that there are: the five that the platform promises, column by column, and all others by name."""

from __future__ import annotations

from collections import defaultdict

import asyncpg

UUID, TEXT, JSON, TIME = "uuid", "text", "jsonb", "timestamp with time zone"
PROMISED: dict[str, dict[str, str]] = {
    "agents": {
        "id": UUID, "name": TEXT, "type": TEXT, "version": TEXT, "status": TEXT, "capabilities": JSON, "config": JSON,
        "last_heartbeat": TIME,
    },
    "workflows": {
        "id": UUID, "name": TEXT, "version": TEXT, "definition": JSON, "status": TEXT, "created_by": UUID,
    },
    "executions": {
        "id": UUID, "workflow_id": UUID, "status": TEXT, "started_at": TIME, "completed_at": TIME, "context": JSON,
        "results": JSON,
    },
    "tasks": {
        "id": UUID, "execution_id": UUID, "agent_id": UUID, "name": TEXT, "status": TEXT, "priority": "integer",
        "input": JSON, "output": JSON,
    },
    "metrics": {
        "id": UUID, "agent_id": UUID, "metric_name": TEXT, "metric_value": "numeric", "labels": JSON, "timestamp": TIME,
    },
}  # fmt: skip
# From the columns of a table to another table's key. `executions` of metrics is none: their stream may be ahead.
RELATIONS = {
    ("workflows", "created_by", "principals"),
    ("executions", "workflow_id", "workflows"),
    ("tasks", "execution_id", "executions"),
    ("tasks", "agent_id", "agents"),
    ("metrics", "agent_id", "agents"),
    ("decisions", "agent_id", "agents"),
    ("decisions", "principal_id", "principals"),
    ("decisions", "approval_id", "approvals"),
    ("sessions", "local_user", "users"),
    ("refresh_tokens", "session_id", "sessions"),
}
OTHERS = {
    "approvals", "audit", "audit_heads", "decisions", "policies", "principals", "refresh_tokens", "requests",
    "schema_migrations", "sessions", "signing_keys", "task_events", "users",
}  # fmt: skip
PARTITIONED = {"audit", "metrics", "task_events", "tasks"}


async def ask(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


async def test_the_promised_columns_are_there_with_their_types(records_url: str) -> None:
    rows = await ask(
        records_url,
        "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'",
    )
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        found[row["table_name"]][row["column_name"]] = row["data_type"]
    assert {
        table: {name: found[table].get(name) for name in columns} for table, columns in PROMISED.items()
    } == PROMISED


async def test_all_tables_are_there(records_url: str) -> None:
    rows = await ask(
        records_url,
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p') AND NOT relispartition",
    )
    assert {row["relname"] for row in rows} == PROMISED.keys() | OTHERS
    assert {row["relname"] for row in rows if row["relkind"] == b"p"} == PARTITIONED


async def test_keys_and_relations(records_url: str) -> None:
    rows = await ask(
        records_url,
        "SELECT c.contype, c.conrelid::regclass::text AS of, a.attname AS name, c.confrelid::regclass::text AS to "
        "FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) "
        "WHERE c.contype IN ('p', 'f') AND c.connamespace = 'public'::regnamespace",
    )
    relations = {(row["of"], row["name"], row["to"]) for row in rows if row["contype"] == b"f"}
    assert relations >= RELATIONS
    keys = {(row["of"], row["name"]) for row in rows if row["contype"] == b"p"}
    assert {(table, "id") for table in PROMISED} <= keys
