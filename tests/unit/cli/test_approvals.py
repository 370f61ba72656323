"""`ossa approvals`, `approve` and `reject` as they are typed; who may decide is tested end to end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ossa.engine.clock import to_text
from tests.unit.cli.terminal import OSSA, Cluster, Terminal, kubeconfig

USER = "system:serviceaccount:team:robot"
REFUSAL = "admission denied: you are the author of this Execution, who may not decide about it; ask another approver"


def approval(name: str, task: str, *, state: str = "Pending", minutes: int = 5, **more: Any) -> dict[str, Any]:
    """An Approval of the Execution x1, made some minutes ago; the items of a list have no kind."""
    now = datetime.now(UTC)
    spec = {
        "execution": {"name": "x1", "uid": "u1"},
        "task": task,
        "message": "Release\nnow?",
        "approverGroups": ["risk-board"],
        "author": "alice",
        "expiresAt": to_text(now + timedelta(hours=2, seconds=30)),
    }
    made = to_text(now - timedelta(minutes=minutes))
    metadata = {"name": name, "namespace": "default", "creationTimestamp": made, "uid": name}
    return {"metadata": metadata, "spec": spec, "decisions": {}, "status": {"state": state}, **more}


@dataclass
class People(Cluster):
    """An API server with Approvals."""

    approvals: list[dict[str, Any]] = field(default_factory=list)
    patched: list[Any] = field(default_factory=list)
    selectors: list[str | None] = field(default_factory=list)
    refuses: bool = False

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(f"{OSSA}/namespaces/default/approvals", self.list_approvals)
        app.router.add_patch(f"{OSSA}/namespaces/default/approvals/{{name}}", self.patch)
        app.router.add_post("/apis/authentication.k8s.io/v1/selfsubjectreviews", self.review)
        return app

    async def list_approvals(self, request: web.Request) -> web.Response:
        self.selectors.append(request.query.get("labelSelector"))
        return web.json_response({"items": self.approvals})

    async def review(self, _: web.Request) -> web.Response:
        return web.json_response({"status": {"userInfo": {"username": USER}}}, status=201)

    async def patch(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.patched.append((request.match_info["name"], request.content_type, body))
        if self.refuses:
            said = {"kind": "Status", "reason": "Invalid", "message": REFUSAL}
            return web.json_response(said, status=422)
        item = next(a for a in self.approvals if a["metadata"]["name"] == request.match_info["name"])
        item["decisions"].update(body["decisions"])
        return web.json_response(item)


@pytest.fixture
async def people() -> People:
    return People()


@pytest.fixture
async def terminal(tmp_path: Path, people: People) -> AsyncIterator[Terminal]:
    typed = Terminal(tmp_path / "kubeconfig", people)
    await typed.start()
    (tmp_path / "kubeconfig").write_text(kubeconfig(str(typed.server.make_url("")).rstrip("/")))
    yield typed
    await typed.server.close()


async def test_what_waits_is_shown(terminal: Terminal, people: People) -> None:
    assert (await terminal.ossa("approvals")).out == "Nothing waits for an approval in namespace 'default'.\n"
    people.approvals = [
        approval("x1-b", "b", minutes=2, decisions={"bob": {"verdict": "Approved"}}),
        approval("x1-a", "a", minutes=3, state="Rejected"),
        approval("x1-c", "c", minutes=90),
    ]
    head, *rows = (await terminal.ossa("approvals")).out.splitlines()
    assert head.split("   ")[0] == "EXECUTION"
    # The newest last; a line break of the message does not break the line.
    assert [row.split()[:4] for row in rows] == [["x1", "c", "0/1", "risk-board"], ["x1", "b", "1/1", "risk-board"]]
    assert rows[0].split()[4].startswith(("1h30m", "1h31m"))  # by a machine that is busy for a minute
    assert rows[0].split()[-2:] == ["Release", "now?"]
    first, second = json.loads((await terminal.ossa("approvals", "-o", "json")).out)
    assert (first["task"], second["task"]) == ("c", "b")
    assert (second["needed"], second["decisions"]) == (1, {"bob": {"verdict": "Approved", "reason": ""}})


async def test_one_s_own_entry_is_added_to_the_newest(terminal: Terminal, people: People) -> None:
    people.approvals = [approval("old", "a", minutes=9), approval("new", "a", minutes=1), approval("other", "b")]
    ended = await terminal.ossa("approve", "x1", "a", "--reason", "tested it")
    assert (ended.code, ended.out) == (0, f"approval.ossa.dev/new approved by {USER} (1 of 1)\n"), ended.err
    entry = {USER: {"verdict": "Approved", "reason": "tested it"}}
    assert people.patched == [("new", "application/merge-patch+json", {"decisions": entry})]
    assert people.selectors == ["ossa.dev/execution=x1"]

    again = await terminal.ossa("approve", "x1", "a")
    assert again.out == f"approval.ossa.dev/new already approved by {USER} (1 of 1)\n"
    changed = await terminal.ossa("reject", "x1", "a")
    assert (changed.code, changed.err) == (
        4,
        f"ossa: You ({USER}) have approved this already, and a decision is final.\n",
    )
    assert len(people.patched) == 1

    ended = await terminal.ossa("reject", "x1", "b", "-o", "json")
    assert json.loads(ended.out)["decisions"] == {USER: {"verdict": "Rejected", "reason": ""}}
    assert people.patched[-1] == (
        "other",
        "application/merge-patch+json",
        {"decisions": {USER: {"verdict": "Rejected"}}},
    )


async def test_what_cannot_be_decided_ends_with_4_and_says_why(terminal: Terminal, people: People) -> None:
    people.approvals = [
        approval("x1-a", "a"),
        approval("x1-b", "b", status={"state": "Expired", "message": "no approval was given"}),
    ]
    people.refuses = True
    for arguments, words in [
        (("approve", "x1", "a"), REFUSAL),
        (("approve", "x1", "b"), "Task 'b' of execution 'x1' waits no more, it is Expired: no approval was given"),
        (
            ("approve", "x1", "c"),
            "Task 'c' of execution 'x1' does not wait for an approval. It waits for an approval of: a",
        ),
        (
            ("reject", "x2", "a"),
            "Task 'a' of execution 'x2' does not wait for an approval. See what does: ossa approvals",
        ),
    ]:
        ended = await terminal.ossa(*arguments)
        assert (ended.code, words in ended.err) == (4, True), ended
