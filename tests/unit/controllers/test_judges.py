"""Policies in the reconciler: known before anything is decided, obeyed through crashes, counted and logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controllers.cache import ObjectCache
from controllers.governance.judges import Defaults, Judges
from controllers.metrics import Metrics
from controllers.platform import Platform
from ossa.api.policy import AgentPolicy
from ossa.engine.revision import Revision
from ossa.engine.rulings import NOBODY
from ossa.governance.policies import compile_policy
from ossa.governance.policyset import PolicySet
from ossa.kube import paths
from ossa.kube.client import ApiClient
from tests.unit.controllers.apiserver import failure
from tests.unit.controllers.lives import EXECUTIONS, PODS, SETTINGS, Cluster, reconciler
from tests.unit.engine.world import agent, execution, spec

POLICIES = paths.ossa("agentpolicies")
NO_LAST: dict[str, Any] = {"match": {"kinds": ["Task"]}, "rules": [{"expression": "task.name != 'last'"}]}
DEFAULTS: dict[str, Any] = {"match": {"kinds": ["Workflow"]}, "defaults": {"timeout": "1h"}}


def policy(name: str = "no-last", generation: int = 1, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": generation}
    return {"apiVersion": "ossa.dev/v1alpha1", "kind": "AgentPolicy", "metadata": metadata, "spec": fields or NO_LAST}


def policy_set(*items: dict[str, Any]) -> PolicySet:
    return PolicySet(tuple(compile_policy(AgentPolicy.model_validate(item)) for item in items))


class Known:
    """Policies that a test sets."""

    def __init__(self, *items: dict[str, Any]) -> None:
        self.held = policy_set(*items)
        self.namespaces = {"lab", "team"}

    def current(self) -> PolicySet:
        return self.held

    def namespace(self, name: str) -> dict[str, Any] | None:
        return {"metadata": {"name": name, "labels": {}, "annotations": {}}} if name in self.namespaces else None

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        return {"of": name}


async def until_failed(cluster: Cluster, dead: asyncio.Event | None = None) -> None:
    async with asyncio.timeout(10):
        while cluster.status().phase not in ("Failed", "Completed"):
            if dead is not None and dead.is_set():
                return
            await asyncio.sleep(0.005)


async def until_told(cluster: Cluster) -> None:
    """An Event follows the status that it is about."""
    for _ in range(2000):
        if denials(cluster):
            return
        await asyncio.sleep(0.005)


def denials(cluster: Cluster) -> int:
    """How many Events tell of a denial."""
    return [event["reason"] for event in cluster.of(paths.core("events", "lab"))].count("PolicyDenied")


@pytest.mark.parametrize("after", [False, True], ids=["before it is sent", "after it took effect"])
@pytest.mark.parametrize("at", range(0, 9))
async def test_a_denied_task_has_no_pod_whenever_the_reconciler_dies(at: int, after: bool) -> None:
    cluster, judges = Cluster(), Judges(Known(policy()), ObjectCache(), ObjectCache())
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        if at:
            async with reconciler(config, at=at, after=after, judges=judges) as mortal:
                await until_failed(cluster, mortal.dead)
        async with reconciler(config, judges=judges):
            await until_failed(cluster)
    status = cluster.status()
    assert cluster.runs == {"first": 1, "left": 1, "right": 1}
    assert {name: task.phase for name, task in status.tasks.items()} == {
        "first": "Completed",
        "left": "Completed",
        "right": "Completed",
        "last": "Failed",
    }
    assert status.error is not None
    assert (status.error.task, status.error.reason, status.error.policy) == ("last", "PolicyDenied", "no-last")
    for task in status.tasks.values():
        (key,) = task.judged_at_start or {}
        assert (status.policies or {})[key] == ["no-last@1"]


async def test_what_policies_say_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    cluster, metrics = Cluster(), Metrics()
    caplog.set_level(logging.INFO, "ossa.policy")
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        async with reconciler(config, metrics=metrics, judges=Judges(Known(policy()), ObjectCache(), ObjectCache())):
            await until_failed(cluster)
            await until_told(cluster)
    labels = {"policy": "no-last", "action": "Enforce", "at": "task"}
    counted = metrics.registry.get_sample_value
    assert counted("ossa_policy_verdicts_total", {**labels, "outcome": "pass"}) == 3
    assert counted("ossa_policy_verdicts_total", {**labels, "outcome": "fail"}) == 1
    metrics.policies_are(["another"])
    assert counted("ossa_policy_verdicts_total", {**labels, "outcome": "fail"}) is None
    (line,) = (record for record in caplog.records if record.name == "ossa.policy")
    told = {key: getattr(line, key) for key in ("policy", "policyVersion", "outcome", "at", "execution", "task")}
    assert told == {
        "policy": "no-last",
        "policyVersion": 1,
        "outcome": "fail",
        "at": "task",
        "execution": "run",
        "task": "last",
    }
    assert denials(cluster) == 1


async def test_nothing_starts_in_a_namespace_that_is_not_known_yet() -> None:
    """Its labels say which policies are about it."""
    selected = {"kinds": ["Execution"], "namespaceSelector": {"matchLabels": {"of": "lab"}}}
    cluster, known = Cluster(), Known(policy(match=selected, rules=[{"expression": "1 > 2"}]))
    known.namespaces = set()
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        async with reconciler(config, judges=Judges(known, ObjectCache(), ObjectCache())):
            await asyncio.sleep(0.3)  # it had the time to start it
            assert cluster.of(EXECUTIONS)[0].get("status") is None
            known.namespaces = {"lab"}
            await until_failed(cluster)
    error = cluster.status().error
    assert error is not None
    assert (error.reason, cluster.of(PODS)) == ("PolicyDenied", [])


def test_without_policies_about_executions_there_is_no_judge() -> None:
    known = Known(policy(match={"kinds": ["Agent"]}, rules=[{"expression": "true"}]))
    judges = Judges(known, ObjectCache(), ObjectCache())
    assert judges.of(execution()) is NOBODY
    known.held = policy_set(policy())
    assert judges.of(execution()) is not NOBODY


def workflow(**metadata: Any) -> tuple[dict[str, Any], Revision]:
    flow = spec({"name": "a"})
    item = {
        "apiVersion": "ossa.dev/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "flow", "namespace": "team", **metadata},
        "spec": flow.to_json(),
    }
    return item, Revision(workflow="flow", version="1", spec=flow, agents={"worker": agent()})


@pytest.mark.parametrize(
    ("more", "timeout"),
    [
        ({}, "1h"),
        ({"match": {"kinds": ["Workflow"], "namespaceSelector": {"matchLabels": {"of": "team"}}}}, "1h"),
        ({"match": {"kinds": ["Workflow"], "namespaceSelector": {"matchLabels": {"of": "other"}}}}, None),
        ({"match": {"kinds": ["Workflow"], "objectSelector": {"matchLabels": {"x": "y"}}}}, None),
        ({"matchConditions": [{"name": "one", "expression": "plan.tasks.size() == 1"}]}, "1h"),
        ({"matchConditions": [{"name": "two", "expression": "request.operation == 'CREATE'"}]}, None),
    ],
)
def test_defaults_are_those_of_matching_policies(more: dict[str, Any], timeout: str | None) -> None:
    item, revision = workflow()
    filled = Defaults(Known(policy("defaults", **{**DEFAULTS, **more}))).fill(item, revision)
    assert filled.spec.timeout == timeout


def test_workflows_are_looked_at_again_where_defaults_may_be_others() -> None:
    known = Known()
    defaults = Defaults(known)
    assert not defaults.changed()
    known.held = policy_set(policy())
    assert not defaults.changed()
    known.held = policy_set(policy("defaults", **DEFAULTS))
    assert defaults.changed()
    assert not defaults.changed()
    known.held = policy_set(policy("defaults", 2, **DEFAULTS))
    assert defaults.changed()
    known.held = policy_set()
    assert defaults.changed()


class SlowPolicies(Cluster):
    """Does not tell of policies until it may."""

    def __init__(self) -> None:
        super().__init__()
        self.tells = asyncio.Event()
        self.asked = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == POLICIES and not self.tells.is_set():
            self.asked.set()
            return failure(503, "ServiceUnavailable")
        return await super()._answer(request)


async def test_nothing_starts_before_all_policies_are_known(tmp_path: Path) -> None:
    cluster = SlowPolicies()
    cluster.create(POLICIES, policy(match={"kinds": ["Execution"]}, rules=[{"expression": "1 > 2"}]))
    cluster.create(paths.core("namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "lab"}})
    token = tmp_path / "token"
    token.write_text("t")
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        settings = replace(SETTINGS, artifacts_token=token, agents_path=tmp_path)
        running = asyncio.create_task(Platform(config, settings, epoch=1, metrics=Metrics()).run())
        try:
            await asyncio.wait_for(cluster.asked.wait(), 10)
            await asyncio.sleep(0.3)  # it had the time to start it
            assert (cluster.of(PODS), cluster.of(EXECUTIONS)[0].get("status")) == ([], None)
            cluster.tells.set()
            await until_failed(cluster)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    error = cluster.status().error
    assert error is not None
    assert (error.reason, error.policy, cluster.of(PODS)) == ("PolicyDenied", "no-last", [])
