"""Sockets of those who are signed out, removed, or lose a right: with the sessions and the rights that are asked for.

Whatever ends a session is asked of one replica, and the sockets are at the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ossa.api.gateway import REFRESH
from ossa.bus.frames import Close
from ossa.gateway.authorization import ALLOWED_TTL
from ossa.gateway.signin import agents
from ossa.gateway.signin.sessions import LIVE_TTL, LOCAL_TTL
from tests.unit.gateway.events.guarded import OFTEN, Guarded, guarded
from tests.unit.gateway.lab import EXECUTIONS
from tests.unit.gateway.outages import SEEN_AGENT
from tests.unit.gateway.rest.resources import execution
from tests.unit.gateway.signin.site import THEIRS
from tests.unit.servers import Redis

AUTH = "/api/v1/auth"
# By whom and how: the request, and what it has to say.
ENDED: dict[str, tuple[str, str, Any]] = {
    "signed-out": ("POST", f"{AUTH}/logout", None),
    "all-signed-out": ("DELETE", f"{AUTH}/sessions", None),
    "new-password": ("POST", f"{AUTH}/password", {"old": THEIRS, "new": "another password of theirs"}),
    "ended": ("DELETE", "/api/v1/users/ended/sessions", None),
    "set-password": ("PATCH", "/api/v1/users/set-password", {"password": "a password of the administrator's"}),
    "disabled": ("PATCH", "/api/v1/users/disabled", {"disabled": True}),
    "removed": ("DELETE", "/api/v1/users/removed", None),
}
# Seconds by which a machine that does something else may be late; less than any other bound that could be meant.
LATE = 15.0


@asynccontextmanager
async def site(tmp_path: Path, records_url: str, redis_url: str, **more: Any) -> AsyncIterator[Guarded]:
    async with guarded(tmp_path, records_url=records_url, redis_url=redis_url, **more) as made:
        yield made


async def test_whatever_ends_a_session_ends_its_sockets(tmp_path: Path, records_url: str, redis_url: str) -> None:
    async with site(tmp_path, records_url, redis_url) as made, AsyncExitStack() as stack:
        here, there = made.replicas
        tokens = {name: await made.add(name, "team") for name in (*ENDED, "stays")}
        sockets = {name: await stack.enter_async_context(there.socket(token)) for name, token in tokens.items()}
        for socket in sockets.values():
            await made.lives(socket)
        began = time.monotonic()
        for name, (method, path, body) in ENDED.items():
            own = path.startswith(AUTH)
            await here.ask(method, path, tokens[name] if own else made.admin, body)
        asked = time.monotonic() - began
        closed = await asyncio.gather(*(sockets[name].closed(seconds=30) for name in ENDED))
        took = time.monotonic() - began
        assert {name: code for name, (code, _) in zip(ENDED, closed, strict=True)} == dict.fromkeys(
            ENDED, Close.UNAUTHENTICATED
        )
        assert {reason for _, reason in closed} == {"this session is over; sign in again"}
        assert took < asked + OFTEN.recheck + LOCAL_TTL + LATE < LIVE_TTL
        await made.lives(sockets["stays"])
        assert len(there.hub.subscribers) == 1


async def test_with_redis_away_a_session_that_ended_is_seen_in_postgresql(
    tmp_path: Path, records_url: str, redis: Redis
) -> None:
    async with site(tmp_path, records_url, redis.url) as made:
        here, there = made.replicas
        alice, bob = await made.add("alice", "team"), await made.add("bob", "team")
        async with there.socket(alice) as socket, there.socket(bob) as stays:
            redis.stop()
            await here.ask("POST", f"{AUTH}/logout", alice)
            assert await socket.closed(seconds=LATE + OFTEN.recheck + LOCAL_TTL) == (
                Close.UNAUTHENTICATED,
                "this session is over; sign in again",
            )
            assert len(there.hub.subscribers) == 1
            redis.start()
            await made.lives(stays)


async def test_a_right_that_is_withdrawn_ends_what_it_was_for(tmp_path: Path, records_url: str, redis_url: str) -> None:
    async with site(tmp_path, records_url, redis_url) as made:
        replica = made.replicas[1]
        alice = await made.add("alice", "team", "lab")
        async with replica.socket(alice) as team, replica.socket(alice, "lab") as lab:
            made.cluster.rights.remove(("ossa:alice", "watch", "executions", "team"))
            code, reason = await team.closed(seconds=ALLOWED_TTL + OFTEN.recheck + LATE)
            assert code == Close.FORBIDDEN
            assert reason.startswith("ossa:alice may not watch executions (ossa.dev) in namespace 'team'")
            await made.lives(lab, "lab")


async def test_a_service_account_that_is_gone(
    tmp_path: Path, records_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "GOOD_TTL", 2.0)
    async with site(tmp_path, records_url, redis_url) as made:
        token = SEEN_AGENT
        made.cluster.agents.add(token)
        made.cluster.rights.add(("system:serviceaccount:lab:worker", "watch", "executions", "team"))
        async with made.replicas[0].socket(token) as socket:
            await made.lives(socket)
            made.cluster.agents.clear()
            code, reason = await socket.closed(seconds=agents.GOOD_TTL + OFTEN.recheck + LATE)
            assert (code, "the cluster does not know this token" in reason) == (Close.UNAUTHENTICATED, True)


async def test_a_refreshed_token_over_the_socket_is_the_same_session(
    tmp_path: Path, records_url: str, redis_url: str
) -> None:
    async with site(tmp_path, records_url, redis_url) as made:
        here, there = made.replicas
        await made.add("alice", "team")
        first = await here.signed_in("alice")
        async with there.socket(first["access_token"]) as socket:
            answer = await here.client.post(REFRESH, json={"refresh_token": first["refresh_token"]})
            second = answer.json()["access_token"]
            await socket.send({"type": "token", "token": second})
            await made.lives(socket)
            await here.ask("POST", f"{AUTH}/logout", second)
            assert (await socket.closed(seconds=OFTEN.recheck + LOCAL_TTL + LATE))[0] == Close.UNAUTHENTICATED


async def test_a_token_that_is_over_ends_the_socket_unless_a_newer_one_came(
    tmp_path: Path, records_url: str, redis_url: str
) -> None:
    """It is taken for good for ten seconds longer, by which clocks may differ."""
    async with site(tmp_path, records_url, redis_url, token_lifetime=3.0) as made:
        here, there = made.replicas
        await made.add("alice", "team")
        first = await here.signed_in("alice")
        async with there.socket(first["access_token"]) as renewed, there.socket(first["access_token"]) as left:
            await asyncio.sleep(4.0)
            answer = await here.client.post(REFRESH, json={"refresh_token": first["refresh_token"]})
            await renewed.send({"type": "token", "token": answer.json()["access_token"]})
            code, reason = await left.closed(seconds=10.0 + OFTEN.recheck + LATE)
            assert (code, "expired" in reason) == (Close.UNAUTHENTICATED, True)
            await made.lives(renewed)


async def test_a_command_of_a_session_that_is_over_is_not_carried_out(
    tmp_path: Path, records_url: str, redis_url: str
) -> None:
    """The socket was not looked at yet, and a request over REST would be refused."""
    seldom = replace(OFTEN, recheck=600.0)
    async with site(tmp_path, records_url, redis_url, limits=seldom) as made:
        here, there = made.replicas
        alice = await made.add("alice", "team")
        made.cluster.rights.add(("ossa:alice", "update", "executions", "team"))
        made.cluster.create(EXECUTIONS.format("team"), execution("x1"))
        command = {"type": "command", "action": "pause", "namespace": "team", "execution": "x1"}
        async with there.socket(alice) as socket:
            await socket.send({**command, "id": "1"})
            assert (await socket.of("answer"))["status"] == 200
            await here.ask("POST", f"{AUTH}/logout", alice)
            await asyncio.sleep(LOCAL_TTL)
            await socket.send({**command, "id": "2", "action": "cancel"})
            answer = await socket.of("answer")
        assert (answer["id"], answer["status"]) == ("2", 401)
        assert answer["body"]["detail"] == "this session is over; sign in again"
        (held,) = made.cluster.executions("team")
        assert (held["spec"].get("suspend"), held["spec"].get("cancel")) == (True, None)
        kept = [(entry.verb, entry.outcome, entry.namespace, entry.name) for entry in there.book.entries[-3:]]
        assert kept == [
            ("pause", "asked", "team", "x1"),
            ("pause", "allowed", "team", "x1"),
            ("cancel", "denied", "team", "x1"),
        ]


async def test_an_api_server_that_hangs_holds_up_no_heartbeat(tmp_path: Path, records_url: str, redis_url: str) -> None:
    limits = replace(OFTEN, unknown=1.0)
    async with site(tmp_path, records_url, redis_url, limits=limits) as made:
        alice = await made.add("alice", "team")
        async with made.replicas[0].socket(alice) as socket:
            made.cluster.answering.clear()
            # What it said last is good for a while. Who asks it would say later, and otherwise, that it is away.
            closed = await socket.closed(seconds=ALLOWED_TTL + limits.recheck + limits.unknown + LATE)
        assert closed == (Close.TRY_LATER, "it was not known for too long whether you may follow this")
