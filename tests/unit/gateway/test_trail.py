"""Whatever may change something is in the audit trail, by each operation that the gateway publishes; refusals too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg

from ossa.api.gateway import AUDIT_EVENTS, SIGN_IN
from tests.bench.gateway.running import USER, Gateway, serving_with
from tests.unit.audit.test_kubernetes import event
from tests.unit.gateway.lab import EXECUTIONS, Cluster
from tests.unit.gateway.rest.resources import APPROVALS, approval, execution
from tests.unit.gateway.test_process import kubeconfig, servers

__all__ = ["servers"]
AUTH, USERS = "/api/v1/auth", "/api/v1/users"
EXECUTION = "/api/v1/namespaces/{namespace}/executions/{name}"
WORK = {"namespace": "lab", "workflow": "pipeline"}
BOB, THEIRS, NEW = "bob", "a password of theirs", "another password of theirs"
NOBODY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A request that changes something. `as_new`: signed in afresh, since it ends the session that it is asked with."""

    operation: str  # as published
    body: Any = None
    verb: str = ""  # as the trail has it
    values: Mapping[str, str] = field(default_factory=dict)  # of the path's parameters
    as_new: bool = False
    rights: bool = True  # it takes some, and not only to be signed in

    @property
    def unread(self) -> str:
        """The verb while it is not known who asks: of the path no more is read then than which route it is."""
        return "steer" if "{action}" in self.operation else self.verb

    @property
    def method(self) -> str:
        return self.operation.partition(" ")[0]

    @property
    def path(self) -> str:
        """With its parameters."""
        return self.operation.partition(" ")[2].format(**{"namespace": "lab", **self.values})


def steered(action: str, name: str = "x1") -> Change:
    return Change(operation=f"POST {EXECUTION}/{{action}}", values={"name": name, "action": action}, verb=action)


# In this order.
CHANGES = [
    Change(operation="POST /orchestrate", body=WORK, verb="orchestrate"),
    Change(operation="POST /api/v1/orchestrate", body=WORK, verb="orchestrate"),
    *(steered(action) for action in ("pause", "resume", "cancel")),
    steered("retry", "failed"),
    steered("rerun", "done"),
    Change(operation=f"POST {EXECUTION}/approve", values={"name": "x1"}, body={"task": "release"}, verb="approve"),
    Change(operation=f"POST {USERS}", body={"name": "carl", "password": THEIRS}, verb="create"),
    Change(operation=f"PATCH {USERS}/{{name}}", values={"name": "carl"}, body={"groups": ["team"]}, verb="update"),
    Change(operation=f"DELETE {USERS}/{{name}}/sessions", values={"name": "carl"}, verb="end_sessions"),
    Change(operation=f"DELETE {USERS}/{{name}}", values={"name": "carl"}, verb="delete"),
    Change(operation=f"POST {AUDIT_EVENTS}", body=event(), verb="take_events"),
    Change(operation=f"DELETE {AUTH}/sessions/{{name}}", as_new=True, rights=False, verb="end_session"),
    Change(operation=f"POST {AUTH}/logout", as_new=True, rights=False, verb="sign_out"),
    Change(operation=f"DELETE {AUTH}/sessions", as_new=True, rights=False, verb="sign_out_everywhere"),
    Change(
        operation=f"POST {AUTH}/password",
        body={"old": THEIRS, "new": NEW},
        as_new=True,
        rights=False,
        verb="change_password",
    ),
]
# Whoever is not signed in yet asks for these; a refresh that works gives nothing new.
OPEN = {f"POST {AUTH}/login", f"POST {AUTH}/refresh"}


@dataclass
class Asking:
    """Requests, and what the trail is to have of them: verb, outcome and user, by the id of the request."""

    session: aiohttp.ClientSession
    expected: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    async def sign_in(self, name: str, password: str) -> tuple[dict[str, str], str]:
        """Headers of somebody, and their session."""
        async with self.session.post(SIGN_IN, json={"name": name, "password": password}) as answer:
            assert answer.status == 200, await answer.text()
            told = await answer.json()
            self.expected[answer.headers["X-Request-Id"]] = ("sign-in", "allowed", f"ossa:{name}")
            return {"Authorization": f"Bearer {told['access_token']}"}, told["session"]

    async def change(self, change: Change, headers: Mapping[str, str], *entry: str) -> int:
        """The status."""
        async with self.session.request(change.method, change.path, json=change.body, headers=headers) as answer:
            await answer.read()
            verb, outcome, user = entry
            self.expected[answer.headers["X-Request-Id"]] = (verb, outcome, user)
            return answer.status


async def trail(url: str) -> dict[str, tuple[str, str, str]]:
    """How requests ended, as it stands in PostgreSQL."""
    records = await asyncpg.connect(url)
    try:
        rows = await records.fetch("SELECT id, verb, outcome, \"user\" FROM audit WHERE outcome != 'asked'")
        return {row["id"]: (row["verb"], row["outcome"], row["user"]) for row in rows}
    finally:
        await records.close()


def filled() -> Cluster:
    """With what is to be changed; bob may do nothing there."""
    cluster = Cluster()
    cluster.allowed = lambda user, _: user == f"ossa:{USER}"
    for name, phase in (("x1", "Running"), ("failed", "Failed"), ("done", "Completed")):
        cluster.create(EXECUTIONS.format("lab"), execution(name, phase=phase, revision="r"))
    asked = approval("a1")
    asked["spec"]["approverUsers"] = [f"ossa:{USER}"]
    cluster.create(APPROVALS.format("lab"), asked)
    return cluster


async def test_each_operation_leaves_an_entry(tmp_path: Path, servers: tuple[str, str]) -> None:
    """One process for all of them, because it takes seconds to start."""
    async with filled().served() as config:
        path = kubeconfig(tmp_path, config.server)
        async with (
            serving_with(tmp_path, *servers, KUBECONFIG=str(path)) as held,
            aiohttp.ClientSession(held.url) as session,
        ):
            await every_operation_is_here(session)
            asking = Asking(session)
            await all_are_refused(asking, held)
            await all_are_done(asking, held)
    # Refusals are answered before they are written down, and all that is to be written is at the end of the process.
    told = await trail(servers[0])
    assert {id_: told.get(id_) for id_ in asking.expected} == asking.expected
    assert len(asking.expected) > 2 * len(CHANGES)


async def every_operation_is_here(session: aiohttp.ClientSession) -> None:
    async with session.get("/openapi.json") as answer:
        paths = (await answer.json())["paths"]
    published = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    changes = {operation for operation in published if not operation.startswith(("GET ", "HEAD "))}
    assert changes == {change.operation for change in CHANGES} | OPEN


async def all_are_refused(asking: Asking, held: Gateway) -> None:
    """To nobody in particular, and to one who lacks the right."""
    admin, _ = await asking.sign_in(USER, held.password)
    add = Change(operation=f"POST {USERS}", body={"name": BOB, "password": THEIRS})
    assert await asking.change(add, admin, "create", "allowed", f"ossa:{USER}") == 201
    bob, _ = await asking.sign_in(BOB, THEIRS)
    for change in CHANGES:
        asked = replace(change, values={"name": str(uuid4()), **change.values})
        assert await asking.change(asked, NOBODY, asked.unread, "denied", "") == 401, change.operation
        if change.rights:
            assert await asking.change(asked, bob, asked.verb, "denied", f"ossa:{BOB}") == 403, change.operation
    wrong = Change(operation=f"POST {AUTH}/login", body={"name": BOB, "password": NEW})
    assert await asking.change(wrong, NOBODY, "sign-in", "denied", "") == 401
    unknown = Change(operation=f"POST {AUTH}/refresh", body={"refresh_token": "0" * 64})
    assert await asking.change(unknown, NOBODY, "refresh", "denied", "") == 401


async def all_are_done(asking: Asking, held: Gateway) -> None:
    """For who may; each that ends sessions by bob, who signs in anew."""
    admin, _ = await asking.sign_in(USER, held.password)
    for change in CHANGES:
        headers, user, asked = admin, USER, change
        if change.as_new:
            headers, session = await asking.sign_in(BOB, THEIRS)
            user, asked = BOB, replace(change, values={"name": session})
        assert await asking.change(asked, headers, asked.verb, "allowed", f"ossa:{user}") < 300, change.operation
