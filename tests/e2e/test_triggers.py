"""Workflows that start by themselves, every minute: at the right times, never twice, never beside each other."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ossa.api.contract import ANNOTATION_CREATED_BY, ANNOTATION_SPEC_CHANGED_BY
from ossa.api.execution import Execution
from ossa.engine.clock import from_text, to_text
from ossa.kube import paths
from tests.e2e.harness import Namespace, task, workflow
from tests.e2e.harness.executioner import Executioner
from tests.e2e.harness.gate import WAIT, open_gate
from tests.e2e.harness.objects import JSONObject, execution

MINUTE = timedelta(minutes=1)
LEAD = 1.5  # seconds before a scheduled time at which the reconciler is killed
EARLY = 40  # the second up to which a minute has room for what is to be done in it
PATIENCE = 90.0


def minutely(**fields: object) -> JSONObject:
    return {"name": "minutely", "cron": "* * * * *", **fields}


async def made(namespace: Namespace, of: str) -> dict[str, Execution]:
    """The Executions of a workflow by the times for which they were made; checked as far as each tells of itself."""
    listed = await namespace.cluster.api.get(
        paths.ossa("executions", namespace.name), {"labelSelector": f"ossa.dev/workflow={of},ossa.dev/trigger=minutely"}
    )
    found = {}
    for item in listed["items"]:
        assert "ownerReferences" not in item["metadata"]  # a Workflow that is deleted leaves it alone
        held = Execution.model_validate(item)
        time = held.metadata.annotations["ossa.dev/scheduled-at"]
        assert held.metadata.name == f"{of}.minutely-{int(from_text(time).timestamp()) // 60}"
        assert timedelta(0) <= from_text(held.metadata.creation_timestamp) - from_text(time)
        assert time not in found
        found[time] = held
    return found


async def until_made(namespace: Namespace, of: str, count: int) -> dict[str, Execution]:
    """Once there are `count` of them."""

    async def look() -> dict[str, Execution] | None:
        found = await made(namespace, of)
        return found if len(found) >= count else None

    return await namespace.wait(look, f"{count} Executions of {of}", patience=PATIENCE)


async def standing(namespace: Namespace, of: str) -> JSONObject:
    """What the status says of the trigger."""
    status: JSONObject = (await namespace.get("workflows", of))["status"]["triggers"]["minutely"]
    return status


async def sleep_until(moment: datetime) -> None:
    await asyncio.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


async def until_early_in_a_minute() -> None:
    now = datetime.now(UTC)
    if now.second > EARLY:
        await sleep_until(now.replace(second=0, microsecond=0) + MINUTE)


@pytest.mark.usefixtures("alone")
async def test_every_minute_through_the_death_of_the_reconciler(namespace: Namespace) -> None:
    """One workflow is quick, two are slow: one forbids overlaps and waits, the other replaces what runs."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "integer", "default": 2}}}
    quick = [task("work", "quick", give={"n": "${{ inputs.n + inputs.m }}"})]
    slow = [task("gate", "slow")]
    executioner = Executioner(namespace)
    await executioner.prepare()
    aim = await executioner.aim()
    await until_early_in_a_minute()  # all three are to be published in the same one
    await namespace.apply(
        namespace.shell_agent("quick", "true"),
        namespace.shell_agent("slow", WAIT),
        workflow("quick", quick, inputs=schema, triggers=[minutely(inputs={"n": 1}, successfulHistoryLimit=9)]),
        workflow("slow", slow, triggers=[minutely(concurrencyPolicy="Forbid")]),
        workflow("replaced", slow, triggers=[minutely(concurrencyPolicy="Replace", failedHistoryLimit=9)]),
    )
    (first,) = await until_made(namespace, "quick", 1)
    assert list(await until_made(namespace, "slow", 1)) == [first]
    author = (await namespace.get("workflows", "quick"))["metadata"]["annotations"][ANNOTATION_SPEC_CHANGED_BY]
    (run,) = (await made(namespace, "quick")).values()
    assert run.metadata.annotations[ANNOTATION_CREATED_BY] == author  # not the operator
    await namespace.settles(
        "workflows",
        "quick",
        lambda status: status["triggers"]["minutely"].get("lastScheduleTime") == first,
        "to have recorded its first run",
    )
    assert (await standing(namespace, "quick"))["nextScheduleTime"] == to_text(from_text(first) + MINUTE)

    second = from_text(first) + MINUTE
    await sleep_until(second - timedelta(seconds=LEAD))
    await executioner.kill(aim)
    quick_runs = await until_made(namespace, "quick", 2)
    assert list(quick_runs) == [first, to_text(second)]
    for run in quick_runs.values():
        ended = await namespace.completes(run.metadata.name)
        assert ended.status.inputs == {"n": 1, "m": 2}

    async def waits() -> bool:
        return "waits for the end of" in ((await standing(namespace, "slow")).get("message") or "")

    await namespace.wait(waits, "the slow one to wait", patience=PATIENCE)
    replaced = await until_made(namespace, "replaced", 2)
    await namespace.fails(replaced[first].metadata.name, reason="Cancelled")
    (held,) = (await made(namespace, "slow")).values()
    await open_gate(namespace, (await namespace.execution(held.metadata.name)).status.tasks["gate"].pod or "")
    slow_runs = await until_made(namespace, "slow", 2)
    old = await namespace.completes(held.metadata.name)
    (new,) = (run for run in slow_runs.values() if run.metadata.name != held.metadata.name)
    assert from_text(new.metadata.creation_timestamp) >= from_text(old.status.completed_at or "")
    # Each minute that has passed has its run, and one.
    times = sorted(await made(namespace, "quick"))
    assert times == [to_text(from_text(first) + number * MINUTE) for number in range(len(times))]


async def test_what_marks_a_triggered_execution_is_the_operators(namespace: Namespace) -> None:
    item = execution("mine", "flow")
    forged = {**item, "metadata": {**item["metadata"], "labels": {"ossa.dev/trigger": "nightly"}}}
    assert "written by the OSSA operator alone" in (await namespace.kubectl_apply(forged)).refused()
    forged["metadata"] = {**item["metadata"], "annotations": {"ossa.dev/scheduled-at": "2026-01-01T00:00:00Z"}}
    assert "written by the OSSA operator alone" in (await namespace.kubectl_apply(forged)).refused()
    (await namespace.kubectl_apply(item)).ok()
    said = (await namespace.kubectl("label", "execution", "mine", "ossa.dev/trigger=nightly")).refused()
    assert "ossa.dev/trigger" in said


async def test_a_draft_says_that_nothing_is_started(namespace: Namespace) -> None:
    await namespace.apply(workflow("flow", [task("a", "nobody")], triggers=[minutely(), {**minutely(), "name": "b"}]))
    status = await namespace.settles("workflows", "flow", lambda status: "triggers" in status, "to be looked at")
    assert status["triggers"].keys() == {"minutely", "b"}
    assert "nothing is started while the Workflow is a Draft" in status["triggers"]["b"]["message"]
    assert "nextScheduleTime" not in status["triggers"]["b"]
