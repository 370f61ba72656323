"""What is there: lists, one, steering, approvals, discovery; and who may see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ossa.gateway.authorization import ALLOWED_TTL, SEEN_TTL, SubjectAccess
from ossa.store.records.write import Write, write
from tests.unit.gateway.lab import CREATE, EXECUTIONS, Lab, lab
from tests.unit.gateway.serving import raw
from tests.unit.servers import Postgres

NAMESPACE = "/api/v1/namespaces/lab"
READER = [
    (verb, kind, "lab")
    for verb in ("get", "list")
    for kind in ("executions", "executions/logs", "approvals", "agents", "workflows")
]
EDITOR = [*READER, CREATE, ("update", "executions", "lab"), ("patch", "approvals", "lab")]
APPROVALS = "/apis/ossa.dev/v1alpha1/namespaces/{}/approvals"


@asynccontextmanager
async def gateway(records_url: str, **settings: Any) -> AsyncIterator[Lab]:
    """Alice may do everything in namespace lab, bob in namespace other."""
    async with lab(records_url, **settings) as made:
        made.people.add("alice", *EDITOR)
        made.people.add("bob", *((verb, kind, "other") for verb, kind, _ in EDITOR))
        yield made


def execution(name: str, namespace: str = "lab", **status: Any) -> dict[str, Any]:
    annotations = {"ossa.dev/spec-changed-by": "ossa:alice", "ossa.dev/request-id": f"request-{name}"}
    return {
        "apiVersion": "ossa.dev/v1alpha1",
        "kind": "Execution",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"workflow": "pipeline", "inputs": {"dataset": "wine"}},
        "status": {"phase": "Running", "progress": "1/2", **status},
    }


def put(held: Lab, *items: dict[str, Any]) -> None:
    for item in items:
        held.cluster.create(EXECUTIONS.format(item["metadata"]["namespace"]), item)


async def record(held: Lab, *items: dict[str, Any]) -> None:
    """As the recorder does."""
    async with held.records.connection() as connection:
        for number, item in enumerate(items, start=1):
            metadata = {
                "uid": f"00000000-0000-0000-0000-{number:012d}",
                "resourceVersion": str(number),
                "creationTimestamp": f"2026-01-01T00:00:{number:02d}Z",
                **item["metadata"],
            }
            await write(
                connection, [Write("executions", metadata["uid"], number, None, {**item, "metadata": metadata})]
            )


async def test_one_execution_and_its_tasks(records_url: str) -> None:
    async with gateway(records_url) as held:
        tasks = {
            "ingest": {"phase": "Completed", "attempt": 1, "pod": "p1", "output": {"n": 3}},
            "score": {
                "phase": "Running",
                "items": {
                    "total": 3,
                    "started": 2,
                    "completed": 1,
                    "outputs": [{"s": 1}, None, None],
                    "active": {"1": {"phase": "Running", "attempt": 2, "pod": "p2"}},
                },
            },
        }
        put(held, execution("x1", tasks=tasks))
        view = (await held.get(f"{NAMESPACE}/executions/x1")).json()
        assert view.items() >= {
            "name": "x1", "namespace": "lab", "phase": "Running", "finished": False, "progress": "1/2",
            "author": "ossa:alice", "requestId": "request-x1", "inputs": {"dataset": "wine"},
        }.items()  # fmt: skip
        found = (await held.get(f"{NAMESPACE}/executions/x1/tasks")).json()["items"]
        assert [(t["name"], t.get("index"), t["phase"], t["attempt"]) for t in found] == [
            ("ingest", None, "Completed", 1),
            ("score", None, "Running", 0),
            ("score", 0, "Completed", 1),
            ("score", 1, "Running", 2),
        ]
        assert (await held.get(f"{NAMESPACE}/executions/none")).status_code == 404
        # Gone from the cluster, and recorded.
        await record(held, execution("old", phase="Completed", outputs={"report": "good"}, tasks=tasks))
        view = (await held.get(f"{NAMESPACE}/executions/old")).json()
        assert (view["phase"], view["outputs"]) == ("Completed", {"report": "good"})
        found = (await held.get(f"{NAMESPACE}/executions/old/tasks", limit=1)).json()
        assert [t["name"] for t in found["items"]] == ["ingest"]
        rest_ = (await held.get(f"{NAMESPACE}/executions/old/tasks", cursor=found["next"])).json()
        assert {t["name"] for t in rest_["items"]} == {"score"}
        wrong = await held.get(f"{NAMESPACE}/executions/old/tasks", cursor="none")
        assert (wrong.status_code, wrong.json()["field"]) == (422, "cursor")


async def test_lists_have_filters_and_pages(records_url: str) -> None:
    async with gateway(records_url) as held:
        await record(held, *(execution(f"x{n}", phase="Failed" if n % 2 else "Completed") for n in range(5)))
        first = (await held.get(f"{NAMESPACE}/executions", limit=2)).json()
        assert [item["name"] for item in first["items"]] == ["x4", "x3"]
        second = (await held.get(f"{NAMESPACE}/executions", limit=3, cursor=first["next"])).json()
        assert ([item["name"] for item in second["items"]], "next" in second) == (["x2", "x1", "x0"], False)
        failed = (await held.get(f"{NAMESPACE}/executions", phase="Failed")).json()["items"]
        assert [item["name"] for item in failed] == ["x3", "x1"]
        since = (await held.get(f"{NAMESPACE}/executions", since="2026-01-01T00:00:04Z")).json()["items"]
        assert [item["name"] for item in since] == ["x4", "x3"]
        for query, field in (
            ({"cursor": "nonsense"}, "cursor"),
            ({"cursor": "cluster.'; DROP TABLE executions; --"}, None),
            ({"phase": "Sleeping"}, "phase"),
            ({"limit": 0}, "limit"),
            ({"limit": 501}, "limit"),
            ({"since": "yesterday"}, "since"),
            ({"workflow": "' OR '1'='1"}, "workflow"),
        ):
            answer = await held.get(f"{NAMESPACE}/executions", **query)
            assert answer.status_code in (422, 200 if field is None else 422)
            if field is not None:
                assert answer.json()["field"] == field
        injected = await held.get(f"{NAMESPACE}/executions", author="x' OR 1=1; DROP TABLE executions; --\0")
        assert (injected.status_code, injected.json()["items"]) == (200, [])
        assert len((await held.get(f"{NAMESPACE}/executions")).json()["items"]) == 5


async def test_with_postgresql_away_the_cluster_answers(records_url: str, postgres: Postgres) -> None:
    async with gateway(records_url) as held:
        put(held, execution("x1"), execution("x2", phase="Failed"))
        postgres.stop()
        found = (await held.get(f"{NAMESPACE}/executions", phase="Failed")).json()["items"]
        assert [item["name"] for item in found] == ["x2"]
        expired = await held.get(f"{NAMESPACE}/executions", cursor="cluster.of-yesterday")
        assert (expired.status_code, expired.json()["field"]) == (422, "cursor")
        assert (await held.get(f"{NAMESPACE}/executions/x1")).status_code == 200
        assert (await held.get(f"{NAMESPACE}/executions/x1/tasks")).status_code == 200
        assert (await held.post(f"{NAMESPACE}/executions/x1/pause")).json()["suspend"] is True
        for path in (f"{NAMESPACE}/executions/none", "/api/v1/requests/00000000-0000-0000-0000-000000000000"):
            answer = await held.get(path)
            assert (answer.status_code, "PostgreSQL" in answer.json()["detail"]) == (503, True)


async def test_with_the_api_server_away_the_records_answer(records_url: str) -> None:
    """To whom the permission was seen lately, also of what they never asked for before."""
    now = 0.0
    async with gateway(records_url, authorizer=lambda api: SubjectAccess(api, clock=lambda: now)) as held:
        held.cluster.allowed = lambda _, asked: (asked.namespace, asked.resource) == ("lab", "executions")
        put(held, execution("x1"), execution("x2"))
        await record(held, execution("x1"), execution("x2"))
        for path in ("", "/x1", "/x1/tasks"):
            assert (await held.get(f"{NAMESPACE}/executions{path}")).status_code == 200
        held.cluster.stopped, now = True, ALLOWED_TTL
        for path in ("", "/x1", "/x1/tasks", "/x2", "/x2/tasks"):
            assert (await held.get(f"{NAMESPACE}/executions{path}")).status_code == 200, path
        assert (await held.get(f"{NAMESPACE}/executions/none")).status_code == 404
        assert (await held.get("/api/v1/namespaces/other/executions/x1")).status_code == 503
        for path in ("pause", "cancel", "retry", "approve"):
            answer = await held.post(f"{NAMESPACE}/executions/x1/{path}", {} if path == "approve" else None)
            assert answer.status_code == 503, path
        now = SEEN_TTL
        for path in ("", "/x1"):
            assert (await held.get(f"{NAMESPACE}/executions{path}")).status_code == 503


async def test_a_right_to_one_object_is_none_to_another(records_url: str) -> None:
    """Neither with the API server there nor without it."""
    now = 0.0
    async with gateway(records_url, authorizer=lambda api: SubjectAccess(api, clock=lambda: now)) as held:
        held.cluster.allowed = lambda _, asked: asked.name in {"x1", "wine"}
        put(held, execution("x1"), execution("x2"))
        await record(held, execution("x1"), execution("x2"))
        for away, other in ((False, 403), (True, 503)):
            held.cluster.stopped, now = away, ALLOWED_TTL if away else 0.0
            assert (await held.get(f"{NAMESPACE}/executions/x1")).status_code == 200
            assert (await held.get(f"{NAMESPACE}/executions/x2")).status_code == other
            assert (await held.get(f"{NAMESPACE}/executions")).status_code == other
            assert (await held.get(f"{NAMESPACE}/workflows/wine")).status_code == 404  # there is none
            assert (await held.get(f"{NAMESPACE}/workflows/beer")).status_code == other


async def test_nobody_sees_another_namespace(records_url: str) -> None:
    """Every route asks, by the namespace of its path; what is there and what is not looks the same."""
    async with gateway(records_url) as held:
        put(held, execution("x1"), execution("theirs", "other"))
        await record(held, execution("x1"), execution("theirs", "other"))
        changes = ("pause", "resume", "cancel", "retry", "rerun", "approve")
        reads = ("", "/theirs", "/theirs/tasks", "/theirs/logs", "/theirs/approvals", "/none")
        for path in reads:
            answer = await held.get(f"/api/v1/namespaces/other/executions{path}")
            assert answer.status_code == 403, path
        for path in changes:
            body: Any = {} if path == "approve" else None
            answer = await held.post(f"/api/v1/namespaces/other/executions/theirs/{path}", body)
            assert answer.status_code == 403, path
        for kind in ("executions", "agents", "workflows"):
            assert (await held.get(f"/api/v1/{kind}")).status_code == 403
            assert (await held.get(f"/api/v1/namespaces/other/{kind}")).status_code == 403
        denied = [entry for entry in held.book.entries if entry.outcome == "denied"]
        assert len(denied) == len(reads) + len(changes) + 6
        assert {entry.user for entry in denied} == {"ossa:alice"}
        assert {entry.namespace for entry in denied} == {"other", ""}
        assert held.cluster.executions("other")[0]["spec"].get("suspend") is None


@pytest.mark.parametrize(
    "name",
    ["%2e%2e", "..%2f..%2fsecrets", "x%00", "X1", "a" * 254, "x/../../y", "x%0d%0aSet-Cookie:a=b", "%E2%80%AE", "-x"],
)
async def test_names_are_names(records_url: str, name: str) -> None:
    """Nothing else reaches the API server."""
    async with gateway(records_url) as held:
        asked = held.cluster.asked
        for path in (f"{NAMESPACE}/executions/{name}", f"/api/v1/namespaces/{name}/executions",
                     f"{NAMESPACE}/executions/{name}/logs", f"{NAMESPACE}/agents/{name}"):  # fmt: skip
            answer = await held.get(path)
            assert answer.status_code in (404, 422), path
            assert answer.headers["content-type"] == "application/problem+json"
            assert "set-cookie" not in answer.headers
        answer = await held.post(f"{NAMESPACE}/executions/{name}/pause")
        assert answer.status_code in (404, 422)
        assert held.cluster.asked == asked


async def test_a_path_is_not_walked(records_url: str) -> None:
    """A client that sends dots as they are is told that there is nothing."""
    async with gateway(records_url) as held, raw(held.client.base_url.port or 0) as client:
        asked = held.cluster.asked
        for path in ("/api/v1/namespaces/lab/executions/../../other/executions", "//healthz", "/./healthz"):
            await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer alice\r\n\r\n".encode())
            assert (await client.answer())[0] == 404
        assert held.cluster.asked == asked


async def test_steering(records_url: str) -> None:
    async with gateway(records_url) as held:
        put(held, execution("x1"), execution("done", phase="Completed"),
            execution("failed", phase="Failed", revision="r"))  # fmt: skip
        for action, field, value in (
            ("pause", "suspend", True),
            ("resume", "suspend", False),
            ("cancel", "cancel", True),
        ):
            for _ in range(2):
                answer = await held.post(f"{NAMESPACE}/executions/x1/{action}")
                assert (answer.status_code, answer.json()[field]) == (200, value)
        item = held.cluster.executions()[0]
        assert item["metadata"]["annotations"]["ossa.dev/author"] == "ossa:alice"
        answer = await held.post(f"{NAMESPACE}/executions/x1/resume")
        assert (answer.status_code, "being cancelled" in answer.json()["detail"]) == (409, True)
        answer = await held.post(f"{NAMESPACE}/executions/done/pause")
        assert (answer.status_code, "it has ended" in answer.json()["detail"]) == (409, True)
        assert (await held.post(f"{NAMESPACE}/executions/none/pause")).status_code == 404
        assert (await held.post(f"{NAMESPACE}/executions/x1/explode")).status_code == 422

        for _ in range(2):
            answer = await held.post(f"{NAMESPACE}/executions/failed/retry", Idempotency_Key="again")
            assert answer.status_code == 202
        made = next(i for i in held.cluster.executions() if i["metadata"]["name"] == answer.json()["execution"])
        assert made["spec"] == {"workflow": "pipeline", "retryOf": "failed"}
        answer = await held.post(f"{NAMESPACE}/executions/done/rerun")
        made = next(i for i in held.cluster.executions() if i["metadata"]["name"] == answer.json()["execution"])
        assert made["spec"] == {"workflow": "pipeline", "inputs": {"dataset": "wine"}}
        assert (await held.post(f"{NAMESPACE}/executions/done/retry")).status_code == 409
        verbs = {entry.verb for entry in held.book.entries if entry.outcome == "allowed"}
        assert verbs == {"pause", "resume", "cancel", "retry", "rerun"}


def approval(name: str, task: str = "release", **more: Any) -> dict[str, Any]:
    spec = {
        "execution": {"name": "x1", "uid": "u"}, "task": task, "message": "Release?",
        "approverGroups": ["ossa:board"], "author": "ossa:alice", "expiresAt": "2030-01-01T00:00:00Z",
    }  # fmt: skip
    labels = {"ossa.dev/execution": "x1"}
    metadata = {"name": name, "namespace": "lab", "labels": labels}
    return {"apiVersion": "ossa.dev/v1alpha1", "kind": "Approval", "metadata": metadata, "spec": spec, **more}


async def test_approvals(records_url: str) -> None:
    async with gateway(records_url) as held:
        for item in (approval("a1"), approval("a2", "other")):
            held.cluster.create(APPROVALS.format("lab"), item)
        held.people.add("carl", *EDITOR, groups=("ossa:board",))
        held.people.add("eve", *EDITOR, groups=("ossa:staff",))
        found = (await held.get(f"{NAMESPACE}/executions/x1/approvals", who="eve")).json()["items"]
        assert [(item["name"], item["state"], item["approverGroups"]) for item in found] == [
            ("a1", "Pending", ["ossa:board"]),
            ("a2", "Pending", ["ossa:board"]),
        ]
        path = f"{NAMESPACE}/executions/x1/approve"
        answer = await held.post(path, {}, who="carl")
        assert (answer.status_code, answer.json()["field"]) == (422, "task")
        for who, said in (("eve", "you are none of them"), ("alice", "you are the author")):
            answer = await held.post(path, {"task": "release"}, who=who)
            assert (answer.status_code, said in answer.json()["detail"]) == (403, True)
        for _ in range(2):
            answer = await held.post(path, {"task": "release", "verdict": "Approved", "reason": "tested"}, who="carl")
            assert answer.status_code == 200
        item = held.cluster.objects[f"{APPROVALS.format('lab')}/a1"]
        assert item["decisions"] == {"ossa:carl": {"verdict": "Approved", "reason": "tested"}}
        answer = await held.post(path, {"task": "release", "verdict": "Rejected"}, who="carl")
        assert (answer.status_code, "final" in answer.json()["detail"]) == (409, True)
        assert (await held.post(path, {"task": "nothing"}, who="carl")).status_code == 404
        assert (await held.post(path, {"verdict": "Maybe"}, who="carl")).json()["field"] == "verdict"


async def test_discovery(records_url: str) -> None:
    async with gateway(records_url) as held:
        for name, kind, capability, ready in (
            ("rules", "worker", "apply-rules", "True"),
            ("judge", "judge", "judge", "True"),
            ("slow", "worker", "apply-rules", "False"),
        ):
            held.registry.agents.changed(
                "ADDED",
                {
                    "metadata": {"name": name, "namespace": "lab", "uid": name},
                    "spec": {"type": kind, "capabilities": [{"name": capability}], "runtime": {"handler": "a:b"}},
                    "status": {"ready": ready},
                },
            )
        held.registry.agents.changed("ADDED", {"metadata": {"name": "x", "namespace": "other"}, "spec": {}})

        async def names(**query: Any) -> list[str]:
            return [item["name"] for item in (await held.get(f"{NAMESPACE}/agents", **query)).json()["items"]]

        assert await names() == ["judge", "rules", "slow"]
        assert await names(type="worker", capability="apply-rules") == ["rules", "slow"]
        assert await names(capability="apply-rules", ready=True) == ["rules"]
        first = (await held.get(f"{NAMESPACE}/agents", limit=2)).json()
        assert await names(cursor=first["next"]) == ["slow"]
        assert (await held.get(f"{NAMESPACE}/agents/rules")).json()["capabilities"][0]["name"] == "apply-rules"
        assert (await held.get(f"{NAMESPACE}/agents/none")).status_code == 404
        assert (await held.get(f"{NAMESPACE}/agents", type="robot")).json()["field"] == "type"
        held.registry.workflows.changed(
            "ADDED",
            {
                "metadata": {"name": "pipeline", "namespace": "lab"},
                "spec": {"tasks": [{}]},
                "status": {"phase": "Published"},
            },
        )
        found = (await held.get(f"{NAMESPACE}/workflows", published=True)).json()["items"]
        assert [(item["name"], item["phase"], item["tasks"]) for item in found] == [("pipeline", "Published", 1)]


async def test_logs_come_from_the_pod_of_the_task(records_url: str) -> None:
    async with gateway(records_url) as held:
        tasks = {"ingest": {"phase": "Running", "pod": "p1"}, "score": {"phase": "Pending"}}
        put(held, execution("x1", tasks=tasks))
        answer = await held.get(f"{NAMESPACE}/executions/x1/logs")  # of the only task that has a pod
        assert answer.status_code == 404  # the pod is gone
        assert "p1" in answer.json()["detail"]
        assert (await held.get(f"{NAMESPACE}/executions/x1/logs", task="score")).status_code == 404
        assert (await held.get(f"{NAMESPACE}/executions/x1/logs", task="nothing")).status_code == 404
