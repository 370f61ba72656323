"""What depends on other objects waits for them, says so, and goes on by itself."""

from __future__ import annotations

from typing import Any

from ossa.api.execution import Execution
from tests.e2e.harness import Namespace, execution, task, workflow
from tests.e2e.harness.objects import agent, says

JSONObject = dict[str, Any]


def is_published(status: JSONObject) -> bool:
    """Of a Workflow's status."""
    return bool(status["phase"] == "Published")


def is_ready(status: JSONObject) -> bool:
    """Of an Agent's status."""
    return bool(status["ready"] == "True")


def condition(status: JSONObject, kind: str) -> JSONObject:
    """A condition by its type."""
    return next(held for held in status["conditions"] if held["type"] == kind)


def waits_with(text: str) -> Any:
    """Whether an Execution is Pending with a message that holds `text`."""

    def check(found: Execution) -> bool:
        return found.status.phase == "Pending" and text in (found.status.message or "")

    return check


async def test_a_workflow_waits_for_its_agent(namespace: Namespace) -> None:
    (await namespace.kubectl_apply(workflow("flow", [task("a", "here"), task("b", "absent")]))).ok()
    await namespace.apply(namespace.shell_agent("here", "true"))
    status = await namespace.settles(
        "workflows", "flow", lambda held: "'here'" not in held.get("message", ""), "to have found one agent"
    )
    expected = (
        "spec.tasks[1].agent: there is no Agent 'absent' in this namespace; apply it, and the workflow is "
        "published by itself"
    )
    assert (status["phase"], status["message"]) == ("Draft", expected)
    assert condition(status, "Valid")["status"] == "True"
    assert condition(status, "Resolved")["message"] == expected
    assert "'absent'" in await namespace.event("Workflow", "flow", "Draft")

    await namespace.apply(namespace.shell_agent("absent", "true"))
    status = await namespace.settles("workflows", "flow", is_published, "to be published")
    assert "message" not in status
    assert status["revision"].startswith("flow-")
    assert condition(status, "Resolved")["status"] == "True"
    assert status["revision"] in await namespace.event("Workflow", "flow", "Published")


async def test_a_deleted_agent_makes_a_draft_that_still_starts_its_last_revision(namespace: Namespace) -> None:
    await namespace.apply(namespace.shell_agent("worker", says({"n": 1})), workflow("flow", [task("work", "worker")]))
    before = await namespace.settles("workflows", "flow", is_published, "to be published")
    await namespace.delete("agents", "worker")
    status = await namespace.settles("workflows", "flow", lambda held: held["phase"] == "Draft", "to be a Draft")
    assert "there is no Agent 'worker'" in status["message"]
    assert status["revision"] == before["revision"]
    await namespace.start("flow")
    assert (await namespace.completes()).status.revision == before["revision"]


async def test_an_agent_with_an_unknown_handler_says_which_there_are(namespace: Namespace) -> None:
    await namespace.apply(agent("lost", {"handler": "nowhere:run"}), workflow("flow", [task("a", "lost")]))
    status = await namespace.settles("agents", "lost", lambda held: held["ready"] == "False", "to be judged")
    ready = condition(status, "Ready")
    assert ready["reason"] == "HandlerNotFound"
    assert ready["message"].startswith("spec.runtime.handler: the worker image has no handler module 'nowhere'; it has")
    assert "aggregate, ingest, ml_score, report, rules, transform, validate" in ready["message"]
    draft = await namespace.settles(
        "workflows", "flow", lambda held: "not ready" in held.get("message", ""), "to say what it waits for"
    )
    assert draft["message"].startswith("spec.tasks[0].agent: Agent 'lost' is not ready: spec.runtime.handler: ")

    await namespace.apply(agent("lost", {"handler": "rules:walk"}))
    status = await namespace.settles(
        "agents", "lost", lambda held: "walk" in condition(held, "Ready")["message"], "to be judged again"
    )
    assert "the handler module 'rules' has no function 'walk'; it has run" in condition(status, "Ready")["message"]

    await namespace.apply(agent("lost", {"handler": "rules:run"}))
    await namespace.settles("agents", "lost", is_ready, "to be ready")
    await namespace.settles("workflows", "flow", is_published, "to be published")


async def test_a_service_account_needs_leave_of_the_namespace(namespace: Namespace) -> None:
    item = namespace.shell_agent("worker", "true")
    item["spec"]["runtime"]["serviceAccountName"] = "builder"
    await namespace.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder"}},
        item,
        workflow("flow", [task("work", "worker")]),
        execution("run", "flow"),
    )
    status = await namespace.settles("agents", "worker", lambda held: held["ready"] == "False", "to be judged")
    accepted = condition(status, "Accepted")
    assert accepted["reason"] == "ServiceAccountNotAllowed"
    assert accepted["message"].startswith("spec.runtime.serviceAccountName: 'builder' is not allowed in namespace")
    assert "annotation ossa.dev/service-accounts" in accepted["message"]
    await namespace.reaches("run", waits_with("'builder' is not allowed"), "to wait with the reason")

    (await namespace.kubectl("annotate", "namespace", namespace.name, "ossa.dev/service-accounts=ci, builder")).ok()
    await namespace.completes()
    assert [pod["spec"]["serviceAccountName"] for pod in await namespace.pods()] == ["builder"]


async def test_an_execution_of_a_draft_waits_until_it_is_published(namespace: Namespace) -> None:
    tasks = [task("work", "worker")]
    await namespace.run(namespace.shell_agent("worker", "true"), workflow("flow", tasks, published=False))
    # Until its Agent was looked at, that is the reason.
    waiting = await namespace.reaches("run", waits_with("spec.published"), "to wait with the reason")
    assert waiting.status.message == (
        "Workflow 'flow' is not published: spec.published is false; set it to true to publish"
    )
    assert waiting.status.started_at is None
    row = (await namespace.kubectl("get", "executions", "--no-headers")).ok()
    assert "Pending" in row
    assert "spec.published is false" in row
    await namespace.apply(workflow("flow", tasks))
    ended = await namespace.completes()
    assert ended.status.message is None


async def test_an_execution_waits_for_a_workflow_that_does_not_exist(namespace: Namespace) -> None:
    await namespace.start("flow")
    waiting = await namespace.reaches("run", waits_with("not found"), "to wait with the reason")
    assert waiting.status.message == (
        f"Workflow 'flow' was not found in namespace '{namespace.name}'; apply it and this Execution starts by itself"
    )
    await namespace.apply(workflow("flow", [task("work", "worker")]))
    await namespace.reaches("run", waits_with("there is no Agent 'worker'"), "to wait for the agent")
    await namespace.apply(namespace.shell_agent("worker", "true"))
    await namespace.completes()
