"""Steering, and approvals."""

from __future__ import annotations

from tests.unit.gateway.rest.resources import (
    APPROVALS,
    EDITOR,
    NAMESPACE,
    approval,
    execution,
    gateway,
    put,
)


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


async def test_approvals(records_url: str) -> None:
    async with gateway(records_url) as held:
        first = approval("a1")
        first["spec"]["authors"] = ["ossa:alice", "ossa:dora"]
        for item in (first, approval("a2", "other")):
            held.cluster.create(APPROVALS.format("lab"), item)
        held.people.add("dora", *EDITOR, groups=("ossa:board",))
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
        refused = {"eve": "you are none of them", "alice": "you are the author", "dora": "you had a hand in"}
        for who, said in refused.items():
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
