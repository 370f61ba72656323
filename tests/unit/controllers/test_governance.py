"""What the reconciler does about policies, against an API server of the test's own."""

from __future__ import annotations

import asyncio

import pytest

from ossa.kube import paths
from tests.unit.controllers.governing import (
    AGENTS,
    BINDINGS,
    EVENTS,
    EXCEPTIONS,
    EXECUTIONS,
    NATIVES,
    OWNED,
    POLICIES,
    WORKFLOWS,
    Cluster,
    agent_spec,
    governed,
    server,
)
from tests.unit.waiting import until

__all__ = ["server"]


async def test_what_was_there_before_the_policy_is_reported(server: Cluster) -> None:
    server.agent("good", owner="me")
    server.agent("bad")
    async with governed(server):
        server.policy("owned", OWNED)
        await until(lambda: server.results("owned") == {"bad": "fail", "good": "pass"})
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 1)
        status = server.status(POLICIES, "owned")
        assert (status["ready"], status["native"], status["observedGeneration"]) == ("True", "True", 1)
        assert {held["type"]: held["status"] for held in status["conditions"]} == {
            "Ready": "True",
            "Native": "True",
            "Scanned": "True",
        }
        told = [event for path in EVENTS for event in server.of(path)]
        assert {event["involvedObject"]["kind"] for event in told} == {"Agent", "AgentPolicy"}
        assert all(event["reason"] == "PolicyViolation" for event in told)
        assert any("name an owner" in event["message"] for event in told)


async def test_edits_change_the_report(server: Cluster) -> None:
    server.agent("bad")
    server.policy("owned", OWNED)
    async with governed(server) as made:
        await until(lambda: server.results("owned") == {"bad": "fail"})
        server.agent("bad", owner="me")
        await until(lambda: server.results("owned") == {"bad": "pass"})
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 0)
        server.policy("owned", {"expression": "object.spec.owner == 'you'"})
        await until(lambda: server.results("owned") == {"bad": "fail"})
        await until(lambda: server.status(POLICIES, "owned").get("observedGeneration") == 2)
        assert dict(made.reports._scanner.findings.counts()) == {("owned", "Agent"): 1}
        server.remove(f"{AGENTS}/bad")
        await until(lambda: server.report("owned") is None)
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 0)


async def test_a_policy_that_is_gone_leaves_nothing(server: Cluster) -> None:
    server.agent("bad")
    server.policy("owned", OWNED)
    async with governed(server):
        await until(lambda: server.results("owned") == {"bad": "fail"} and server.of(BINDINGS))
        server.remove(f"{POLICIES}/owned")
        await until(lambda: server.report("owned") is None)
        await until(lambda: not server.of(NATIVES) and not server.of(BINDINGS))


async def test_what_is_left_of_another_life_goes(server: Cluster) -> None:
    server.agent("bad")
    server.policy("owned", OWNED)
    server.policy("passing", {"expression": "true"})
    async with governed(server):
        await until(lambda: server.results("owned") and server.results("passing") and len(server.of(BINDINGS)) == 2)
    server.remove(f"{POLICIES}/owned")
    async with governed(server):
        await until(lambda: server.report("owned") is None)
        await until(lambda: [held["metadata"]["name"] for held in server.of(BINDINGS)] == ["ossa-policy-passing"])
        assert server.results("passing") == {"bad": "pass"}


async def test_a_policy_that_is_not_common_is_not_native(server: Cluster) -> None:
    server.policy("owned", OWNED)
    async with governed(server):
        await until(lambda: server.of(NATIVES) and server.status(POLICIES, "owned").get("native") == "True")
        server.policy("owned", OWNED, exceptions={"maxDuration": "1h"})
        await until(lambda: server.status(POLICIES, "owned").get("native") == "False")
        assert not server.of(NATIVES)
        assert not server.of(BINDINGS)
        (why,) = (held for held in server.status(POLICIES, "owned")["conditions"] if held["type"] == "Native")
        assert (why["reason"], why["observedGeneration"]) == ("NotCommon", 2)
        assert "spec.exceptions" in why["message"]


async def test_the_agent_that_answers_for_a_policy_is_looked_for(server: Cluster) -> None:
    def governed_by() -> tuple[str, str] | None:
        conditions = server.status(POLICIES, "owned").get("conditions") or []
        return next(((held["status"], held["reason"]) for held in conditions if held["type"] == "Governed"), None)

    server.agent("other")
    server.policy("owned", OWNED, governor={"namespace": "team", "name": "gov"})
    async with governed(server):
        await until(lambda: governed_by() == ("False", "NoAgent"))
        assert server.status(POLICIES, "owned")["ready"] == "True"
        server.agent("gov")
        await until(lambda: governed_by() == ("False", "NoGovernor"))
        server.agent("gov", type="governor")
        await until(lambda: governed_by() == ("True", "Governed"))
        server.remove(f"{AGENTS}/gov")
        await until(lambda: governed_by() == ("False", "NoAgent"))
        server.policy("owned", OWNED)
        await until(lambda: governed_by() is None and server.status(POLICIES, "owned")["observedGeneration"] == 2)


async def test_native_policies_can_be_off(server: Cluster) -> None:
    server.policy("owned", OWNED)
    server.policy("lenient", OWNED, failurePolicy="Ignore")
    async with governed(server, native_policies="Never"):
        await until(lambda: server.status(POLICIES, "owned").get("native") == "False")
        assert not server.of(NATIVES)
    async with governed(server, native_policies="Ignore"):
        await until(lambda: server.status(POLICIES, "lenient").get("native") == "True")
        assert [held["metadata"]["name"] for held in server.of(NATIVES)] == ["ossa-policy-lenient"]
        assert server.status(POLICIES, "owned")["native"] == "False"


async def test_a_policy_that_cannot_be_judged_by(server: Cluster) -> None:
    server.agent("a")
    server.policy("broken", {"expression": "object.spec.owner =="})
    server.policy("lacking", {"expression": "params.a == 'b'"}, params={"namespace": "ossa-system", "name": "none"})
    async with governed(server):
        await until(lambda: server.status(POLICIES, "broken").get("ready") == "False")
        assert "spec.rules[0].expression" in server.status(POLICIES, "broken")["message"]
        await until(lambda: server.status(POLICIES, "lacking").get("ready") == "False")
        assert "there is no ConfigMap 'none'" in server.status(POLICIES, "lacking")["message"]
        await until(lambda: server.results("lacking") == {"a": "error"})
        held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "none", "namespace": "ossa-system"}}
        server.create(paths.core("configmaps", "ossa-system"), {**held, "data": {"a": "b"}})
        await until(lambda: server.status(POLICIES, "lacking").get("ready") == "True")
        await until(lambda: server.results("lacking") == {"a": "pass"})
        assert "message" not in server.status(POLICIES, "lacking")


async def test_an_exception_holds_until_it_ends(server: Cluster) -> None:
    agent = server.agent("bad")
    server.policy("owned", OWNED, exceptions={"maxDuration": "1h", "secondPerson": False})
    async with governed(server):
        await until(lambda: server.results("owned") == {"bad": "fail"})
        server.exception("spared", "owned", agent, ends_in=4)
        await until(lambda: server.results("owned") == {"bad": "skip"})
        (result,) = (server.report("owned") or {})["results"]
        assert result["properties"]["exception"] == "team/spared"
        status = server.status(EXCEPTIONS, "spared")
        assert (status["state"], status["uid"]) == ("Active", agent["metadata"]["uid"])
        await until(lambda: server.status(EXCEPTIONS, "spared").get("state") == "Expired")
        await until(lambda: server.results("owned") == {"bad": "fail"})


async def test_an_exception_is_bound_to_the_first_object(server: Cluster) -> None:
    server.policy("owned", OWNED, exceptions={"maxDuration": "1h", "secondPerson": False})
    server.exception("spared", "owned", {"spec": agent_spec()})
    async with governed(server):
        await until(lambda: server.status(EXCEPTIONS, "spared").get("state") == "Active")
        assert "uid" not in server.status(EXCEPTIONS, "spared")
        first = server.agent("bad")
        await until(lambda: server.status(EXCEPTIONS, "spared").get("uid") == first["metadata"]["uid"])
        await until(lambda: server.results("owned") == {"bad": "skip"})
        server.remove(f"{AGENTS}/bad")
        server.agent("bad")
        await until(lambda: server.status(EXCEPTIONS, "spared").get("state") == "Refused")
        await until(lambda: server.results("owned") == {"bad": "fail"})


async def test_workflows_and_their_executions_are_judged_with_their_agents(server: Cluster) -> None:
    server.agent("worker", risk="limited")
    server.ours(WORKFLOWS, "Workflow", "flow", {"tasks": [{"name": "t", "agent": "worker"}], "version": "1"})
    server.ours(EXECUTIONS, "Execution", "run", {"workflow": "flow"})
    ended = server.ours(EXECUTIONS, "Execution", "ended", {"workflow": "flow"})
    server.put(EXECUTIONS, {**ended, "status": {"phase": "Completed"}})
    rule = {"expression": "plan.tasks.all(t, t.agent.risk != 'high')"}
    async with governed(server):
        server.policy("risk", rule, match={"kinds": ["Workflow", "Execution"]})
        await until(lambda: server.results("risk") == {"flow": "pass", "run": "pass"})
        server.agent("worker", risk="high")
        await until(lambda: server.results("risk") == {"flow": "fail", "run": "fail"})
        run = server.objects[f"{EXECUTIONS}/run"]
        server.put(EXECUTIONS, {**run, "status": {"phase": "Completed"}})
        await until(lambda: server.results("risk") == {"flow": "fail"})
        await until(lambda: server.status(POLICIES, "risk").get("violations") == 1)


async def test_labels_of_a_namespace_are_followed(server: Cluster) -> None:
    server.agent("bad")
    match = {"kinds": ["Agent"], "namespaceSelector": {"matchLabels": {"tier": "gold"}}}
    server.policy("owned", OWNED, match=match)
    async with governed(server):
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 0)
        held = server.objects[f"{paths.core('namespaces')}/team"]
        labelled = {**held, "metadata": {**held["metadata"], "labels": {"tier": "gold"}}}
        server.put(paths.core("namespaces"), labelled)
        await until(lambda: server.results("owned") == {"bad": "fail"})


async def test_what_somebody_else_changed_is_put_right(server: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controllers.governance.natives.LOOK_SECONDS", 0.2)
    server.policy("owned", OWNED)
    async with governed(server):
        await until(lambda: server.of(BINDINGS) and server.status(POLICIES, "owned").get("native") == "True")
        held = server.objects[f"{NATIVES}/ossa-policy-owned"]
        metadata = {**held["metadata"], "generation": held["metadata"]["generation"] + 1}
        server.put(NATIVES, {**held, "metadata": metadata, "spec": {"validations": []}})
        server.remove(f"{BINDINGS}/ossa-policy-owned")
        await until(lambda: server.objects[f"{NATIVES}/ossa-policy-owned"]["spec"].get("validations"))
        await until(lambda: server.of(BINDINGS))


async def test_nothing_is_written_twice(server: Cluster) -> None:
    for number in range(30):
        server.agent(f"bad-{number}")
    server.policy("owned", OWNED)
    async with governed(server) as made:
        await until(lambda: len(server.results("owned")) == 30)
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 30)
        # The first ten have an event of their own, the policy tells of all.
        assert len(server.of(EVENTS[0])) == 10
        (event,) = server.of(EVENTS[1])
        assert "and 20 more" in event["message"]
        await asyncio.sleep(1.5)
        before = {path: item["metadata"]["resourceVersion"] for path, item in server.objects.items()}
        made.reports._scanner._agenda.again(made.reports._scanner._present.all())
        made.reports._scanner._wake.set()
        await asyncio.sleep(2.5)
        assert {path: item["metadata"]["resourceVersion"] for path, item in server.objects.items()} == before
