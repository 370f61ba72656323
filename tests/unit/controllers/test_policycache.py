"""The cache of policies, against an API server of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from controllers.policycache import PolicyCache
from ossa.governance.question import Question
from ossa.kube.client import ApiClient
from tests.unit.controllers.apiserver import ApiServer

OSSA = "/apis/ossa.dev/v1alpha1"
POLICIES, NAMESPACES = f"{OSSA}/agentpolicies", "/api/v1/namespaces"
EXCEPTIONS = f"{OSSA}/namespaces/team/agentpolicyexceptions"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARAMS = f"{NAMESPACES}/ossa-system/configmaps"


def policy(name: str, expression: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ossa.dev/v1alpha1",
        "kind": "AgentPolicy",
        "metadata": {"name": name},
        "spec": {"match": {"kinds": ["Agent"]}, "rules": [{"expression": expression}], **spec},
    }


def exception(**spec: Any) -> dict[str, Any]:
    target = {"kind": "Agent", "name": "an-agent", "specHash": "sha256:" + "0" * 64}
    held = {"policy": "a", "target": target, "owner": "o", "reason": "r", "expiresAt": "2026-02-01T00:00:00Z", **spec}
    return {"apiVersion": "ossa.dev/v1alpha1", "kind": "AgentPolicyException", "metadata": ON_TEAM, "spec": held}


ON_TEAM = {"name": "e", "namespace": "team"}


def question(**more: Any) -> Question:
    bindings = {"object": {"spec": {"owner": "x"}}, "oldObject": None}
    return Question("Agent", "CREATE", "team", "an-agent", bindings=bindings, **more)


class Told:
    """Counts what the cache tells, and lets a test wait for it."""

    def __init__(self) -> None:
        self.times = 0
        self._news = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self._news.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def cached(server: ApiServer) -> AsyncIterator[tuple[PolicyCache, Told]]:
    async with server.served() as config, ApiClient(config) as api:
        cache, told = PolicyCache(api, ["ossa-system"]), Told()
        cache.on_change(told)
        running = asyncio.create_task(cache.run())
        await asyncio.wait_for(cache.synced(), 10)
        try:
            yield cache, told
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def server() -> ApiServer:
    return ApiServer()


async def test_what_is_there_and_what_changes(server: ApiServer) -> None:
    server.create(POLICIES, policy("a", "object.spec.owner == 'x'"))
    async with cached(server) as (cache, told):
        first = cache.current()
        assert [held.name for held in first.policies] == ["a"]
        assert cache.current() is first
        server.create(POLICIES, policy("b", "object.spec.owner == 'y'"))
        await told.until(lambda: len(cache.current().policies) == 2)
        assert [held.policy for held in cache.current().judge(question(), NOW).denials] == ["b"]
        assert len(first.policies) == 1  # the old set stays what it was
        # The same generation is not compiled again, and a status is no news.
        compiled, before = cache.current().of("Agent")[0], told.times
        server.put(POLICIES, {**server.objects[f"{POLICIES}/a"], "status": {"observedGeneration": 1}})
        server.remove(f"{POLICIES}/b")
        await told.until(lambda: len(cache.current().policies) == 1)
        assert cache.current().of("Agent")[0] is compiled
        assert told.times == before + 1


@pytest.mark.parametrize(("failure_policy", "refused"), [("Fail", ["a"]), ("Ignore", [])])
async def test_a_policy_that_does_not_compile_does_not_vanish(
    server: ApiServer, failure_policy: str, refused: list[str]
) -> None:
    """It came past the webhook: whatever it is about is an error, which follows its failurePolicy."""
    server.create(POLICIES, policy("a", "object.spec.owner == 'x'", failurePolicy=failure_policy))
    async with cached(server) as (cache, told):
        assert cache.current().judge(question(), NOW).denials == ()
        broken = policy("a", "object.spec.owner ==", failurePolicy=failure_policy)
        metadata = {**server.objects[f"{POLICIES}/a"]["metadata"], "generation": 2}
        server.put(POLICIES, {**broken, "metadata": metadata})
        await told.until(lambda: bool(cache.problems()))
        (problem,) = cache.problems()["a"]
        assert problem.startswith("spec.rules[0].expression: `object.spec.owner ==`")
        verdict = cache.current().judge(question(), NOW)
        assert [held.policy for held in verdict.denials] == refused
        assert verdict.judged[0].outcome == "error"
        assert "it cannot be judged by: spec.rules[0].expression" in verdict.judged[0].message
        # What it is not about is not touched, and a correction heals it.
        workflow = Question("Workflow", "CREATE", "team", "w")
        assert cache.current().judge(workflow, NOW).judged == ()
        server.put(POLICIES, {**policy("a", "true == true"), "metadata": {**metadata, "generation": 3}})
        await told.until(lambda: not cache.problems())
        assert cache.current().judge(question(), NOW).judged[0].outcome == "pass"


async def test_params(server: ApiServer) -> None:
    wanted = {"namespace": "ossa-system", "name": "owners"}
    server.create(POLICIES, policy("a", "object.spec.owner == params.owner", params=wanted))
    elsewhere = {"namespace": "secret-place", "name": "owners"}
    server.create(POLICIES, policy("b", "params.owner == 'x'", params=elsewhere))
    async with cached(server) as (cache, told):
        said = {held.policy: held.message for held in cache.current().judge(question(), NOW).judged}
        assert "there is no ConfigMap 'owners' in the namespace 'ossa-system'" in said["a"]
        assert "the operator reads no ConfigMaps in 'secret-place'; put it into one of ossa-system" in said["b"]
        assert cache.problems().keys() == {"b"}
        config: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "owners", "namespace": "ossa-system"},
        }
        server.create(PARAMS, {**config, "data": {"owner": "x"}})
        await told.until(lambda: bool(cache.current().params))
        verdict = cache.current().judge(question(), NOW)
        assert [held.outcome for held in verdict.judged] == ["pass", "error"]
        # A ConfigMap that no policy names is none of its business.
        held, before = cache.current(), told.times
        server.create(PARAMS, {**config, "metadata": {**wanted, "name": "other"}, "data": {"a": "b"}})
        server.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        await told.until(lambda: cache.namespace("team") is not None)
        assert cache.current() is held
        assert told.times == before + 1


async def test_namespaces_and_exceptions(server: ApiServer) -> None:
    labels = {"tier": "prod"}
    annotations = {"a": "b", "ossa.dev/parallelism": "3"}
    made = {"name": "team", "labels": labels, "annotations": annotations}
    server.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": made, "status": {"phase": "x"}})
    server.create(EXCEPTIONS, exception())
    async with cached(server) as (cache, told):
        assert cache.namespace_labels("team") == labels
        assert cache.namespace_labels("nowhere") == {}
        assert cache.namespace("team") == {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "team", "labels": labels, "annotations": annotations},
        }
        (held,) = cache.current().exceptions
        assert held.spec.policy == "a"
        server.put(EXCEPTIONS, {**server.objects[f"{EXCEPTIONS}/e"], "status": {"uid": "u"}})
        await told.until(lambda: cache.current().exceptions[0].status.uid == "u")
        server.remove(f"{EXCEPTIONS}/e")
        await told.until(lambda: not cache.current().exceptions)


async def test_what_is_not_understood_is_left_out_and_told(server: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    server.create(POLICIES, {**policy("a", "true == true"), "spec": {"match": {"kinds": ["Pod"]}}})
    server.create(EXCEPTIONS, exception(surprise=True))
    async with cached(server) as (cache, _):
        assert (cache.current().policies, cache.current().exceptions) == ((), ())
    assert [record.message for record in caplog.records] == ["object not understood"] * 2
