"""What people ask the gateway for, on real pods: logs, steering, approvals, inline workflows; and what it refuses."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from ossa.api import gateway as api
from ossa.api.execution import Execution
from ossa.bus.frames import Close
from ossa.bus.messages import BEGINNING
from ossa.client import AsyncGateway, FixedToken, Forbidden, OrchestrateRequest
from ossa.engine.clock import to_text
from ossa.kube import paths
from tests.e2e.conftest import create_namespace
from tests.e2e.harness import Namespace, execution, task, workflow
from tests.e2e.harness.gate import WAIT, open_gate
from tests.e2e.harness.gateway import User, allow
from tests.e2e.harness.objects import JSONObject, says
from tests.e2e.harness.people import Person, undecided
from tests.e2e.harness.policies import Policies, is_refused
from tests.e2e.harness.rights import bind, unbind
from tests.e2e.harness.services import Records

OK, ACCEPTED, FORBIDDEN, CONFLICT = 200, 202, 403, 409
SKIPPED = task("none", "nobody", when="${{ false }}")  # its Execution needs no pod


def place(template: str, namespace: Namespace, name: str = "", **more: str) -> str:
    """One of the API's paths."""
    return template.format(namespace=namespace.name, name=name, **more)


def release(*approvers: User) -> JSONObject:
    """A task that waits for one of them."""
    users = [user.identity for user in approvers]
    return {"name": "release", "approval": {"message": "Release to production?", "approverUsers": users}}


def waits(found: Execution) -> bool:
    held = found.status.tasks.get("release")
    return held is not None and held.phase == "Waiting"


async def started(namespace: Namespace, user: User, body: JSONObject | None = None) -> str:
    """The name of an Execution of `flow`, or of what the body says, that the user has asked for; it is there."""
    answer = await user.orchestrate({"namespace": namespace.name, **(body or {"workflow": "flow"})})
    assert answer.status_code == ACCEPTED, answer.text
    name = str(answer.json()["execution"])
    await namespace.appears(name)
    return name


async def authors(namespace: Namespace, name: str) -> tuple[str, str]:
    """Who created an Execution, and who changed its spec last."""
    held = (await namespace.get("executions", name))["metadata"]["annotations"]
    return held["ossa.dev/created-by"], held["ossa.dev/spec-changed-by"]


# --- what they get -----------------------------------------------------------------------------------------------


async def test_a_log_is_streamed_while_its_pod_writes_it(namespace: Namespace, user: User) -> None:
    talker = namespace.shell_agent("talker", f"echo first\n{WAIT}\necho last")
    await namespace.apply(talker, workflow("flow", [task("talk", "talker")]))
    async with AsyncGateway(user.url, FixedToken(user.token)) as gateway:
        accepted = await gateway.orchestrate(OrchestrateRequest(namespace=namespace.name, workflow="flow"))

        async def running() -> str | None:
            return next((pod["metadata"]["name"] for pod in await namespace.pods() if _runs(pod)), None)

        pod = await namespace.wait(running, "the pod to run")
        lines = gateway.logs(namespace.name, accepted.execution, follow=True)
        assert await anext(lines) == "first"
        path = place(api.LOGS, namespace, accepted.execution)
        answer = await user.request("GET", f"{path}?task=talk")  # of the moment, over bare HTTP
        assert (answer.text, answer.headers["Content-Type"]) == ("first\n", "text/plain; charset=utf-8")
        await open_gate(namespace, pod)
        assert [line async for line in lines] == ["last"]
        assert (await gateway.wait(namespace.name, accepted.execution, seconds=60)).phase == "Completed"


def _runs(pod: JSONObject) -> bool:
    return bool(pod["status"]["phase"] == "Running")


async def test_an_inline_workflow_runs_in_the_caller_s_trace(
    namespace: Namespace, user: User, records: Records
) -> None:
    await namespace.apply(namespace.shell_agent("greeter", says({"greeting": "hello"})))
    spec = {"tasks": [task("greet", "greeter")], "outputs": {"text": "${{ tasks.greet.output.greeting }}"}}
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    body = {"namespace": namespace.name, "workflowSpec": spec}
    answer = await user.request("POST", api.ORCHESTRATE, body, headers=headers)
    assert answer.status_code == ACCEPTED, answer.text
    assert (answer.headers["traceparent"].split("-")[1], answer.json()["traceId"]) == (trace, trace)
    ended = await namespace.completes(answer.json()["execution"])
    assert (ended.status.outputs, ended.status.trace_id) == ({"text": "hello"}, trace)

    uid = (await namespace.get("executions", answer.json()["execution"]))["metadata"]["uid"]
    for query in (
        "SELECT trace_id FROM executions WHERE id = $1 AND finished",
        "SELECT trace_id FROM task_events WHERE execution_id = $1 AND type = 'execution' AND phase = 'Completed'",
        "SELECT trace_id FROM task_events WHERE execution_id = $1 AND task = 'greet' AND phase = 'Completed'",
    ):

        async def found(query: str = query) -> list[str]:
            return [row["trace_id"] for row in await records.rows(query, uid)]

        assert await namespace.wait(found, "the row") == [trace]


# --- who does it -------------------------------------------------------------------------------------------------


async def test_who_steers_an_execution_is_recorded(namespace: Namespace, user: User, colleague: User) -> None:
    await allow(namespace, colleague)
    await namespace.apply(workflow("flow", [release(user)]))
    name = await started(namespace, user)
    await namespace.reaches(name, waits, "to wait for somebody")
    assert await authors(namespace, name) == (user.identity, user.identity)
    for who, action, phase in (
        (colleague, "pause", "Paused"),
        (user, "resume", "Running"),
        (colleague, "cancel", "Failed"),
    ):
        answer = await who.request("POST", place(api.STEER, namespace, name, action=action))
        assert answer.status_code == OK, answer.text
        assert await authors(namespace, name) == (user.identity, who.identity)
        await namespace.reaches(name, lambda found, phase=phase: found.status.phase == phase, f"to be {phase}")  # type: ignore[misc]
    await namespace.fails(name, reason="Cancelled")
    answer = await user.request("POST", place(api.STEER, namespace, name, action="pause"))
    assert answer.status_code == CONFLICT, answer.text
    assert "it has ended" in answer.json()["detail"]

    answer = await colleague.request("POST", place(api.STEER, namespace, name, action="retry"))
    assert answer.status_code == ACCEPTED, answer.text
    again = answer.json()["execution"]
    assert (await namespace.appears(again)).spec.retry_of == name
    assert await authors(namespace, again) == (colleague.identity, colleague.identity)
    await namespace.reaches(again, waits, "to wait for somebody, as the first one did")


async def test_another_one_than_the_author_approves(namespace: Namespace, user: User, colleague: User) -> None:
    for who in (user, colleague):
        await allow(namespace, who, "ossa-approver")
    await namespace.apply(workflow("flow", [release(user, colleague)]))
    name = await started(namespace, user)
    await undecided(namespace, name)
    path = place(api.APPROVE, namespace, name)
    answer = await user.request("POST", path, {"verdict": "Approved"})
    assert answer.status_code == FORBIDDEN, answer.text
    assert "you are the author of this Execution" in answer.json()["detail"]
    answer = await colleague.request("POST", path, {"verdict": "Approved", "reason": "tested"})
    assert answer.status_code == OK, answer.text
    await namespace.completes(name)
    [held] = (await namespace.cluster.api.get(paths.ossa("approvals", namespace.name)))["items"]
    assert held["decisions"] == {colleague.identity: {"verdict": "Approved", "reason": "tested"}}


# --- what is refused ---------------------------------------------------------------------------------------------


async def test_what_a_policy_refuses_is_told_in_its_words(
    namespace: Namespace, user: User, policies: Policies, records: Records
) -> None:
    await namespace.apply(workflow("flow", [SKIPPED]))
    rule = {
        "expression": "!has(object.spec.priority) || object.spec.priority < 100",
        "message": "priorities from 100 on are for emergencies",
    }
    name = await policies.apply("calm", rule, kinds=["Execution"], match={"operations": ["CREATE"]})
    probe = execution("probe", "flow")
    probe["spec"]["priority"] = 100
    await is_refused(namespace, policies, probe)
    async with AsyncGateway(user.url, FixedToken(user.token)) as gateway:
        with pytest.raises(Forbidden, match=rule["message"]) as refused:
            await gateway.orchestrate(OrchestrateRequest(namespace=namespace.name, workflow="flow", priority=100))
        calm = await gateway.orchestrate(OrchestrateRequest(namespace=namespace.name, workflow="flow", priority=99))
    assert refused.value.problem.more["policy"] == name
    await namespace.appears(calm.execution)
    assert await namespace.execution_names() == {calm.execution}

    async def closed() -> list[str] | None:
        rows = await records.rows("SELECT state FROM requests WHERE namespace = $1", namespace.name)
        states = sorted(row["state"] for row in rows)
        return states if "open" not in states else None

    assert await namespace.wait(closed, "both requests to be closed") == ["done", "refused"]


@pytest.fixture
async def other(namespace: Namespace) -> AsyncIterator[Namespace]:
    """Another namespace, with an Execution, in which no user may do anything."""
    made = await create_namespace(namespace.cluster)
    await made.apply(workflow("flow", [SKIPPED]))
    await made.start("flow", name="secret")
    yield made
    await namespace.cluster.api.delete(paths.core("namespaces", name=made.name))


async def test_other_namespaces_are_closed(
    namespace: Namespace, other: Namespace, user: User, records: Records
) -> None:
    await namespace.apply(workflow("flow", [SKIPPED]))
    mine = await started(namespace, user)
    closed = [
        *(("GET", path) for path in (api.EXECUTIONS, api.AGENTS, api.WORKFLOWS)),
        *(("GET", place(path, other)) for path in (api.NAMESPACE_EXECUTIONS, api.NAMESPACE_WORKFLOWS)),
        *(("GET", place(path, other, "secret")) for path in (api.EXECUTION, api.TASKS, api.LOGS, api.APPROVALS)),
        # Whether it is there is nobody's business who may not see it.
        ("GET", place(api.EXECUTION, other, "absent")),
        *(("POST", place(api.STEER, other, "secret", action=action)) for action in ("cancel", "rerun")),
    ]
    answers = {(method, path): (await user.request(method, path)).status_code for method, path in closed}
    assert {asked: status for asked, status in answers.items() if status != FORBIDDEN} == {}
    for nowhere in (other.name, ""):
        with pytest.raises(ConnectionClosed) as ended:
            async with user.events(nowhere, after=BEGINNING):
                pass
        assert ended.value.rcvd is not None
        assert ended.value.rcvd.code == Close.FORBIDDEN

    answer = await user.request("GET", place(api.EXECUTION, namespace, mine))
    assert answer.status_code == OK, answer.text
    query = """SELECT DISTINCT outcome, name FROM audit WHERE "user" = $1 AND namespace = $2"""

    async def refusals() -> list[tuple[str, str]] | None:
        rows = await records.rows(query, user.identity, other.name)
        found = sorted((row["outcome"], row["name"]) for row in rows)
        return found if ("denied", "secret") in found else None

    assert {outcome for outcome, _ in await namespace.wait(refusals, "the audit trail")} == {"denied"}


# --- what the API server refused ---------------------------------------------------------------------------------


@pytest.fixture
async def auditor(namespace: Namespace, colleague: User) -> AsyncIterator[User]:
    """One who may tell the gateway what the API server has noted."""
    name = f"{namespace.name}-audit"
    rules = [{"apiGroups": ["ossa.dev"], "resources": ["auditevents"], "verbs": ["create"]}]
    await bind(namespace.cluster, name, colleague.identity, rules)
    yield colleague
    await unbind(namespace.cluster, name)


async def test_refusals_of_the_api_server_come_into_the_trail(
    namespace: Namespace, user: User, auditor: User, records: Records
) -> None:
    said = (await Person("eve", namespace, almighty=False).create(execution("run", "flow"))).refused()
    events = {"apiVersion": "audit.k8s.io/v1", "kind": "EventList", "items": [_noted(namespace, said)]}
    assert (await user.request("POST", api.AUDIT_EVENTS, events)).status_code == FORBIDDEN
    added = []
    for _ in range(2):  # as the API server does that had no answer
        answer = await auditor.request("POST", api.AUDIT_EVENTS, events)
        assert answer.status_code == httpx.codes.OK, answer.text
        added.append(answer.json()["added"])
    assert added == [1, 0]
    query = """SELECT "user", verb, resource, outcome, body FROM audit WHERE namespace = $1 AND "user" = 'eve'"""
    [row] = await records.rows(query, namespace.name)
    assert (row["verb"], row["resource"], row["outcome"]) == ("create", "executions", "denied")
    assert 'User \\"eve\\" cannot create resource' in row["body"]


def _noted(namespace: Namespace, message: str) -> dict[str, Any]:
    """A refusal, as the API server's audit log has it."""
    now = to_text(datetime.now(UTC))
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Event",
        "level": "Metadata",
        "auditID": secrets.token_hex(16),
        "stage": "ResponseComplete",
        "requestURI": paths.ossa("executions", namespace.name),
        "verb": "create",
        "user": {"username": "eve", "groups": ["system:authenticated"]},
        "sourceIPs": ["192.0.2.7"],
        "objectRef": {"resource": "executions", "namespace": namespace.name, "apiGroup": "ossa.dev"},
        "responseStatus": {"status": "Failure", "message": message, "reason": "Forbidden", "code": 403},
        "requestReceivedTimestamp": now,
        "stageTimestamp": now,
    }
