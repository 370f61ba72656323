"""Triggers against an API server: what is made, and a reconciler that dies before or after any of its writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controllers.cache import Key, ObjectCache
from controllers.collector import RevisionCollector
from controllers.resync import Followed, learn
from controllers.revisions import Revisions
from controllers.triggers import LOOK_AGAIN, Triggers, build_execution, run_of
from controllers.workflows import WorkflowController
from ossa.api.contract import API_VERSION
from ossa.api.workflow import WorkflowStatus
from ossa.engine.clock import to_text
from ossa.engine.triggers import NewRun
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Refused
from ossa.kube.config import KubeConfig
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import SETTINGS, Died, MortalClient

AGENTS, WORKFLOWS = paths.ossa("agents", "lab"), paths.ossa("workflows", "lab")
EXECUTIONS = paths.ossa("executions", "lab")
KEY = Key("lab", "flow")
BEGIN = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def name_at(moment: datetime) -> str:
    return f"flow.tick-{int(moment.timestamp()) // 60}"


class Cluster(ApiServer):
    """With a clock, and a memory of every Execution that was ever made."""

    def __init__(self, **trigger: Any) -> None:
        super().__init__()
        self.now = BEGIN
        self.made: Counter[str] = Counter()
        self.created = self._count
        spec = {"capabilities": [{"name": "do"}], "runtime": {"handler": "do:run"}}
        status = {"observedGeneration": 1, "ready": "True"}
        kind = {"apiVersion": API_VERSION, "metadata": {"namespace": "lab", "name": "worker"}}
        self.create(AGENTS, {**kind, "kind": "Agent", "spec": spec, "status": status})
        tick = {"name": "tick", "cron": "* * * * *", **trigger}
        spec = {"tasks": [{"name": "a", "agent": "worker"}], "triggers": [tick]}
        meta = {"namespace": "lab", "name": "flow", "annotations": {"ossa.dev/spec-changed-by": "ada"}}
        self.create(WORKFLOWS, {"apiVersion": API_VERSION, "kind": "Workflow", "metadata": meta, "spec": spec})

    def _count(self, collection: str, item: dict[str, Any]) -> None:
        if collection == EXECUTIONS:
            self.made[item["metadata"]["name"]] += 1

    def end(self, *names: str) -> None:
        """Executions end well; all where none is named."""
        for item in self.of(EXECUTIONS):
            if not names or item["metadata"]["name"] in names:
                done = {"phase": "Completed", "conditions": [{"type": "Finished", "status": "True"}]}
                self.put(EXECUTIONS, {**item, "status": done})

    def there(self) -> set[str]:
        return {item["metadata"]["name"] for item in self.of(EXECUTIONS)}

    def tick(self) -> dict[str, Any]:
        """What the status says of the trigger."""
        status = WorkflowStatus.model_validate(self.objects[f"{WORKFLOWS}/flow"]["status"])
        return (status.triggers or {})["tick"].to_json()

    def edit(self, **fields: Any) -> None:
        """Changes the trigger."""
        item = self.objects[f"{WORKFLOWS}/flow"]
        (tick,) = item["spec"]["triggers"]
        self.put(WORKFLOWS, {**item, "spec": {**item["spec"], "triggers": [{**tick, **fields}]}})


def into(cache: ObjectCache) -> Callable[[str | None, dict[str, Any]], None]:
    """For a kind that nobody reconciles here."""

    def seen(kind: str | None, item: dict[str, Any]) -> None:
        cache.take(kind, item)

    return seen


class Reconciler:
    """One life: what it knows is what it listed and wrote."""

    def __init__(self, cluster: Cluster, api: ApiClient) -> None:
        self.api = api
        self.queued: list[Key] = []
        self.triggers = Triggers(api, made=self.made, changed=self.queued.append, now=lambda: cluster.now)
        self.executions = ObjectCache(self.triggers.execution_changed)
        agents, workflows, revisions = ObjectCache(), ObjectCache(), Revisions(api)
        self.workflows = WorkflowController(
            api,
            SETTINGS,
            cache=workflows,
            agents=agents,
            revisions=revisions,
            collector=RevisionCollector(api, workflows=workflows, executions=self.executions, revisions=revisions),
            triggers=self.triggers,
            changed=lambda _: None,
        )
        self.followed = (
            Followed("agents", agents, into(agents)),
            Followed("workflows", workflows, self.workflows.seen),
            Followed("executions", self.executions, into(self.executions)),
        )

    def made(self, item: dict[str, Any]) -> None:
        self.executions.put(item)

    async def look(self) -> None:
        """Sees what is there, and takes a turn of the workflow."""
        await learn(self.api, self.followed)
        await self.workflows.reconcile(KEY)


@asynccontextmanager
async def reconciler(cluster: Cluster, config: KubeConfig) -> AsyncIterator[Reconciler]:
    async with ApiClient(config) as api:
        yield Reconciler(cluster, api)


@asynccontextmanager
async def running(**trigger: Any) -> AsyncIterator[tuple[Cluster, Reconciler]]:
    """A cluster and a reconciler that has seen the workflow half a minute after 12:00."""
    cluster = Cluster(**trigger)
    async with cluster.served() as config, reconciler(cluster, config) as one:
        await one.look()
        yield cluster, one


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


# --- the API server says no, or nothing ---


class FlakyClient(ApiClient):
    """Answers the creation of Executions with `error`, after it took effect or before."""

    error: ApiError | None = None
    effect = False

    async def _call(self, method: str, path: str, **more: Any) -> bytes:
        if self.error is None or (method, path) != ("POST", EXECUTIONS):
            return await super()._call(method, path, **more)
        if self.effect:
            await super()._call(method, path, **more)
        raise self.error


async def test_a_refusal_is_told_and_does_not_hold_up_the_status() -> None:
    cluster = Cluster()
    async with cluster.served() as config, FlakyClient(config) as api:
        one = Reconciler(cluster, api)
        await one.look()
        api.error = Refused(403, "Forbidden", "exceeded quota")
        cluster.now += MINUTE
        await one.look()
        assert cluster.tick()["message"] == "the run of 2026-01-01T12:01:00Z could not be made: exceeded quota"
        assert "lastScheduleTime" not in cluster.tick()
        assert [e["reason"] for e in cluster.of(paths.core("events", "lab")) if e["type"] == "Warning"] == [
            "TriggerRefused"
        ]
        api.error = None
        await one.look()
        assert cluster.there() == {name_at(BEGIN + MINUTE)}
        assert "message" not in cluster.tick()


@pytest.mark.parametrize("effect", [False, True])
async def test_without_an_answer_forbid_overlaps_nothing(effect: bool) -> None:
    """What was made, and nobody has seen, is looked for before the next one is."""
    cluster = Cluster(concurrencyPolicy="Forbid")
    async with cluster.served() as config, FlakyClient(config) as api:
        one = Reconciler(cluster, api)
        await one.look()
        api.error, api.effect = ApiError(0, "NoAnswer", "timeout"), effect
        cluster.now += MINUTE
        with pytest.raises(ApiError):
            await one.look()
        assert "could not be made: timeout" in cluster.tick()["message"]
        api.error = None
        cluster.now += MINUTE
        # Its watch is behind: it has not seen the Execution that may be there.
        await one.workflows.reconcile(KEY)
        assert cluster.there() == {name_at(BEGIN + (1 if effect else 2) * MINUTE)}


# --- death ---

MINUTES = 3


async def one_life_after_another(cluster: Cluster, *, at: int | None, after: bool) -> int:
    """Some minutes, in which a reconciler dies at its write `at`; the number of writes of the one that lives on."""
    async with cluster.served() as config, MortalClient(config, at=at, after=after) as api:
        one = Reconciler(cluster, api)
        for minute in range(MINUTES + 1):
            cluster.now = BEGIN + minute * MINUTE
            for _ in range(2):  # the second time with what has ended meanwhile
                try:
                    await one.look()
                except Died:
                    await the_next_life(cluster, config, minute)
                    return api.writes
                cluster.end()
        return api.writes


async def the_next_life(cluster: Cluster, config: KubeConfig, minute: int) -> None:
    async with reconciler(cluster, config) as one:
        for later in range(minute, MINUTES + 1):
            cluster.now = BEGIN + later * MINUTE + timedelta(seconds=10)
            for _ in range(3):
                await one.look()
                cluster.end()


EXPECTED = Counter(name_at(BEGIN + minute * MINUTE) for minute in range(1, MINUTES + 1))
POLICIES = ["Allow", "Forbid", "Replace"]


@pytest.mark.parametrize("policy", POLICIES)
async def test_whenever_it_dies_nothing_is_made_twice_and_nothing_is_lost(policy: str) -> None:
    fields: dict[str, Any] = {"concurrencyPolicy": policy, "successfulHistoryLimit": 0}
    alive = Cluster(**fields)
    writes = await one_life_after_another(alive, at=None, after=False)
    assert alive.made == EXPECTED
    assert writes > 10
    for at in range(1, writes + 1):
        for after in (False, True):
            cluster = Cluster(**fields)
            await one_life_after_another(cluster, at=at, after=after)
            story = f"death {'after' if after else 'before'} write {at}"
            # Seen and not recorded: before that the workflow was not published, and its times do not count.
            assert cluster.made == EXPECTED, story
            assert cluster.there() == set(), story  # the history of none is kept
            assert cluster.tick()["lastScheduleTime"] == to_text(BEGIN + MINUTES * MINUTE)[:-3] + "00Z", story
