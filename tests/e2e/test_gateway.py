"""The way of a request through the whole installation, also while PostgreSQL or Redis is killed under load."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.e2e.harness import Namespace, execution, task, workflow
from tests.e2e.harness.gateway import User, until_finished
from tests.e2e.harness.load import OUTAGE_REQUESTS, Load
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.services import Records, archived_lines, kill

ACCEPTED = 202
GREETING = """printf '{"greeting": "hello"}' > $OSSA_OUTPUT"""
# The archive is written in objects of many entries: a quiet trail waits a while for more of them. What did not get to
# Redis in time is looked for after some minutes.
ARCHIVED_SECONDS = 240.0
TTL = 5  # seconds


async def test_a_request_is_answered_followed_recorded_and_archived(
    namespace: Namespace, user: User, records: Records
) -> None:
    tasks = [task("greet", "greeter"), task("again", "greeter", after=["greet"])]
    flow = workflow("flow", tasks, outputs={"text": "${{ tasks.again.output.greeting }}"})
    await namespace.apply(namespace.shell_agent("greeter", GREETING), flow)
    async with user.events(namespace.name) as frames:
        answer = await user.orchestrate({"namespace": namespace.name, "workflow": "flow"})
        assert answer.status_code == ACCEPTED, answer.text
        accepted = answer.json()
        seen = await asyncio.wait_for(until_finished(frames, accepted["execution"]), 180)

    told = {(event["task"], event["phase"]) for event in seen if event["type"] == "task"}
    assert {(name, "Completed") for name in ("greet", "again")} <= told
    assert seen[-1]["phase"] == "Completed"
    held = await namespace.get("executions", accepted["execution"])
    assert held["metadata"]["annotations"]["ossa.dev/created-by"] == f"ossa:{user.name}"
    assert held["status"]["outputs"] == {"text": "hello"}

    await recorded_as_it_ended(namespace, records, held)
    await archived(namespace, records, user)


async def recorded_as_it_ended(namespace: Namespace, records: Records, held: JSONObject) -> None:
    """The rows of the Execution and its tasks say what its status says."""
    uid = held["metadata"]["uid"]

    async def row() -> JSONObject | None:
        found = await records.rows("SELECT status, finished, results, request_id FROM executions WHERE id = $1", uid)
        return dict(found[0]) if found and found[0]["finished"] else None

    execution = await namespace.wait(row, "the row of the Execution")
    assert execution["status"] == "Completed"
    assert json.loads(execution["results"]) == {"text": "hello"}
    tasks = await records.rows("SELECT name, status, output FROM tasks WHERE execution_id = $1 ORDER BY name", uid)
    assert [(item["name"], item["status"], json.loads(item["output"])) for item in tasks] == [
        (name, "Completed", {"greeting": "hello"}) for name in ("again", "greet")
    ]
    query = "SELECT state, execution_uid FROM requests WHERE id = $1::uuid"
    requests = await records.rows(query, execution["request_id"])
    assert [(item["state"], item["execution_uid"]) for item in requests] == [("done", uid)]


async def archived(namespace: Namespace, records: Records, user: User) -> None:
    """What the user asked for is in the audit trail, and its link, word by word, in the archive."""

    async def entry() -> asyncpg.Record | None:
        query = """SELECT writer, epoch, body FROM audit WHERE "user" = $1 AND resource = 'executions'
            AND namespace = $2 AND outcome = 'allowed'"""
        found = await records.rows(query, f"ossa:{user.name}", namespace.name)
        return found[0] if found else None

    held = await namespace.wait(entry, "the entry of the audit trail")

    async def in_archive() -> bool:
        return held["body"] in await archived_lines(held["writer"], held["epoch"])

    await namespace.wait(in_archive, "the entry itself in the archive", patience=ARCHIVED_SECONDS)


async def test_another_user_sees_nothing_of_it(namespace: Namespace, user: User) -> None:
    await namespace.apply(workflow("flow", [task("none", "nobody", when="${{ false }}")]))
    answer = await user.orchestrate({"namespace": "kube-system", "workflow": "flow"})
    assert answer.status_code == httpx.codes.FORBIDDEN
    assert "kube-system" in answer.json()["detail"]


async def test_what_has_ended_stays_while_its_row_is_open(namespace: Namespace, records: Records) -> None:
    """The end of its time is not enough: who takes up an open request would make it a second time."""
    request = uuid4()
    await records.rows(
        "INSERT INTO requests (id, user_name, identity, namespace, name, spec, traceparent, due_at) "
        "VALUES ($1, 'ossa:e2e', '{}', $2, 'run', '{}', '', now() + interval '1 day')",
        request,
        namespace.name,
    )
    item = execution("run", "flow")
    item["metadata"]["annotations"] = {"ossa.dev/request-id": str(request)}
    item["spec"]["ttlSecondsAfterFinished"] = TTL
    await namespace.publish_podless()
    await namespace.apply(item)
    uid = (await namespace.completes("run")).metadata.uid

    async def row() -> bool:
        return bool(await records.rows("SELECT FROM executions WHERE id = $1 AND finished", uid))

    await namespace.wait(row, "the row of the Execution")
    await asyncio.sleep(TTL + 5)  # and so long as the reconciler takes to ask again, twice
    assert (await namespace.get("executions", "run"))["metadata"]["uid"] == uid
    await records.rows("UPDATE requests SET state = 'done', closed_at = now() WHERE id = $1", request)

    async def deleted() -> bool:
        return not await namespace.execution_names()

    await namespace.wait(deleted, "the Execution to be deleted")


# --- outages -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("pod", ["ossa-postgresql-0", "ossa-redis-0"])
async def test_nothing_accepted_is_lost_or_done_twice(
    namespace: Namespace, user: User, records: Records, pod: str
) -> None:
    await namespace.publish_podless()
    load = Load(user, namespace.name)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(OUTAGE_REQUESTS))
        await asyncio.sleep(2)
        await kill(pod)

    assert len(load.accepted) == OUTAGE_REQUESTS
    if pod == "ossa-redis-0":
        assert load.refused == []  # the answer needs PostgreSQL alone
    for name in load.accepted:
        await namespace.completes(name)
    assert await namespace.execution_names() == load.accepted

    async def all_recorded() -> bool:
        query = "SELECT count(*) AS n FROM executions WHERE namespace = $1 AND status = 'Completed' AND finished"
        return bool((await records.rows(query, namespace.name))[0]["n"] == OUTAGE_REQUESTS)

    await namespace.wait(all_recorded, "all rows")

    async def all_told() -> bool:
        query = "SELECT count(DISTINCT execution_id) AS n FROM task_events WHERE namespace = $1"
        return bool((await records.rows(query, namespace.name))[0]["n"] == OUTAGE_REQUESTS)

    await namespace.wait(all_told, "each transition, which came over the bus")
