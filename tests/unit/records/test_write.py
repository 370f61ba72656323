"""Writes on a real PostgreSQL: batched, repeated, late, and in any order."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from ossa.api.base import JSONObject
from ossa.store.records.pool import Records
from ossa.store.records.write import TaskInfo, Write, recorded, write
from tests.unit.records.objects import agent, approval, execution, task, uid, workflow

PLURALS = {"Agent": "agents", "Workflow": "workflows", "Execution": "executions", "Approval": "approvals"}
INFO = {"one": TaskInfo("worker", 5, {"records": "${{ inputs.dataset }}"})}


@pytest.fixture
async def records(records_url: str) -> AsyncIterator[Records]:
    async with Records(records_url, application="test") as held:
        yield held


def change(now: JSONObject, *, before: JSONObject | None = None) -> Write:
    metadata = now["metadata"]
    return Write(PLURALS[now["kind"]], metadata["uid"], int(metadata["resourceVersion"]), before, now, INFO)


def gone(last: JSONObject, version: int) -> Write:
    return Write(PLURALS[last["kind"]], last["metadata"]["uid"], version, last, None)


async def put(records: Records, *changes: Write) -> None:
    async with records.connection() as connection:
        await write(connection, changes)


async def ask(records: Records, statement: str) -> list[dict[str, Any]]:
    async with records.connection() as connection:
        return [dict(row) for row in await connection.fetch(statement)]


TASKS = "SELECT name, index, attempt, status, output, agent_id, priority FROM tasks ORDER BY name, index, attempt"


async def test_all_kinds_in_one_batch_with_their_relations(records: Records) -> None:
    run = execution("e")
    decided = approval("a", run, decisions={"ossa:bob": {"verdict": "Approved", "reason": "fine"}})
    # In no order: what others refer to is written first all the same.
    await put(records, *map(change, (decided, run, workflow("pipeline"), agent("worker"))))
    [row] = await ask(
        records,
        "SELECT e.name, w.name AS workflow, a.name AS agent, a.last_heartbeat, t.priority, t.input, p.name AS author, "
        "d.verdict, q.name AS by FROM executions e JOIN workflows w ON w.id = e.workflow_id "
        "JOIN tasks t ON t.execution_id = e.id JOIN agents a ON a.id = t.agent_id "
        "JOIN principals p ON p.id = e.created_by JOIN decisions d ON d.execution_id = e.id "
        "JOIN principals q ON q.id = d.principal_id",
    )
    assert row.pop("last_heartbeat") is not None
    assert row == {
        "name": "e",
        "workflow": "pipeline",
        "agent": "worker",
        "priority": 5,
        "input": {"records": "${{ inputs.dataset }}"},
        "author": "ossa:alice",
        "verdict": "Approved",
        "by": "ossa:bob",
    }


async def test_what_was_referred_to_comes_later(records: Records) -> None:
    await put(records, change(execution("e")))
    await put(records, change(workflow("pipeline")), change(agent("worker")))
    await put(records, change(execution("e", version=2)))
    [row] = await ask(records, "SELECT workflow_id, agent_id FROM executions e JOIN tasks t ON t.execution_id = e.id")
    assert (str(row["workflow_id"]), str(row["agent_id"])) == (uid("Workflow/pipeline"), uid("Agent/worker"))


async def test_any_order_and_any_repetition_ends_the_same(records: Records) -> None:
    states = [
        execution("e", version=1, tasks={"one": {"phase": "Pending"}}),
        execution("e", version=2, tasks={"one": task()}),
        execution("e", version=3, tasks={"one": task("Retrying", 1, reason="Error")}),
        execution("e", version=4, tasks={"one": task(attempt=2)}),
        execution("e", version=5, phase="Completed", tasks={"one": task("Completed", 2, output={"n": 1})}),
    ]
    for number, order in enumerate(itertools.permutations(range(5))):
        if number % 9:
            continue
        mine = random.Random(number)  # noqa: S311 - a test's own
        await ask(records, "TRUNCATE executions CASCADE")
        for index in (*order, *mine.choices(range(5), k=3)):
            await put(records, change(states[index]))
        [row] = await ask(records, "SELECT status, finished, resource_version FROM executions")
        assert row == {"status": "Completed", "finished": True, "resource_version": 5}
        rows = await ask(records, TASKS)
        assert [(row["attempt"], row["status"]) for row in rows][-1] == (2, "Completed")
        assert all(row["status"] == "Failed" for row in rows[:-1])


async def test_an_attempt_that_was_followed_by_another_one_failed(records: Records) -> None:
    await put(records, change(execution("e", tasks={"one": task()})))
    await put(records, change(execution("e", version=2, tasks={"one": task(attempt=2)})))
    assert [(row["attempt"], row["status"]) for row in await ask(records, TASKS)] == [(1, "Failed"), (2, "Running")]


async def test_items_that_end_are_the_attempts_that_ran(records: Records) -> None:
    def each(version: int, **items: Any) -> JSONObject:
        held = {"each": {"phase": "Running", "items": {"total": 3, "started": 3, **items}}}
        return execution("e", version=version, tasks=held)

    first = each(1, active={"0": task(), "1": task("Retrying"), "2": task()})
    second = each(2, active={"0": task(), "1": task(attempt=2), "2": task()})
    third = each(3, completed=2, failed="2", outputs=[{"n": 0}, {"n": 1}])
    await put(records, change(first))
    await put(records, change(second, before=first))
    await put(records, change(third, before=second))
    rows = [(row["index"], row["attempt"], row["status"]) for row in await ask(records, TASKS)]
    assert rows == [
        (-1, 1, "Running"),
        (0, 1, "Completed"),
        (1, 1, "Failed"),
        (1, 2, "Completed"),
        (2, 1, "Failed"),
    ]


async def test_what_a_packed_status_leaves_out_stays(records: Records) -> None:
    whole = execution("e", tasks={"one": task("Completed", output={"n": 1}, completedAt="2026-11-20T10:01:00Z")})
    packed = execution("e", version=2, tasks={"one": {"phase": "Completed", "attempt": 1}})
    await put(records, change(whole))
    await put(records, change(packed))
    [row] = await ask(records, "SELECT output, pod, completed_at FROM tasks")
    assert row["output"] == {"n": 1}
    assert row["pod"] == "pod-1"
    assert row["completed_at"] is not None


async def test_deleted_objects_are_marked_once_and_nothing_brings_them_back(records: Records) -> None:
    run = execution("e", version=4, phase="Completed")
    await put(records, change(run), gone(run, 5))
    [first] = await ask(records, "SELECT deleted_at FROM executions")
    await put(records, change(run), gone(run, 5), change(execution("e", version=3)))
    assert await ask(records, "SELECT deleted_at FROM executions") == [first]
    assert first["deleted_at"] is not None
    async with records.connection() as connection:
        assert (await recorded(connection))["executions"] == {}


async def test_a_namesake_is_another_one(records: Records) -> None:
    old = execution("e", phase="Completed")
    new = execution("e", version=9, metadata={"uid": uid("another")})
    await put(records, change(old), gone(old, 5), change(new))
    async with records.connection() as connection:
        assert (await recorded(connection))["executions"] == {uid("another"): 9}
    assert len(await ask(records, "SELECT id FROM executions")) == 2


async def test_the_first_decision_of_a_user_stays(records: Records) -> None:
    run = execution("e")
    await put(records, change(approval("a", run, decisions={"bob": {"verdict": "Approved"}})))
    await put(records, change(approval("a", run, version=2, decisions={"bob": {"verdict": "Rejected"}})))
    assert [row["verdict"] for row in await ask(records, "SELECT verdict FROM decisions")] == ["Approved"]


async def test_what_a_judge_gives_is_a_decision(records: Records) -> None:
    """Once, however often it is told; what another agent gives is none, nor what a judge has not given yet."""
    judge = agent("judge")
    judge["spec"]["type"] = "judge"
    by = {name: TaskInfo("judge") for name in ("review", "each", "later")} | {"one": TaskInfo("worker")}
    done: JSONObject = {"completedAt": "2026-11-20T10:00:30Z"}
    tasks = {
        "one": task("Completed", output={"verdict": "Approved"}, **done),
        "review": task("Completed", output={"verdict": "Rejected", "reason": "too old", "score": 1}, **done),
        "each": {"phase": "Completed", "items": {"total": 1, "started": 1, "outputs": [{"verdict": 7}]}},
        "later": task("Running", output={"verdict": "Approved"}),
    }
    for version in (1, 2):
        run = replace(change(execution("e", version=version, tasks=tasks)), tasks=by)
        await put(records, *map(change, (judge, agent("worker"))), run)
    rows = await ask(records, "SELECT * FROM decisions ORDER BY task, verdict, reason")
    assert [(row["task"], row["verdict"], row["reason"]) for row in rows] == [
        ("each", "Judged", ""),  # the forEach, which gives nothing itself
        ("each", "Judged", ""),
        ("review", "Rejected", "too old"),
    ]
    assert {str(row["agent_id"]) for row in rows} == {uid("Agent/judge")}
    assert {(str(row["execution_id"]), row["principal_id"], row["approval_id"]) for row in rows} == {
        (uid("Execution/e"), None, None)
    }
    assert rows[-1]["decided_at"].isoformat() == "2026-11-20T10:00:30+00:00"


@pytest.mark.parametrize(
    "evil",
    ["'; DROP TABLE tasks; --", '"); DELETE FROM executions; --', "$1", "a\\", "{}", "%s", "a\0b", "\u202e", "😀"],
)
async def test_no_text_becomes_a_statement(records: Records, evil: str) -> None:
    notes = {"ossa.dev/created-by": evil, "ossa.dev/request-id": evil}
    run = execution(
        "e",
        phase=evil,
        tasks={evil: task(evil, message=evil, output={evil: [evil]})},
        status={"message": evil, "outputs": {evil: evil}},
        metadata={"name": evil, "namespace": evil, "annotations": notes},
    )
    await put(records, change(run))
    kept = evil.replace("\0", "\ufffd")
    [row] = await ask(
        records,
        "SELECT e.name, e.namespace, e.message, e.results, e.request_id, p.name AS author, t.name AS task, t.output "
        "FROM executions e JOIN tasks t ON t.execution_id = e.id JOIN principals p ON p.id = e.created_by",
    )
    assert row == {
        "name": kept,
        "namespace": kept,
        "message": kept,
        "results": {kept: kept},
        "request_id": kept,
        "author": kept,
        "task": kept,
        "output": {kept: [kept]},
    }


async def test_one_that_cannot_be_written_writes_nothing_of_its_batch(records: Records) -> None:
    broken = execution("broken", status={"startedAt": "yesterday, I think"})
    with pytest.raises(asyncpg.DataError):
        await put(records, change(execution("e")), change(broken))
    assert await ask(records, "SELECT id FROM executions") == []


async def test_of_one_object_the_newest_of_a_batch_is_written(records: Records) -> None:
    states = [execution("e", version=version, status={"progress": f"{version}/9"}) for version in (3, 9, 5)]
    await put(records, *map(change, states))
    [row] = await ask(records, "SELECT progress, resource_version FROM executions")
    assert row == {"progress": "9/9", "resource_version": 9}


async def test_ten_thousand_items_are_written_once_and_then_only_what_changed(records: Records) -> None:
    def each(version: int, done: int) -> JSONObject:
        items = {"total": 10_000, "started": 10_000, "completed": done, "running": f"{done}-9999"}
        return execution("e", version=version, tasks={"each": {"phase": "Running", "items": items}})

    first, second = each(1, 5000), each(2, 5100)
    await put(records, change(first))
    await put(records, change(second, before=first))
    rows = await ask(records, "SELECT status, resource_version, count(*) FROM tasks WHERE index >= 0 GROUP BY 1, 2")
    counts = {(row["status"], row["resource_version"]): row["count"] for row in rows}
    assert counts == {("Completed", 1): 5000, ("Completed", 2): 100, ("Running", 1): 4900}


async def test_a_write_that_is_stale_as_a_whole_adds_no_attempts(records: Records) -> None:
    await put(records, change(execution("e", version=5, tasks={"one": task("Completed", 3)})))
    await put(records, change(execution("e", version=4, tasks={"one": task(attempt=2)})))
    assert [row["attempt"] for row in await ask(records, TASKS)] == [3]


async def test_a_duplicate_writes_no_row_anew(records: Records) -> None:
    first = change(execution("e"))
    await put(records, first)
    seen = await ask(records, "SELECT e.recorded_at, t.recorded_at AS task FROM executions e, tasks t")
    await put(records, first, replace(first))
    assert await ask(records, "SELECT e.recorded_at, t.recorded_at AS task FROM executions e, tasks t") == seen
