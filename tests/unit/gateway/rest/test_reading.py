"""Executions: lists, one, its tasks; and who may see them."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.gateway.authorization import ALLOWED_TTL, SEEN_TTL, SubjectAccess
from tests.unit.gateway.rest.resources import (
    NAMESPACE,
    execution,
    gateway,
    put,
    record,
)
from tests.unit.gateway.serving import raw
from tests.unit.servers import Postgres


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
