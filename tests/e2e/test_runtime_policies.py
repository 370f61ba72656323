"""Policies while Executions run, on real pods: what is refused, by which version, and that no pod runs for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.api.contract import API_VERSION
from ossa.api.execution import Execution, TaskStatus
from ossa.engine.clock import to_text
from ossa.governance.question import spec_hash
from ossa.kube import paths
from tests.e2e.harness import Namespace, task, workflow
from tests.e2e.harness.gate import WAIT, open_gate
from tests.e2e.harness.objects import JSONObject, execution, says
from tests.e2e.harness.onepolicy import policy
from tests.e2e.harness.people import BOARD, Person
from tests.e2e.harness.recorder import recorded
from tests.e2e.harness.rights import grant

APPROVED = "plan.tasks.all(t, t.agent == null || t.agent.risk != 'high' || t.approvedBefore)"
NOT_BY_THE_AUTHOR = (
    "agent == null || agent.risk != 'high' || history.exists(h, h.approvedBy.exists(user, user != execution.author))"
)
NO_SELF_REVIEW = "!(agent.type in ['judge', 'critic']) || !history.exists(h, h.flowsHere && h.agent == agent.name)"
CLEARED = (
    "history.filter(h, h.flowsHere && h.classification in ['confidential', 'restricted'])"
    ".all(h, agent != null && agent.data.clearance in ['confidential', 'restricted'])"
)


def agent(namespace: Namespace, name: str, script: str = "true", **spec: Any) -> JSONObject:
    """An Agent that runs a script; `spec` are further fields of its spec."""
    made = namespace.shell_agent(name, script)
    made["spec"] |= spec
    return made


def approval(name: str, **fields: Any) -> JSONObject:
    return {"name": name, "approval": {"message": "May it?", "approverGroups": [BOARD], **fields}}


def judged(held: Execution, name: str, *, end: bool = False) -> list[str]:
    """Versions of the policies that judged the one attempt of a task."""
    status: TaskStatus = held.status.tasks[name]
    (key,) = (status.judged_at_end if end else status.judged_at_start) or {}
    return (held.status.policies or {})[key]


async def denied(namespace: Namespace, by: str, *, name: str = "run", at: str | None = None) -> Execution:
    """The Execution once a policy has denied it, or a task of it."""
    ended = await namespace.fails(name, reason="PolicyDenied")
    error = ended.status.error
    assert error is not None
    assert (error.policy, error.task) == (by, at)
    assert f"policy {by!r}" in error.message
    return ended


async def test_a_high_risk_agent_needs_an_approval_before_it(namespace: Namespace) -> None:
    rule = {"expression": APPROVED, "message": "A task with a high-risk agent needs an approval before it"}
    async with policy(namespace, "approval") as held:
        generation = await held.apply(rule, kinds=["Execution"])
        risky = agent(namespace, "risky", risk="high")
        await namespace.run(risky, workflow("flow", [task("act", "risky")]))
        ended = await denied(namespace, held.name)
        assert ended.status.tasks == {}
        assert await namespace.pods() == []
        error = ended.status.error
        assert error is not None
        assert error.policy_version == generation
        assert error.message == f"policy {held.name!r}: {rule['message']}"
        assert rule["message"] in await namespace.event("Execution", "run", "PolicyDenied")


async def test_who_approved_is_somebody_else_than_the_author(namespace: Namespace) -> None:
    await grant(namespace, "ossa-approver", group=BOARD)
    async with policy(namespace, "somebody-else") as held:
        await held.apply(NOT_BY_THE_AUTHOR, kinds=["Task"])
        tasks = [approval("ask"), task("act", "risky", after=["ask"])]
        await namespace.apply(agent(namespace, "risky", risk="high"), workflow("flow", tasks))
        (await Person("alice", namespace).create(execution("run", "flow"))).ok()

        async def asked() -> str | None:
            items = (await namespace.cluster.api.get(paths.ossa("approvals", namespace.name)))["items"]
            return items[0]["metadata"]["name"] if items else None

        name = await namespace.wait(asked, "the approval")
        (await Person("alice", namespace, (BOARD,)).decide(name)).refused()
        (await Person("bob", namespace, (BOARD,), almighty=False).decide(name)).ok()
        ended = await namespace.completes()
        assert judged(ended, "act") == [f"{held.name}@1"]


async def test_an_agent_that_is_made_riskier_later(namespace: Namespace) -> None:
    flow = workflow("flow", [task("act", "worker")])
    async with policy(namespace, "approval") as held:
        await held.apply(APPROVED, kinds=["Execution"])
        await namespace.run(agent(namespace, "worker", risk="limited"), flow)
        first = await namespace.completes()
        await namespace.apply(agent(namespace, "worker", risk="high"))
        await namespace.settles(
            "workflows", "flow", lambda status: status["revision"] != first.status.revision, "another revision"
        )
        await namespace.start("flow", name="later")
        await denied(namespace, held.name, name="later")


async def test_one_that_resumes_an_older_run_is_judged_by_what_is_known_of_its_agents_now(namespace: Namespace) -> None:
    """Its revision is the older one's, and of that time are the agents in it."""
    async with policy(namespace, "approval") as held:
        await held.apply(APPROVED, kinds=["Execution"])
        await namespace.run(agent(namespace, "worker", "exit 1"), workflow("flow", [task("act", "worker")]))
        first = await namespace.fails(reason="Error")
        await namespace.apply(agent(namespace, "worker", "exit 1", risk="high"))
        await namespace.settles("agents", "worker", lambda status: status["ready"] == "True", "to be ready")
        again = execution("again", "flow")
        again["spec"] = {"workflow": "flow", "retryOf": "run"}
        await namespace.cluster.api.post(paths.ossa("executions", namespace.name), again)
        ended = await denied(namespace, held.name, name="again")
    assert first.status.revision is not None
    assert ended.status.tasks == {}


async def test_no_critic_reviews_its_own_work(namespace: Namespace) -> None:
    made = "${{ tasks.make.output.text }}"
    tasks = [task("make", "critic"), task("review", "critic", give={"text": made})]
    async with policy(namespace, "duties") as held:
        await held.apply({"expression": NO_SELF_REVIEW, "message": "It reviews its own work"}, kinds=["Task"])
        critic = agent(namespace, "critic", says({"text": "good"}), type="critic")
        await namespace.run(critic, workflow("flow", tasks))
        ended = await denied(namespace, held.name, at="review")
    assert ended.status.tasks["make"].phase == "Completed"
    assert [pod["metadata"]["labels"]["ossa.dev/task"] for pod in await namespace.pods()] == ["make"]


@pytest.mark.parametrize("place", ["tasks", "finally"])
async def test_classified_data_does_not_flow_to_an_agent_without_clearance(namespace: Namespace, place: str) -> None:
    """Also not in `finally`, which runs whatever happened."""
    reader = task("publish", "public", give={"text": "${{ tasks.make.output.text }}"})
    flow = workflow("flow", [task("make", "secret")] + ([reader] if place == "tasks" else []))
    if place == "finally":
        flow["spec"]["finally"] = [reader]
    secret = agent(namespace, "secret", says({"text": "it"}), data={"classification": "confidential"})
    async with policy(namespace, "flows") as held:
        await held.apply(CLEARED, kinds=["Task"])
        await namespace.run(secret, agent(namespace, "public"), flow)
        ended = await denied(namespace, held.name, at="publish")
    assert ended.status.tasks["publish"].pod is None


async def test_images_from_elsewhere_have_no_pod(namespace: Namespace) -> None:
    rule = {
        "expression": "agent == null || agent.image.startsWith('registry.example.com/')",
        "messageExpression": "'image ' + agent.image + ' is from elsewhere'",
    }
    async with policy(namespace, "images") as held:
        await held.apply(rule, kinds=["Task"])
        await namespace.run(agent(namespace, "worker"), workflow("flow", [task("act", "worker")]))
        ended = await denied(namespace, held.name, at="act")
    assert ended.status.error is not None
    assert f"image {namespace.cluster.shell_image} is from elsewhere" in ended.status.error.message
    assert await namespace.pods() == []


async def test_a_limit_of_attempts(namespace: Namespace) -> None:
    retried = {**task("act", "worker"), "retry": {"maxAttempts": 5, "backoff": {"initial": "1s"}}}
    async with policy(namespace, "attempts") as held:
        await held.apply("task.attempt <= 2 && execution.pods < 10", kinds=["Task"])
        await namespace.run(agent(namespace, "worker", "exit 3"), workflow("flow", [retried]))
        ended = await denied(namespace, held.name, at="act")
    assert ended.status.tasks["act"].attempt == 2


async def test_a_workflow_that_an_execution_holds_is_judged_again_once_its_agents_are_known(
    namespace: Namespace,
) -> None:
    """When it was made, there was no agent that a policy about Workflows could have looked at."""
    async with policy(namespace, "inline") as held:
        rule = {"expression": APPROVED, "message": "It needs an approval"}
        await held.apply(rule, kinds=["Workflow"], operations=["CREATE", "UPDATE"])
        item = execution("run", "flow")
        item["spec"] = {"workflowSpec": {"tasks": [task("act", "later")]}}
        (await Person("alice", namespace).create(item)).ok()
        await namespace.apply(agent(namespace, "later", risk="high"))
        ended = await denied(namespace, held.name)
    assert ended.status.tasks == {}
    assert await namespace.pods() == []


async def test_what_a_task_gave_is_not_passed_on(namespace: Namespace) -> None:
    rule = {"expression": "!has(output.secret)", "message": "The output holds a secret"}
    tasks = [task("make", "maker"), task("next", "maker", after=["make"])]
    async with policy(namespace, "outputs") as held:
        await held.apply(rule, kinds=["Task"], operations=["END"])
        await namespace.run(agent(namespace, "maker", says({"secret": "x"})), workflow("flow", tasks))
        ended = await denied(namespace, held.name, at="make")
    assert ended.status.tasks["make"].output is None
    assert ended.status.tasks["next"].phase == "Skipped"


async def test_a_policy_that_is_edited_between_start_and_end(namespace: Namespace) -> None:
    """The record says which version judged which; what runs is not killed."""
    both = {"kinds": ["Task"], "operations": ["START", "END"]}
    async with policy(namespace, "edited") as held, recorded(namespace.cluster.api, namespace.name) as recorder:
        first = await held.apply("task.attempt < 5", **both)
        tasks = [task("gate", "gate"), task("next", "quick", after=["gate"])]
        await namespace.run(agent(namespace, "gate", WAIT), agent(namespace, "quick"), workflow("flow", tasks))
        await recorder.until(lambda seen: bool(seen.running()), "the gate")
        second = await held.apply("task.name == 'gate'", **both)
        await open_gate(namespace, recorder.of_task("gate")[0].name)
        ended = await denied(namespace, held.name, at="next")
    assert (first, second) == (1, 2)
    assert judged(ended, "gate") == [f"{held.name}@1"]
    assert judged(ended, "gate", end=True) == [f"{held.name}@2"]
    assert judged(ended, "next") == [f"{held.name}@2"]
    assert ended.status.tasks["gate"].phase == "Completed"


async def test_an_exception_that_ends_while_it_runs(namespace: Namespace) -> None:
    async with policy(namespace, "except") as held, recorded(namespace.cluster.api, namespace.name) as recorder:
        await held.apply("agent.owner != ''", kinds=["Task"], exceptions={"maxDuration": "1h", "secondPerson": False})
        worker = agent(namespace, "worker", WAIT)
        await namespace.apply(worker)
        seconds = 25
        await namespace.apply(await exception(namespace, held.name, "worker", seconds))
        begun = asyncio.get_running_loop().time()
        await namespace.apply(workflow("flow", [task("one", "worker"), task("two", "worker", after=["one"])]))
        await namespace.start("flow")
        await recorder.until(lambda seen: bool(seen.running()), "the first task")
        left = begun + seconds + 2 - asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, left))
        await open_gate(namespace, recorder.of_task("one")[0].name)
        ended = await denied(namespace, held.name, at="two")
    assert ended.status.tasks["one"].phase == "Completed"


async def exception(namespace: Namespace, of: str, name: str, seconds: int) -> JSONObject:
    """An exception for an Agent, which ends in so many seconds."""
    found = await namespace.get("agents", name)
    return {
        "apiVersion": API_VERSION,
        "kind": "AgentPolicyException",
        "metadata": {"name": "for-a-while"},
        "spec": {
            "policy": of,
            "target": {
                "kind": "Agent",
                "name": name,
                "uid": found["metadata"]["uid"],
                "specHash": spec_hash(AgentSpec.model_validate(found["spec"])),
            },
            "owner": "data-team",
            "reason": "its owner is found soon",
            "expiresAt": to_text(datetime.now(UTC) + timedelta(seconds=seconds)),
        },
    }


async def test_one_that_was_suspended_is_judged_when_it_goes_on(namespace: Namespace) -> None:
    async with policy(namespace, "resumed") as held:
        await namespace.apply(agent(namespace, "worker"), workflow("flow", [task("act", "worker")]))
        paused = execution("run", "flow")
        paused["spec"]["suspend"] = True
        await namespace.cluster.api.post(paths.ossa("executions", namespace.name), paused)
        await namespace.reaches("run", lambda found: found.status.phase == "Paused", "to be paused")
        await held.apply("plan.tasks.size() > 1", kinds=["Execution"])
        await namespace.cluster.api.patch(paths.ossa("executions", namespace.name, "run"), {"spec": {"suspend": False}})
        ended = await denied(namespace, held.name)
    assert ended.status.tasks["act"].phase == "Skipped"


async def test_defaults_are_in_the_revision_and_not_in_the_workflow(namespace: Namespace) -> None:
    async with policy(namespace, "defaults") as held:
        await namespace.apply(agent(namespace, "worker"), workflow("flow", [task("act", "worker")]))
        before = await namespace.settles("workflows", "flow", lambda s: s["phase"] == "Published", "to be published")
        await held.apply(kinds=["Workflow"], defaults={"taskTimeout": "2m"})
        after = await namespace.settles(
            "workflows", "flow", lambda status: status["revision"] != before["revision"], "a revision with defaults"
        )
        made = await namespace.cluster.api.get(paths.apps("controllerrevisions", namespace.name, after["revision"]))
        assert made["data"]["spec"]["tasks"][0]["timeout"] == "2m"
        await namespace.start("flow")
        assert (await namespace.completes()).status.revision == after["revision"]
        assert "timeout" not in (await namespace.get("workflows", "flow"))["spec"]["tasks"][0]
        await held.delete()
        await namespace.settles(
            "workflows", "flow", lambda status: status["revision"] == before["revision"], "its old revision again"
        )


async def test_a_warning_and_an_audit_are_told_and_nothing_is_refused(namespace: Namespace) -> None:
    async with policy(namespace, "warn") as warns, policy(namespace, "audit") as audits:
        await warns.apply({"expression": "1 > 2", "message": "Mind this"}, kinds=["Task"], action="Warn")
        await audits.apply({"expression": "1 > 2", "message": "Note that"}, kinds=["Execution"], action="Audit")
        await namespace.run(agent(namespace, "worker"), workflow("flow", [task("act", "worker")]))
        await namespace.completes()
        told = [e["message"] for e in await namespace.events_of("Execution", "run") if e["reason"] == "PolicyViolation"]
    # The scan may tell of the running Execution as well.
    wanted = {f"Execution: policy {audits.name!r}: Note that", f"Task 'act': policy {warns.name!r}: Mind this"}
    assert wanted <= set(told)
    assert {message.removeprefix("Execution: ") for message in told if "Note that" in message} == {
        f"policy {audits.name!r}: Note that"
    }
