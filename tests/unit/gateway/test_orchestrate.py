"""POST /orchestrate: written down, carried out once, refused in the cluster's own words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from ossa.gateway.orchestrate import creating
from tests.unit.controllers.apiserver import failure
from tests.unit.gateway.lab import CREATE, lab
from tests.unit.servers import Postgres

BODY = {"namespace": "lab", "workflow": "pipeline", "inputs": {"dataset": "wine"}}
PATH = "/api/v1/orchestrate"


async def test_it_is_accepted(records_url: str) -> None:
    async with lab(records_url) as gateway:
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        for path in ("/orchestrate", PATH):
            answer = await gateway.post(path, BODY, traceparent=parent)
            assert answer.status_code == 202
        told = answer.json()
        assert (told["state"], told["namespace"], told["traceId"]) == ("Created", "lab", parent.split("-")[1])
        made = next(item for item in gateway.cluster.executions() if item["metadata"]["name"] == told["execution"])
        assert made["spec"] == {"workflow": "pipeline", "inputs": {"dataset": "wine"}}
        assert made["metadata"]["annotations"]["ossa.dev/author"] == "ossa:alice"
        assert made["metadata"]["annotations"]["ossa.dev/request-id"] == told["id"]
        assert made["metadata"]["annotations"]["ossa.dev/traceparent"].startswith(parent[:36])
        assert answer.headers["location"] == f"/api/v1/namespaces/lab/executions/{told['execution']}"
        await gateway.acceptor.drained()
        assert [row["state"] for row in await gateway.rows()] == ["done", "done"]
        assert len(gateway.cluster.executions()) == 2  # without a key each request is its own
        entry = gateway.book.entries[-1]
        assert (entry.user, entry.verb, entry.resource, entry.namespace, entry.name, entry.outcome, entry.status) == (
            *("ossa:alice", "orchestrate", "executions", "lab", told["execution"], "allowed", 202),
        )
        asked = await gateway.get(f"/api/v1/requests/{told['id']}")
        assert (asked.json()["state"], asked.json()["uid"]) == ("Created", made["metadata"]["uid"])
        gateway.people.add("bob")
        assert (await gateway.get(f"/api/v1/requests/{told['id']}", who="bob")).status_code == 404


async def test_an_inline_workflow_is_passed_on(records_url: str) -> None:
    async with lab(records_url) as gateway:
        inline = {"tasks": [{"name": "ingest", "agent": "ingest"}]}
        answer = await gateway.post(PATH, {"namespace": "lab", "workflowSpec": inline})
        assert answer.status_code == 202
        (made,) = gateway.cluster.executions()
        assert made["spec"] == {"workflowSpec": inline}


async def test_the_same_key_is_the_same_request(records_url: str) -> None:
    """One after the other, and all at once."""
    async with lab(records_url) as gateway:
        first = await gateway.post(PATH, BODY, Idempotency_Key="k")
        many = await asyncio.gather(*(gateway.post(PATH, BODY, Idempotency_Key="k2") for _ in range(20)))
        again = await gateway.post(PATH, {**dict(reversed(BODY.items()))}, Idempotency_Key="k")
        assert {answer.status_code for answer in (first, again, *many)} == {202}
        assert first.json() == again.json() | {"traceId": first.json()["traceId"]}
        assert len({answer.json()["execution"] for answer in many}) == 1
        assert len(gateway.cluster.executions()) == 2

        other = await gateway.post(PATH, {**BODY, "inputs": {}}, Idempotency_Key="k")
        assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
        # The key is its user's, in a namespace.
        gateway.people.add("bob", CREATE)
        gateway.people.add("alice", CREATE, ("create", "executions", "other"))
        assert (await gateway.post(PATH, {**BODY, "inputs": {}}, Idempotency_Key="k", who="bob")).status_code == 202
        assert (await gateway.post(PATH, {**BODY, "namespace": "other"}, Idempotency_Key="k")).status_code == 202
        assert len(gateway.cluster.executions()) == 3


async def test_the_key_is_known_where_postgresql_has_lost_it(records_url: str) -> None:
    async with lab(records_url) as gateway:
        first = await gateway.post(PATH, BODY, Idempotency_Key="k")
        await gateway.acceptor.drained()
        async with gateway.records.connection() as connection:
            await connection.execute("DELETE FROM requests")
        again = await gateway.post(PATH, BODY, Idempotency_Key="k")
        assert (again.status_code, again.json()["uid"]) == (202, first.json()["uid"])
        async with gateway.records.connection() as connection:
            await connection.execute("DELETE FROM requests")
        other = await gateway.post(PATH, {**BODY, "inputs": {}}, Idempotency_Key="k")
        assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
        assert len(gateway.cluster.executions()) == 1


async def test_an_execution_of_somebody_else_is_not_taken_for_ours(records_url: str) -> None:
    """Who knows user, namespace and key can guess the name and the id, but not be another author."""
    async with lab(records_url) as gateway:
        first = (await gateway.post(PATH, BODY, Idempotency_Key="k")).json()
        await gateway.acceptor.drained()
        async with gateway.records.connection() as connection:
            await connection.execute("DELETE FROM requests")
        item = gateway.cluster.executions()[0]
        item["metadata"]["annotations"] |= {"ossa.dev/author": "ossa:mallory", "ossa.dev/created-by": "ossa:mallory"}
        answer = await gateway.post(PATH, BODY, Idempotency_Key="k")
        assert answer.status_code == 422
        # While it stays ours where somebody else has changed it, as one who pauses it does.
        item["metadata"]["annotations"] |= {"ossa.dev/author": "ossa:bob", "ossa.dev/created-by": "ossa:alice"}
        answer = await gateway.post(PATH, BODY, Idempotency_Key="k")
        assert (answer.status_code, answer.json()["uid"]) == (202, first["uid"])


WEBHOOK = 'admission webhook "policies-executions.ossa.dev" denied the request: '
REFUSALS: list[tuple[web.Response, int, dict[str, str], str]] = [
    (
        failure(403, "Forbidden", f"{WEBHOOK}policy 'no-wine': wine is not for everybody"),
        403,
        {"policy": "no-wine"},
        "policy 'no-wine': wine is not for everybody",
    ),
    (
        failure(422, "Invalid", f"{WEBHOOK}spec.inputs.dataset: artifacts may not come in"),
        422,
        {"field": "inputs.dataset"},
        "spec.inputs.dataset: artifacts may not come in",
    ),
    (
        failure(
            422,
            "Invalid",
            "executions.ossa.dev \"run-1\" is forbidden: ValidatingAdmissionPolicy 'ours' with binding 'ours' denied "
            "request: not on a Friday",
        ),
        422,
        {"policy": "ours"},
        "not on a Friday",
    ),
    (failure(404, "NotFound", 'namespaces "lab" not found'), 404, {}, 'namespaces "lab" not found'),
    (failure(403, "Forbidden", "exceeded quota: q"), 403, {}, "exceeded quota: q"),
]


@pytest.mark.parametrize(("refusal", "status", "more", "detail"), REFUSALS)
async def test_a_refusal_reaches_the_client(
    records_url: str, refusal: web.Response, status: int, more: dict[str, str], detail: str
) -> None:
    async with lab(records_url) as gateway:
        gateway.cluster.admit = lambda _: failure_like(refusal)
        answer = await gateway.post(PATH, BODY, Idempotency_Key="k")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json().items() >= {"status": status, "detail": detail, **more}.items()
        assert answer.status_code == status
        assert [row["state"] for row in await gateway.rows()] == ["refused"]
        assert gateway.book.entries[-1].status == status
        # A refusal is no result to be repeated for ever: once its cause is gone, the same request goes through.
        await gateway.carried_out()
        assert gateway.cluster.executions() == []
        gateway.cluster.admit = lambda _: None
        assert (await gateway.post(PATH, BODY, Idempotency_Key="k")).status_code == 202
        assert len(gateway.cluster.executions()) == 1


def failure_like(answer: web.Response) -> web.Response:
    """A response can be sent once."""
    return web.Response(body=answer.body, status=answer.status, content_type="application/json")


async def test_a_dead_webhook_is_asked_again(records_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creating, "PAUSES", (0.01, 0.01))
    async with lab(records_url) as gateway:
        left = 2

        def dead(_: dict[str, Any]) -> web.Response | None:
            nonlocal left
            left -= 1
            return failure(500, "InternalError", "failed calling webhook") if left >= 0 else None

        gateway.cluster.admit = dead
        assert (await gateway.post(PATH, BODY)).json()["state"] == "Created"
        left = 1000
        answer = await gateway.post(PATH, BODY)
        assert (answer.status_code, answer.json()["state"], "uid" in answer.json()) == (202, "Accepted", False)
        assert len(gateway.cluster.executions()) == 1
        left = 0
        await gateway.carried_out()
        assert len(gateway.cluster.executions()) == 2
        asked = await gateway.get(f"/api/v1/requests/{answer.json()['id']}")
        assert asked.json()["state"] == "Created"


async def test_with_the_api_server_away(records_url: str) -> None:
    """Who was seen lately is accepted, up to a bound; permission is asked for again when it is carried out."""
    async with lab(records_url, max_open_requests=2) as gateway:
        gateway.people.add("bob", CREATE)
        await gateway.post(PATH, BODY)
        while [row["state"] for row in await gateway.rows()] != ["done"]:  # noqa: ASYNC110 - closed after the answer
            await asyncio.sleep(0.01)
        gateway.cluster.stopped = gateway.people.cluster_away = True
        unseen = await gateway.post(PATH, BODY, who="bob")
        assert (unseen.status_code, len(await gateway.rows())) == (503, 1)

        first = await gateway.post(PATH, BODY, Idempotency_Key="k")
        again = await gateway.post(PATH, BODY, Idempotency_Key="k")
        other = await gateway.post(PATH, {**BODY, "priority": 7}, Idempotency_Key="k")
        second = await gateway.post(PATH, BODY)
        assert [first.status_code, again.status_code, other.status_code, second.status_code] == [202, 202, 422, 202]
        assert first.json()["state"] == again.json()["state"] == "Accepted"
        third = await gateway.post(PATH, BODY)
        assert (third.status_code, "Retry-After" in third.headers) == (503, True)
        # What was accepted before is told of also where no more is accepted.
        repeated = await gateway.post(PATH, BODY, Idempotency_Key="k")
        assert (repeated.status_code, repeated.json()["id"]) == (202, first.json()["id"])
        assert len(await gateway.rows()) == 3
        await gateway.carried_out()  # in vain
        assert [row["state"] for row in await gateway.rows()] == ["done", "open", "open"]

        gateway.cluster.stopped = gateway.people.cluster_away = False
        gateway.people.add("bob", CREATE)
        await gateway.carried_out()
        assert [row["state"] for row in await gateway.rows()] == ["done"] * 3
        assert len(gateway.cluster.executions()) == 3
        carried = [entry for entry in gateway.book.entries if entry.verb == "carry-out"]
        assert {(entry.user, entry.outcome) for entry in carried} == {("ossa:alice", "allowed")}


async def test_admission_that_has_not_read_its_policies_yet_refuses_nobody(records_url: str) -> None:
    """An API server that has just started says so, in the words of a refusal."""
    async with lab(records_url) as gateway:
        words = 'executions.ossa.dev "run-1" is forbidden: not yet ready to handle request'
        gateway.cluster.admit = lambda _: failure(403, "Forbidden", words)
        answer = await gateway.post(PATH, BODY)
        assert (answer.status_code, answer.json()["state"]) == (202, "Accepted")
        gateway.cluster.admit = lambda _: None
        await gateway.carried_out()
        assert [row["state"] for row in await gateway.rows()] == ["done"]
        assert len(gateway.cluster.executions()) == 1


async def test_who_lost_the_right_meanwhile_is_refused(records_url: str) -> None:
    async with lab(records_url) as gateway:
        await gateway.post(PATH, BODY)
        gateway.cluster.stopped = gateway.people.cluster_away = True
        accepted = (await gateway.post(PATH, BODY)).json()
        gateway.cluster.stopped = gateway.people.cluster_away = False
        gateway.people.rights.clear()
        await gateway.carried_out()
        assert len(gateway.cluster.executions()) == 1
        asked = (await gateway.get(f"/api/v1/requests/{accepted['id']}")).json()
        assert (asked["state"], asked["problem"]["status"]) == ("Refused", 403)
        assert gateway.book.entries[-1].outcome == "denied"


async def test_the_answer_of_the_api_server_is_lost(records_url: str) -> None:
    """The Execution was made, and nobody heard of it: it is found, and not made again."""
    async with lab(records_url) as gateway:
        gateway.cluster.created = lambda _, __: setattr(gateway.cluster, "stopped", True)
        gateway.cluster.admit = lambda _: None
        original = gateway.cluster._post

        def broken(path: str, item: dict[str, Any]) -> web.Response:
            original(path, item)
            return failure(504, "Timeout")

        gateway.cluster._post = broken  # type: ignore[method-assign]
        accepted = await gateway.post(PATH, BODY)
        assert (accepted.status_code, accepted.json()["state"]) == (202, "Accepted")
        gateway.cluster.stopped = False
        gateway.cluster._post = original  # type: ignore[method-assign]
        await gateway.carried_out()
        assert len(gateway.cluster.executions()) == 1
        assert [row["state"] for row in await gateway.rows()] == ["done"]


async def test_with_postgresql_away_nothing_is_accepted(records_url: str, postgres: Postgres) -> None:
    async with lab(records_url) as gateway:
        assert (await gateway.post(PATH, BODY)).status_code == 202
        await gateway.acceptor.drained()
        postgres.kill()
        answer = await gateway.post(PATH, BODY, Idempotency_Key="k")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "PostgreSQL" in answer.json()["detail"]
        assert len(gateway.cluster.executions()) == 1
        postgres.start()
        for _ in range(50):
            answer = await gateway.post(PATH, BODY, Idempotency_Key="k")
            if answer.status_code == 202:
                break
            await asyncio.sleep(0.1)
        assert answer.status_code == 202
        assert len(gateway.cluster.executions()) == 2


async def test_what_is_closed_is_forgotten_after_a_while(records_url: str) -> None:
    async with lab(records_url, keep_requests=0.0) as gateway:
        await gateway.post(PATH, BODY, Idempotency_Key="k")
        await gateway.acceptor.drained()
        await gateway.carried_out()
        assert await gateway.rows() == []
