"""Policies at the process ossa-admission: what it refuses, warns of and records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controllers.admission.handlers import REVIEWS
from ossa.api import crds
from tests.unit.controllers.admissionserver import Cluster, Process, admission_review, make_certificate, running
from tests.unit.controllers.reviews import GOOD, body

OSSA = "/apis/ossa.dev/v1alpha1"
POLICIES, NAMESPACES = f"{OSSA}/agentpolicies", "/api/v1/namespaces"
EVENTS = f"{NAMESPACES}/default/events"
ALL = ["Agent", "Workflow", "Execution"]
NOT_BAD = {"expression": "!has(object.metadata.labels) || !('bad' in object.metadata.labels)", "message": "it is bad"}


def policy(name: str, *rules: dict[str, str], **spec: Any) -> dict[str, Any]:
    held = {"match": {"kinds": ALL}, "rules": list(rules) or [NOT_BAD], **spec}
    return {"apiVersion": "ossa.dev/v1alpha1", "kind": "AgentPolicy", "metadata": {"name": name}, "spec": held}


@asynccontextmanager
async def governed(tmp_path: Path, *policies: dict[str, Any]) -> AsyncIterator[tuple[Cluster, Process]]:
    cluster = Cluster()
    cluster.kinds = [kind.plural for kind in crds.KINDS]
    for item in policies:
        cluster.create(POLICIES, item)
    labels = {"tier": "prod"}
    cluster.create(
        NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team", "labels": labels}}
    )
    certificate = make_certificate(tmp_path, "admission")
    async with cluster.served() as config, running(config, certificate, tmp_path) as process:
        await process.wait_until_listening()
        yield cluster, process


async def answer(process: Process, path: str, review: dict[str, Any]) -> dict[str, Any]:
    _, found = await process.post(f"/{path}", review)
    response: dict[str, Any] = found["response"]
    return response


def labelled(kind: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "ossa.dev/v1alpha1", "kind": "x", **body(GOOD[kind], labels=labels)}


def creates(kind: str, item: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return admission_review(kind, GOOD[kind], object=item or labelled(kind, bad="yes"), **more)


def updates(kind: str, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    return admission_review(kind, {}, operation="UPDATE", object=new, oldObject=old)


def place(cluster: Cluster, kind: str, name: str, spec: dict[str, Any]) -> None:
    """An object that is there."""
    made = {"apiVersion": "ossa.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "team"}}
    cluster.create(f"{OSSA}/namespaces/team/{kind}", {**made, "spec": spec})


async def until(process: Process, path: str, review: dict[str, Any], *, allowed: bool) -> None:
    """A change of policies has come to the process."""
    for _ in range(200):
        if (await answer(process, path, review))["allowed"] is allowed:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"it is not {'allowed' if allowed else 'refused'} within 10 s")


@pytest.mark.parametrize("failure_policy", ["Fail", "Ignore"])
async def test_every_path_is_judged(tmp_path: Path, failure_policy: str) -> None:
    held = policy("p", failurePolicy=failure_policy)
    async with governed(tmp_path, held) as (cluster, process):
        for kind in REVIEWS:
            refused = await answer(process, kind, creates(kind))
            assert refused["allowed"] is False
            assert refused["status"] == {"code": 403, "message": "policy 'p': it is bad"}
            assert (await answer(process, kind, creates(kind, labelled(kind))))["allowed"] is True
            # With generateName, and no name yet.
            unnamed = labelled(kind, bad="yes")
            unnamed["metadata"] = {"generateName": "a-", "namespace": "team", "labels": {"bad": "yes"}}
            assert (await answer(process, kind, creates(kind, unnamed)))["allowed"] is False
        # A policy that is gone refuses nothing, and a new one at once.
        cluster.remove(f"{POLICIES}/p")
        await until(process, "agents", creates("agents"), allowed=True)
        cluster.create(POLICIES, held)
        await until(process, "agents", creates("agents"), allowed=False)


async def test_updates(tmp_path: Path) -> None:
    strict = policy("owner", {"expression": "object.spec.owner == 'somebody'"})
    async with governed(tmp_path, policy("labels"), strict) as (_, process):
        held, good = labelled("workflows", bad="yes"), labelled("workflows")

        async def refused_by(old: dict[str, Any], new: dict[str, Any], kind: str = "workflows") -> list[str]:
            said = (await answer(process, kind, updates(kind, old, new))).get("status", {}).get("message", "")
            return [name for name in ("labels", "owner") if f"policy '{name}'" in said]

        def changed(item: dict[str, Any], **metadata: Any) -> dict[str, Any]:
            return {**item, "metadata": {**item["metadata"], **metadata}}

        # Labels alone: only a policy that sees them is asked. What it did not see before may still be labelled.
        assert await refused_by(good, held) == ["labels"]
        assert await refused_by(good, labelled("workflows", team="a")) == []
        assert await refused_by(good, changed(good, annotations={"a": "b"})) == []
        # Finalizers, owners, managedFields and deletion: nothing is asked.
        assert await refused_by(changed(held, finalizers=["a/b"]), held) == []
        assert await refused_by(held, changed(held, ownerReferences=[])) == []
        assert await refused_by(good, changed(held, deletionTimestamp="2026-01-01T00:00:00Z")) == []
        # The spec: all are.
        edited = {**held, "spec": {**held["spec"], "description": "other"}}
        assert await refused_by(held, edited) == ["labels", "owner"]
        # An Execution may always be stopped, and not otherwise changed.
        run = labelled("executions", bad="yes")

        def steered(**spec: Any) -> dict[str, Any]:
            return {**run, "spec": {**run["spec"], **spec}}

        assert await refused_by(run, steered(cancel=True), "executions") == []
        assert await refused_by(run, steered(suspend=True), "executions") == []
        assert await refused_by(run, steered(priority=3), "executions") == ["labels", "owner"]
        assert await refused_by(steered(suspend=True), steered(suspend=False), "executions") == ["labels", "owner"]


async def test_warn_audit_and_what_has_no_value(tmp_path: Path) -> None:
    broken = {"expression": "object.spec.nothing.there"}
    policies = (
        policy("a-warns", action="Warn"),
        policy("b-audits", action="Audit"),
        policy("c-error", broken, failurePolicy="Ignore", match={"kinds": ["Agent"]}),
        policy("d-plan", {"expression": "plan.tasks.all(t, t.agent.risk != 'high')"}, match={"kinds": ["Workflow"]}),
    )
    async with governed(tmp_path, *policies) as (cluster, process):
        said = await answer(process, "agents", creates("agents"))
        assert said["allowed"] is True
        warned, passed = said["warnings"]
        assert warned == "policy 'a-warns': it is bad"
        assert passed.startswith("policy 'c-error': the rule 'rules[0]': `object.spec.nothing.there`: ")
        assert passed.endswith("(let pass, by its failurePolicy)")
        # An agent that is not there yet is no reason to refuse: the binding verdict falls at the start.
        said = await answer(process, "workflows", creates("workflows", labelled("workflows")))
        assert said["allowed"] is True
        assert "it is judged again at the start" in said["warnings"][0]
        for name in ("a", "b"):
            agent = {
                "kind": "Agent",
                "apiVersion": "ossa.dev/v1alpha1",
                "metadata": {"name": name, "namespace": "team"},
            }
            cluster.create(f"{OSSA}/namespaces/team/agents", {**agent, "spec": {**GOOD["agents"], "risk": "high"}})
        await until(process, "workflows", creates("workflows", labelled("workflows")), allowed=False)
        metrics = await process.metrics()
        assert 'ossa_admission_requests_total{allowed="true",kind="Agent",operation="CREATE"} 1.0' in metrics
        assert 'ossa_admission_duration_seconds_count{kind="Agent"} 1.0' in metrics
        for labels in (
            'action="Warn",at="admission",outcome="fail",policy="a-warns"',
            'action="Audit",at="admission",outcome="fail",policy="b-audits"',
            'action="Enforce",at="admission",outcome="error",policy="c-error"',
        ):
            assert f"ossa_policy_verdicts_total{{{labels}}} 1.0" in metrics
        # The series of a policy end with it.
        cluster.remove(f"{POLICIES}/b-audits")
        await until_gone(process, "b-audits")


async def until_gone(process: Process, name: str) -> None:
    for _ in range(200):
        if name not in await process.metrics():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"metrics still tell of {name}")


async def test_an_execution_is_judged_by_the_plan_of_its_workflow(tmp_path: Path) -> None:
    rule = {"expression": "plan.tasks.size() < 2", "message": "at most one task"}
    held = policy("small", rule, match={"kinds": ["Execution"]})
    async with governed(tmp_path, held) as (cluster, process):
        said = await answer(process, "executions", creates("executions"))
        assert (said["allowed"], len(said["warnings"])) == (True, 1)
        workflow = {"kind": "Workflow", "apiVersion": "ossa.dev/v1alpha1", "spec": GOOD["workflows"]}
        cluster.create(
            f"{OSSA}/namespaces/team/workflows", {**workflow, "metadata": {"name": "w", "namespace": "team"}}
        )
        await until(process, "executions", creates("executions"), allowed=False)


async def test_a_namespace_that_is_new_is_asked_about(tmp_path: Path) -> None:
    """A selector of its labels does not miss it, though no watch has told of it."""
    held = policy("prod", match={"kinds": ["Agent"], "namespaceSelector": {"matchLabels": {"tier": "prod"}}})
    async with governed(tmp_path, held) as (cluster, process):
        refused = await answer(process, "agents", creates("agents"))
        assert refused["status"]["message"] == "policy 'prod': it is bad"
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new", "labels": {"tier": "prod"}}}
        cluster.objects[f"{NAMESPACES}/new"] = made  # without an event
        item = labelled("agents", bad="yes")
        item["metadata"]["namespace"] = "new"
        refused = await answer(process, "agents", creates("agents", item))
        assert refused["status"]["message"] == "policy 'prod': it is bad"
        # Where nobody knows, Fail refuses, and says that it is not the object's fault.
        item["metadata"]["namespace"] = "nowhere"
        refused = await answer(process, "agents", creates("agents", item))
        assert (refused["allowed"], refused["status"]["code"]) == (False, 503)
        assert "try again" in refused["status"]["message"]


async def test_who_was_refused_what_is_logged_and_an_event_but_for_a_dry_run(tmp_path: Path) -> None:
    loud = {"expression": "object.metadata.name == ''", "messageExpression": "'not ' + object.metadata.annotations.a"}
    async with governed(tmp_path, policy("loud", loud)) as (cluster, process):
        item = labelled("agents")
        item["metadata"]["annotations"] = {"a": "\x1b[31m\r\n{}% ${{ x }} <b>\u202e"}
        mallory = {"username": "mallory\x1b[0m", "groups": []}
        dry = await answer(process, "agents", creates("agents", item, userInfo=mallory, dryRun=True))
        real = await answer(process, "agents", creates("agents", item, userInfo=mallory))
        shown = "policy 'loud': not \\x1b[31m\\r\\n{}% ${{ x }} <b>\\u202e"
        assert dry["status"]["message"] == real["status"]["message"] == shown
        for _ in range(200):
            if found := cluster.of(EVENTS):
                break
            await asyncio.sleep(0.02)
        (event,) = found
        assert event["involvedObject"]["kind"] == "AgentPolicy"
        assert (event["involvedObject"]["name"], event["reason"], event["type"]) == (
            "loud",
            "PolicyViolation",
            "Warning",
        )
        assert event["message"].startswith("refused: CREATE of Agent team/x by 'mallory")
        assert event["message"].endswith(shown)
        assert event["message"].isprintable()
        text = (tmp_path / "log").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        told = [line for line in lines if line["message"] == "refused by policy"]
        assert [line["dryRun"] for line in told] == [True, False]
        assert told[1]["policy"] == "loud@1"
        assert (told[1]["user"], told[1]["object"], told[1]["operation"]) == (mallory["username"], "x", "CREATE")
        assert "\x1b" not in text


async def test_break_glass(tmp_path: Path) -> None:
    async with governed(tmp_path, policy("p"), policy("q", action="Warn")) as (cluster, process):
        hero = {"username": "hero", "groups": ["emergency", "system:authenticated"]}
        said = await answer(process, "agents", creates("agents", userInfo=hero))
        assert said["allowed"] is True
        assert said["warnings"] == [
            "break-glass: it would be refused by policy 'p': it is bad",
            "policy 'q': it is bad",
        ]
        for _ in range(200):
            if found := cluster.of(EVENTS):
                break
            await asyncio.sleep(0.02)
        assert [(event["reason"], event["involvedObject"]["name"]) for event in found] == [("BreakGlass", "p")]
        assert "policy overridden by break-glass" in (tmp_path / "log").read_text()
        # The operator alone says of an Execution, a child, that it is one of these.
        child = labelled("executions", bad="yes")
        child["metadata"]["annotations"] = {"ossa.dev/break-glass": "hero"}
        for user, allowed in (("operator", True), ("robot", False), ("someone", False)):
            review = creates("executions", child, userInfo={"username": user})
            assert (await answer(process, "executions", review))["allowed"] is allowed
        # What an object itself proves wrong is wrong in an emergency too.
        bad = creates("agents", {**labelled("agents"), "spec": {"capabilities": []}}, userInfo=hero)
        assert (await answer(process, "agents", bad))["status"]["code"] == 422


async def test_large_objects_are_judged(tmp_path: Path) -> None:
    async with governed(tmp_path, policy("p", failurePolicy="Ignore")) as (_, process):
        item = labelled("workflows", bad="yes")
        item["metadata"]["managedFields"] = [{"f": "x" * 1_500_000}]
        old = {**item, "spec": {**item["spec"], "description": "old"}}
        refused = await answer(process, "workflows", updates("workflows", old, item))
        assert refused["status"]["message"] == "policy 'p': it is bad"


async def test_what_is_nested_too_deep_is_refused(tmp_path: Path) -> None:
    """By the webhook that refuses where it fails: nobody gets past a policy so."""
    async with governed(tmp_path, policy("p", {"expression": "object.spec.workflow == 'w'"})) as (_, process):
        for depth in (100, 900):
            deep: dict[str, Any] = {}
            for _ in range(depth):
                deep = {"a": deep}
            item = {**labelled("executions"), "spec": {"workflow": "w", "inputs": deep}}
            refused = await answer(process, "executions", creates("executions", item))
            assert refused["allowed"] is False
            assert refused["status"]["code"] in (403, 422)


async def test_governing(tmp_path: Path) -> None:
    async with governed(tmp_path) as (cluster, process):
        cluster.rights = {("gov", "govern", "x")}
        good, gov = GOOD["agentpolicies"], {"username": "gov", "groups": ["a"]}
        review = admission_review("agentpolicies", good, userInfo=gov)
        assert (await answer(process, "agentpolicies", review))["allowed"] is True
        refused = await answer(process, "agentpolicies", admission_review("agentpolicies", good))
        assert refused["status"]["code"] == 403
        assert refused["status"]["message"].startswith("you lack the verb 'govern' on agentpolicies.ossa.dev 'x'")
        # Params that the operator may not read.
        params = {**good, "params": {"namespace": "secret", "name": "x"}}
        refused = await answer(process, "agentpolicies", admission_review("agentpolicies", params, userInfo=gov))
        assert refused["status"]["message"].startswith("spec.params.namespace: the operator reads no ConfigMaps in")
        # Metadata, and deletion, need no right.
        old = body(good)
        for new in (body(good, labels={"a": "b"}), body({**good, "action": "Audit"}, deletionTimestamp="2026-01-01")):
            review = updates("agentpolicies", {"apiVersion": "x", "kind": "x", **old}, {"kind": "x", **new})
            assert (await answer(process, "agentpolicies", review))["allowed"] is True


def excepted(**confirmations: Any) -> dict[str, Any]:
    names = {"ossa.dev/spec-changed-by": "alice", "ossa.dev/created-by": "alice"}
    held = body(GOOD["agentpolicyexceptions"], annotations=names, creationTimestamp="2026-01-01T00:00:00Z")
    return {"apiVersion": "ossa.dev/v1alpha1", "kind": "x", **held, "confirmations": confirmations}


async def test_exceptions(tmp_path: Path) -> None:
    path = "agentpolicyexceptions"
    strict = {"maxDuration": "24h"}
    async with governed(tmp_path, policy("a-policy"), policy("lenient", exceptions=strict)) as (cluster, process):
        alice = {"username": "alice"}
        cluster.rights = {("alice", "except", "a-policy"), ("alice", "except", "lenient"), ("alice", "except", "gone")}

        async def said(item: dict[str, Any], user: dict[str, Any] = alice) -> str:
            found = await answer(process, path, creates(path, item, userInfo=user))
            return str(found.get("status", {}).get("message", ""))

        def of(policy: str, **spec: str) -> dict[str, Any]:
            item = excepted()
            return {**item, "spec": {**item["spec"], "policy": policy, **spec}}

        assert "policy 'a-policy' honours no exceptions" in await said(of("a-policy"))
        assert "policy 'lenient' allows 24h" in await said(of("lenient"))
        assert await said(of("gone")) == ""  # it may come later, and is asked again then
        assert "you lack the verb 'except'" in await said(of("lenient"), {"username": "bob"})
        soon = "2026-01-01T12:00:00Z"
        assert "is over; name a time to come" in await said(of("lenient", expiresAt=soon))
        # Who confirms has the right as well.
        review = updates(path, excepted(), excepted(bob={"reason": "fine"}))
        review["request"]["userInfo"] = {"username": "bob"}
        assert (await answer(process, path, review))["status"]["code"] == 403
        cluster.rights |= {("bob", "except", "a-policy")}
        assert (await answer(process, path, review))["allowed"] is True


@pytest.mark.parametrize("failure_policy", ["Fail", "Ignore"])
async def test_a_policy_that_does_not_compile_follows_its_failure_policy(tmp_path: Path, failure_policy: str) -> None:
    held = policy("broken", {"expression": "object."}, failurePolicy=failure_policy)
    async with governed(tmp_path, held) as (_, process):
        said = await answer(process, "agents", creates("agents"))
        assert said["allowed"] is (failure_policy == "Ignore")
        words = said["status"]["message"] if failure_policy == "Fail" else said["warnings"][0]
        assert words.startswith("policy 'broken': it cannot be judged by: spec.rules[0].expression: `object.`")


NO_RISK = {"expression": "plan.tasks.all(t, t.agent.risk != 'high')", "message": "take another agent"}
RISKY = {"capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}, "risk": "high"}


async def test_a_policy_about_workflows_holds_for_those_that_executions_hold_themselves(tmp_path: Path) -> None:
    plans, labels = {"kinds": ["Workflow"]}, {"expression": "object.kind == 'Workflow' && !object.spec.published"}
    policies = (policy("no-risk", NO_RISK, match=plans), policy("kind", labels, match=plans, action="Warn"))
    async with governed(tmp_path, *policies) as (cluster, process):
        place(cluster, "agents", "risky", RISKY)

        def creating(agent: str) -> dict[str, Any]:
            spec = {"workflowSpec": {"tasks": [{"name": "a", "agent": agent}]}}
            return creates("executions", {"apiVersion": "ossa.dev/v1alpha1", "kind": "Execution", **body(spec)})

        await until(process, "executions", creating("risky"), allowed=False)
        refused = await answer(process, "executions", creating("risky"))
        assert refused["status"] == {"code": 403, "message": "policy 'no-risk': take another agent"}
        assert len(refused["warnings"]) == 1
        assert refused["warnings"][0].startswith("policy 'kind': ")
        # As of a Workflow: what hangs on an agent that is not there yet is judged at the start.
        later = await answer(process, "executions", creating("nobody"))
        assert later["allowed"] is True
        assert any("it is judged again at the start" in text for text in later["warnings"])
        # It may be stopped, and relabelled.
        old, new = (creating("risky")["request"]["object"] for _ in range(2))
        new["spec"] = {**new["spec"], "cancel": True}
        assert (await answer(process, "executions", updates("executions", old, new)))["allowed"] is True
        relabelled = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
        assert (await answer(process, "executions", updates("executions", old, relabelled)))["allowed"] is True
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        told = next(line for line in lines if line["message"] == "refused by policy")
        assert (told["namespace"], told["execution"], told["uid"], len(told["traceId"])) == ("team", "x", "u", 32)
