"""Triggers against an API server: what is made."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

from controllers.triggers import LOOK_AGAIN, build_execution, run_of
from ossa.api.contract import API_VERSION
from ossa.engine.clock import to_text
from ossa.engine.triggers import NewRun
from ossa.kube import paths
from tests.unit.controllers.triggered import (
    AGENTS,
    BEGIN,
    EXECUTIONS,
    KEY,
    MINUTE,
    WORKFLOWS,
    name_at,
    running,
)

# --- what is made ---


async def test_an_execution_is_made_when_its_time_has_come() -> None:
    async with running(inputs={"n": 1}) as (cluster, one):
        assert cluster.made == Counter()
        assert cluster.tick()["nextScheduleTime"] == "2026-01-01T12:01:00Z"
        cluster.now += MINUTE
        await one.look()
        scheduled = BEGIN.replace(second=0) + MINUTE
        item = cluster.objects[f"{EXECUTIONS}/{name_at(scheduled)}"]
        assert item["metadata"]["labels"] == {"ossa.dev/trigger": "tick", "ossa.dev/workflow": "flow"}
        assert item["metadata"]["annotations"] == {
            "ossa.dev/scheduled-at": "2026-01-01T12:01:00Z",
            "ossa.dev/author": "ada",
        }
        assert item["spec"] == {"workflow": "flow", "inputs": {"n": 1}}
        assert "ownerReferences" not in item["metadata"]
        assert cluster.tick() == {
            "schedule": "* * * * * Etc/UTC",
            "since": to_text(BEGIN),
            "lastScheduleTime": "2026-01-01T12:01:00Z",
            "nextScheduleTime": "2026-01-01T12:02:00Z",
            "active": 1,
        }
        (event,) = (e for e in cluster.of(paths.core("events", "lab")) if e["reason"] == "Triggered")
        assert event["message"] == f"started {name_at(scheduled)} for 2026-01-01T12:01:00Z"
        await one.look()
        assert cluster.made == {name_at(scheduled): 1}


async def test_nothing_is_written_where_nothing_happens() -> None:
    async with running() as (cluster, one):
        version = cluster.objects[f"{WORKFLOWS}/flow"]["metadata"]["resourceVersion"]
        cluster.now += timedelta(seconds=20)
        await one.look()
        assert cluster.objects[f"{WORKFLOWS}/flow"]["metadata"]["resourceVersion"] == version


async def test_it_is_woken_for_the_next_time_and_never_sleeps_long() -> None:
    async with running() as (cluster, one):
        turn = await one.triggers.turn(cluster.objects[f"{WORKFLOWS}/flow"], "Published")
        assert turn.look_again == 30
        cluster.edit(cron="@yearly")
        turn = await one.triggers.turn(cluster.objects[f"{WORKFLOWS}/flow"], "Published")
        assert turn.look_again == LOOK_AGAIN
        cluster.edit(suspend=True)
        turn = await one.triggers.turn(cluster.objects[f"{WORKFLOWS}/flow"], "Published")
        assert turn.look_again is None


async def test_an_end_queues_the_workflow_and_its_history_goes() -> None:
    async with running(successfulHistoryLimit=1) as (cluster, one):
        for _ in range(3):
            cluster.now += MINUTE
            await one.look()
            assert one.queued == []
            cluster.end()
            await one.look()
            assert one.queued == [KEY]
            one.queued.clear()
        assert cluster.there() == {name_at(BEGIN + 3 * MINUTE)}
        assert cluster.tick()["active"] == 0
        assert set(cluster.made.values()) == {1}


async def test_replace_cancels_the_old_one() -> None:
    async with running(concurrencyPolicy="Replace") as (cluster, one):
        for _ in range(2):
            cluster.now += MINUTE
            await one.look()
        old, new = (cluster.objects[f"{EXECUTIONS}/{name_at(BEGIN + n * MINUTE)}"] for n in (1, 2))
        assert old["spec"]["cancel"] is True
        assert "cancel" not in new["spec"]


async def test_a_draft_starts_nothing_and_says_so() -> None:
    async with running() as (cluster, one):
        agent = cluster.remove(f"{AGENTS}/worker")
        assert agent is not None
        cluster.now += MINUTE
        await one.look()
        assert cluster.made == Counter()
        assert "while the Workflow is a Draft" in cluster.tick()["message"]
        cluster.put(AGENTS, agent)
        await one.look()
        assert cluster.there() == {name_at(BEGIN + MINUTE)}


async def test_a_spec_that_makes_no_sense_keeps_what_is_known() -> None:
    async with running() as (cluster, one):
        cluster.now += MINUTE
        await one.look()
        before = cluster.tick()
        cluster.edit(cron="soon")
        cluster.now += MINUTE
        await one.look()
        assert cluster.tick() == before
        assert "spec.triggers[0].cron" in cluster.objects[f"{WORKFLOWS}/flow"]["status"]["message"]
        assert len(cluster.made) == 1


async def test_without_triggers_the_status_tells_of_none() -> None:
    async with running() as (cluster, one):
        item = cluster.objects[f"{WORKFLOWS}/flow"]
        cluster.put(WORKFLOWS, {**item, "spec": {"tasks": item["spec"]["tasks"]}})
        await one.look()
        assert "triggers" not in cluster.objects[f"{WORKFLOWS}/flow"]["status"]


async def test_an_edit_of_a_trigger_makes_no_revision() -> None:
    async with running() as (cluster, one):
        before = cluster.objects[f"{WORKFLOWS}/flow"]["status"]["revision"]
        cluster.edit(cron="@daily")
        await one.look()
        assert cluster.objects[f"{WORKFLOWS}/flow"]["status"]["revision"] == before
        assert len(cluster.of(paths.apps("controllerrevisions", "lab"))) == 1


# --- what others made ---


async def test_a_name_that_is_taken_is_told() -> None:
    async with running() as (cluster, one):
        taken = {"metadata": {"namespace": "lab", "name": name_at(BEGIN + MINUTE)}, "spec": {"workflow": "other"}}
        cluster.create(EXECUTIONS, {"apiVersion": API_VERSION, "kind": "Execution", **taken})
        cluster.now += MINUTE
        await one.look()
        assert cluster.tick()["message"].endswith(f"is called {name_at(BEGIN + MINUTE)}; delete it")
        assert "lastScheduleTime" not in cluster.tick()


def test_it_is_theirs_who_wrote_the_workflow() -> None:
    new = NewRun(name_at(BEGIN), "tick", BEGIN.replace(second=0), {})
    for names, author, authors in [
        ({"ossa.dev/created-by": "ada", "ossa.dev/spec-changed-by": "ada"}, "ada", None),
        ({"ossa.dev/created-by": "ada", "ossa.dev/spec-changed-by": "bob"}, "bob", '["bob", "ada"]'),
        ({"ossa.dev/created-by": "ada"}, None, '["", "ada"]'),
        ({}, None, None),
    ]:
        workflow = {"metadata": {"namespace": "lab", "name": "flow", "annotations": names}}
        held = build_execution(workflow, new)["metadata"]["annotations"]
        assert (held.get("ossa.dev/author"), held.get("ossa.dev/authors")) == (author, authors)


def test_an_execution_that_only_looks_like_one_of_ours_is_none() -> None:
    workflow = {"metadata": {"namespace": "lab", "name": "flow"}}
    new = NewRun(name_at(BEGIN), "tick", BEGIN.replace(second=0), {})
    item = build_execution(workflow, new)
    item["metadata"]["uid"] = "u"
    found = run_of(item)
    assert found is not None
    assert (found.name, found.scheduled_at, found.finished) == (new.name, new.scheduled_at, False)
    changes: list[dict[str, Any]] = [
        {"name": "mine"},
        {"labels": {"ossa.dev/trigger": "tock"}},
        {"labels": {}},
        {"annotations": {"ossa.dev/scheduled-at": "soon"}},
        {"annotations": {}},
    ]
    for change in changes:
        assert run_of({**item, "metadata": {**item["metadata"], **change}}) is None
