"""Sockets and the client at a whole gateway: commands, snapshots, and what is asked over REST beside them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.asyncio.client import connect

from ossa.api.gateway import EVENTS, OrchestrateRequest
from ossa.bus.connection import connect as connect_bus
from ossa.bus.messages import EVENTS as STREAM
from ossa.bus.publisher import Posting, Publisher
from ossa.bus.reader import Reader
from ossa.client import BEGINNING, Anew, AsyncGateway, Conflict, FixedToken, Forbidden, NotFound
from ossa.gateway.events.checking import Checker
from ossa.gateway.events.commands import RestCommands
from ossa.gateway.events.hub import Hub
from ossa.gateway.events.metrics import Metrics
from ossa.gateway.events.routes import follow, routes
from ossa.gateway.events.snapshots import Standings
from ossa.gateway.routers import rest
from tests.unit.client.scripted import Either
from tests.unit.gateway.events.serving import Socket, event
from tests.unit.gateway.lab import CREATE, EXECUTIONS, Lab, lab
from tests.unit.gateway.serving import served
from tests.unit.waiting import until

RIGHTS = [
    *((verb, "executions", "lab") for verb in ("get", "list", "watch", "update")),
    *((verb, kind, "lab") for verb in ("get", "list", "patch") for kind in ("approvals", "agents", "workflows")),
    ("get", "executions/logs", "lab"),
    CREATE,
]
INLINE = {"namespace": "lab", "workflow": "pipeline"}


@dataclass
class Whole:
    """A gateway whose alice may do everything in namespace lab."""

    lab: Lab
    hub: Hub
    publisher: Publisher
    url: str

    @asynccontextmanager
    async def socket(self, **start: Any) -> AsyncIterator[Socket]:
        async with connect(self.url.replace("http", "ws") + EVENTS, compression=None) as connection:
            socket = Socket(connection)
            await socket.send({"type": "start", "token": "alice", "namespace": "lab", **start})
            await socket.of("hello")
            yield socket

    def put(self, name: str, **status: Any) -> None:
        """An Execution of the cluster."""
        item = {
            "apiVersion": "ossa.dev/v1alpha1",
            "kind": "Execution",
            "metadata": {"name": name, "namespace": "lab"},
            "spec": {"workflow": "pipeline"},
            "status": {"phase": "Running", "tasks": {"ingest": {"phase": "Running", "attempt": 1}}, **status},
        }
        self.lab.cluster.create(EXECUTIONS.format("lab"), item)


@asynccontextmanager
async def whole(records_url: str, redis_url: str) -> AsyncIterator[Whole]:
    bus = connect_bus(redis_url, name="test")
    async with lab(records_url) as held:
        held.people.add("alice", *RIGHTS)
        held.people.add("bob")
        c = held.collaborators
        hub = Hub(reader=Reader(bus, STREAM), snapshots=Standings(c.api), metrics=Metrics(c.metrics.registry))
        checker = Checker(hub, c.authenticator, c.authorizer)
        sockets = routes(hub, checker, limiter=c.limiter, commands=RestCommands(c, held.acceptor))
        routers = [*rest(c, held.acceptor, held.registry), sockets]
        task = asyncio.create_task(follow(hub, checker))
        try:
            await until(lambda: hub.ready)
            async with served(routers, settings=held.settings, metrics=held.metrics) as port:
                yield Whole(held, hub, Publisher(bus), f"http://127.0.0.1:{port}")
                await hub.drain()
        finally:
            task.cancel()
            await bus.aclose()


async def test_orchestrate_over_a_socket_is_what_it_is_over_rest(records_url: str, redis_url: str) -> None:
    async with whole(records_url, redis_url) as gateway, gateway.socket() as socket:
        command = {"type": "command", "action": "orchestrate", "key": "k1", "body": INLINE}
        for name in ("1", "2"):
            await socket.send({**command, "id": name})
        first, second = [await socket.of("answer") for _ in range(2)]
        assert (first["status"], second["status"]) == (202, 202)
        assert first["body"]["execution"] == second["body"]["execution"]
        again = await gateway.lab.post("/orchestrate", INLINE, Idempotency_Key="k1")
        assert again.json()["execution"] == first["body"]["execution"]
        assert [item["metadata"]["name"] for item in gateway.lab.cluster.executions()] == [first["body"]["execution"]]
        entry = gateway.lab.book.entries[0]
        assert (entry.user, entry.verb, entry.namespace, entry.status) == ("ossa:alice", "orchestrate", "lab", 202)


async def test_the_execution_says_that_it_came_by_a_socket(records_url: str, redis_url: str) -> None:
    """Whoever makes it: the API server was away when one was asked for."""
    async with whole(records_url, redis_url) as gateway, gateway.socket() as socket:
        await socket.send({"type": "command", "id": "1", "action": "orchestrate", "body": INLINE})
        assert (await socket.of("answer"))["body"]["state"] == "Created"
        gateway.lab.cluster.stopped = gateway.lab.people.cluster_away = True
        await socket.send({"type": "command", "id": "2", "action": "orchestrate", "body": INLINE})
        assert (await socket.of("answer"))["body"]["state"] == "Accepted"
        gateway.lab.cluster.stopped = gateway.lab.people.cluster_away = False
        await gateway.lab.carried_out()
        await gateway.lab.post("/orchestrate", INLINE)
        made = [item["metadata"]["annotations"] for item in gateway.lab.cluster.executions()]
        assert sorted(held.get("ossa.dev/source", "") for held in made) == ["", "websocket", "websocket"]


async def test_steering_over_a_socket(records_url: str, redis_url: str) -> None:
    async with whole(records_url, redis_url) as gateway, gateway.socket() as socket:
        gateway.put("run-1")
        command = {"type": "command", "namespace": "lab", "execution": "run-1"}
        for action, field, value in (
            ("pause", "suspend", True),
            ("resume", "suspend", False),
            ("cancel", "cancel", True),
        ):
            await socket.send({**command, "id": action, "action": action})
            answer = await socket.of("answer")
            assert (answer["id"], answer["status"], answer["body"][field]) == (action, 200, value)
        await socket.send({**command, "id": "x", "action": "pause"})
        assert (await socket.of("answer"))["status"] == 409
        await socket.send({**command, "id": "x", "action": "pause", "execution": "none"})
        assert (await socket.of("answer"))["status"] == 404
        await socket.send({**command, "id": "x", "action": "pause", "namespace": "other"})
        assert (await socket.of("answer"))["status"] == 403
        await socket.send({**command, "id": "x", "action": "orchestrate", "body": {"workflow": 1}})
        answer = await socket.of("answer")
        assert answer["status"] == 422
        assert "body.workflow" in answer["body"]["detail"]
        verbs = [(entry.verb, entry.outcome) for entry in gateway.lab.book.entries]
        assert verbs[:6] == [
            (verb, outcome) for verb in ("pause", "resume", "cancel") for outcome in ("asked", "allowed")
        ]
        assert ("pause", "denied") in verbs


async def test_a_socket_that_is_refused_is_in_the_trail(records_url: str, redis_url: str) -> None:
    async with whole(records_url, redis_url) as gateway:
        async with connect(gateway.url.replace("http", "ws") + EVENTS) as connection:
            await connection.send(json.dumps({"type": "start", "token": "bob", "namespace": "lab"}))
            assert (await Socket(connection).closed())[0] == 4403
        entry = gateway.lab.book.entries[0]
        assert (entry.user, entry.verb, entry.resource, entry.outcome) == ("ossa:bob", "watch", "executions", "denied")


async def test_a_rate_limit_holds_for_commands_and_sockets(records_url: str, redis_url: str) -> None:
    async with whole(records_url, redis_url) as gateway, gateway.socket() as socket:
        gateway.lab.people.full.add("ossa:alice")
        await socket.send({"type": "command", "id": "1", "action": "orchestrate", "body": INLINE})
        assert (await socket.of("answer"))["status"] == 429
        async with connect(gateway.url.replace("http", "ws") + EVENTS) as connection:
            await connection.send(json.dumps({"type": "start", "token": "alice", "namespace": "lab"}))
            assert (await Socket(connection).closed())[0] == 4429
        assert [(entry.verb, entry.status) for entry in gateway.lab.book.entries] == [
            ("orchestrate", 429),
            ("watch", 429),
        ]


async def test_snapshots_are_of_the_cluster(records_url: str, redis_url: str) -> None:
    async with whole(records_url, redis_url) as gateway:
        for number in range(3):
            gateway.put(f"run-{number}")
        async with gateway.socket(execution="run-1", after=BEGINNING) as socket:
            await socket.of("reset")
            one = (await socket.of("snapshot"))["executions"]
            assert [(e["execution"]["name"], [t["name"] for t in e["tasks"]]) for e in one] == [("run-1", ["ingest"])]
        async with gateway.socket(after=BEGINNING) as socket:
            await socket.of("reset")
            snapshot = await socket.of("snapshot")
            assert sorted(e["execution"]["name"] for e in snapshot["executions"]) == ["run-0", "run-1", "run-2"]
            assert snapshot["complete"]


async def test_a_snapshot_waits_for_the_api_server(records_url: str, redis_url: str) -> None:
    async with whole(records_url, redis_url) as gateway:
        gateway.put("run-1")
        gateway.lab.cluster.stopped = True
        async with gateway.socket(after=BEGINNING) as socket:
            await socket.of("reset")
            gateway.lab.cluster.stopped = False
            while (frame := await socket.next(seconds=20))["type"] == "reset":
                pass
            assert frame["executions"][0]["execution"]["name"] == "run-1"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_the_client_at_a_whole_gateway(kind: str, records_url: str, redis_url: str) -> None:
    async with whole(records_url, redis_url) as gateway, Either(kind, gateway.url, FixedToken("alice")) as client:
        accepted = await client.orchestrate(OrchestrateRequest(namespace="lab", workflow="pipeline"), key="k")
        name = accepted.execution
        assert (await client.orchestrate(OrchestrateRequest(namespace="lab", workflow="pipeline"), key="k")) == accepted
        assert (await client.accepted(accepted.id)).execution == name
        assert (await client.execution("lab", name)).workflow == "pipeline"
        assert (await client.pause("lab", name)).suspend
        assert not (await client.resume("lab", name)).suspend
        assert await client.tasks("lab", name) == []
        with pytest.raises(NotFound):
            await client.execution("lab", "none")
        with pytest.raises(Conflict):
            await client.retry("lab", name)
        with pytest.raises(Forbidden):
            await client.execution("other", name)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_wait_ends_with_the_execution(kind: str, records_url: str, redis_url: str) -> None:
    async with whole(records_url, redis_url) as gateway, Either(kind, gateway.url, FixedToken("alice")) as client:
        gateway.put("run-1")
        with pytest.raises(TimeoutError, match="it is Running"):
            await client.wait("lab", "run-1", seconds=0.5)
        waiting = asyncio.ensure_future(client.wait("lab", "run-1", seconds=20))
        await until(lambda: gateway.hub.subscribers)
        held = gateway.lab.cluster.executions()[0]
        status = {"phase": "Completed", "conditions": [{"type": "Finished", "status": "True", "reason": "Completed"}]}
        gateway.lab.cluster.put(EXECUTIONS.format("lab"), {**held, "status": status})
        await gateway.publisher.send([Posting(event("run-1", namespace="lab", phase="Completed"), STREAM)])
        assert (await waiting).phase == "Completed"


async def test_events_after_the_beginning_tell_how_things_stand(records_url: str, redis_url: str) -> None:
    async with whole(records_url, redis_url) as gateway, AsyncGateway(gateway.url, FixedToken("alice")) as client:
        gateway.put("run-1")
        changes = client.events("lab", after=BEGINNING)
        anew = await anext(changes)
        assert isinstance(anew, Anew)
        assert [one.execution.name for one in anew.executions] == ["run-1"]
        await changes.aclose()  # type: ignore[attr-defined]
