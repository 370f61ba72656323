"""Sockets while they live: slow clients, limits, what ends them, and what is sent to the gateway."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import InvalidStatus

from ossa.api.gateway import ExecutionView
from ossa.bus.frames import Close
from tests.unit.gateway.events.serving import Socket, event, serving
from tests.unit.servers import Redis as Server
from tests.unit.waiting import until

BIG = {"text": "x" * 50_000}


async def test_who_does_not_read_is_closed_holds_nobody_up_and_may_resume(redis_url: str) -> None:
    async with serving(redis_url, queue=20, sockets_a_user=2) as gateway, gateway.socket() as quick:
        await quick.of("hello")
        slow = Socket(await gateway.raw("?namespace=team", max_queue=1, ping_interval=None, **_bearer("alice")))
        assert (await slow.of("hello"))["type"] == "hello"
        ids: list[str] = []
        while len(gateway.hub.subscribers) == 2:
            ids += await gateway.publish(event(output=BIG))
            assert (await quick.of("event"))["id"] == ids[-1]
            assert len(ids) < 2000, "the slow client is still there"
        seen = [frame["id"] for frame in await slow.rest() if frame["type"] == "event"]
        assert slow.connection.close_code == Close.TOO_SLOW
        assert seen == ids[: len(seen)]
        async with gateway.socket(after=seen[-1]) as again:
            await again.of("hello")
            assert [(await again.of("event"))["id"] for _ in ids[len(seen) :]] == ids[len(seen) :]


async def test_a_burst_is_no_slowness(redis_url: str) -> None:
    async with serving(redis_url) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        pipeline = gateway.redis.pipeline(transaction=False)
        for _ in range(5000):
            pipeline.xadd("ossa:events", {"message": event().model_dump_json()})
        ids = await pipeline.execute()
        assert [(await socket.of("event"))["id"] for _ in ids] == ids


async def test_a_revoked_session_is_closed(redis_url: str) -> None:
    async with serving(redis_url, recheck=1.0) as gateway, gateway.socket(token="alice:s1") as socket:
        await socket.of("hello")
        gateway.people.revoked.add("alice:s1")
        assert (await socket.closed())[0] == Close.UNAUTHENTICATED
        assert not gateway.hub.subscribers


async def test_a_permission_that_was_taken_away_ends_the_socket(redis_url: str) -> None:
    async with serving(redis_url, recheck=1.0) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        gateway.people.namespaces["alice"].clear()
        code, reason = await socket.closed()
        assert code == Close.FORBIDDEN
        assert "ossa:alice may not watch executions in team" in reason


async def test_what_cannot_be_known_ends_it_only_after_a_while(redis_url: str) -> None:
    async with serving(redis_url, recheck=1.0, unknown=2.5) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        gateway.people.away = True
        await asyncio.sleep(1.2)
        ids = await gateway.publish(event())
        assert (await socket.of("event"))["id"] == ids[0]
        assert (await socket.closed())[0] == Close.TRY_LATER


async def test_a_newer_token_keeps_it_alive(redis_url: str) -> None:
    async with serving(redis_url, recheck=1.0) as gateway, gateway.socket(token="alice:s1") as socket:
        await socket.of("hello")
        await socket.send({"type": "token", "token": "alice:s2"})
        await until(lambda: {s.token for s in gateway.hub.subscribers} == {"alice:s2"})
        gateway.people.revoked.add("alice:s1")
        await asyncio.sleep(1.5)
        ids = await gateway.publish(event())
        assert (await socket.of("event"))["id"] == ids[0]


@pytest.mark.parametrize("token", ["root", "mallory"])
async def test_a_token_of_somebody_else_ends_it(redis_url: str, token: str) -> None:
    async with serving(redis_url) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        await socket.send({"type": "token", "token": token})
        assert (await socket.closed())[0] == Close.UNAUTHENTICATED


async def test_a_user_has_a_limit_of_sockets(redis_url: str) -> None:
    async with serving(redis_url, sockets_a_user=2) as gateway, gateway.socket() as one:
        await one.of("hello")
        async with gateway.socket() as two:
            await two.of("hello")
            async with gateway.socket() as three:
                assert (await three.closed())[0] == Close.TOO_MANY
            async with gateway.socket(token="root") as other:
                await other.of("hello")
        await until(lambda: len(gateway.hub.subscribers) == 1)
        async with gateway.socket() as again:
            await again.of("hello")


async def test_a_replica_holds_so_many_sockets(redis_url: str) -> None:
    async with serving(redis_url, sockets=1, unstarted=1) as gateway, gateway.raw():
        await until(lambda: gateway.server.server_state.connections)
        with pytest.raises(InvalidStatus) as refused:
            await gateway.raw()
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "5"


async def test_a_replica_that_ends_says_so_and_takes_no_more(redis_url: str) -> None:
    async with serving(redis_url) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        await gateway.hub.drain()
        assert (await socket.closed())[0] == Close.RESTART
        with pytest.raises(InvalidStatus) as refused:
            await gateway.raw()
        assert refused.value.response.status_code == 503


async def test_redis_may_stop_and_start(redis_url: str, redis: Server) -> None:
    async with serving(redis_url) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        before = await gateway.publish(event())
        assert (await socket.of("event"))["id"] == before[0]
        await asyncio.to_thread(redis.stop)
        await until(lambda: not gateway.hub.reading)
        async with gateway.socket(after=before[0]) as late:  # memory serves, and permissions do not need Redis
            await late.of("hello")
            await asyncio.to_thread(redis.start)
            await until(lambda: gateway.hub.reading, seconds=30)
            after = await gateway.publish(event())
            assert [(await s.of("event"))["id"] for s in (socket, late)] == after * 2


async def test_redis_may_lose_everything(redis_url: str, redis: Server, views: list[ExecutionView]) -> None:
    async with serving(redis_url) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        gateway.world.standing = views[:1]
        ids = await gateway.publish(event())
        await socket.of("event")
        await asyncio.to_thread(redis.stop)
        await until(lambda: not gateway.hub.reading)
        await asyncio.to_thread(redis.start)
        redis.command("FLUSHALL")
        await socket.of("reset")
        assert (await socket.of("snapshot"))["last"]
        new = await gateway.publish(event())
        assert new > ids
        assert (await socket.of("event"))["id"] == new[0]


async def test_a_defect_ends_the_socket_rather_than_its_events(redis_url: str) -> None:
    async with serving(redis_url) as gateway:
        gateway.world.broken = True
        async with gateway.socket(after="0-0") as socket:
            assert (await socket.closed())[0] == Close.INTERNAL


async def test_commands_are_answered(redis_url: str) -> None:
    async with serving(redis_url) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        command = {"type": "command", "id": "1", "action": "pause", "namespace": "team", "execution": "run-1"}
        await socket.send(command)
        assert await socket.of("answer") == {"type": "answer", "id": "1", "status": 202, "body": {"name": "run-1"}}
        await socket.send({**command, "id": "2", "execution": "missing"})
        answer = await socket.of("answer")
        assert (answer["id"], answer["status"]) == ("2", 404)
        assert answer["body"]["detail"] == "ossa:alice sees no such execution"
        assert [c.execution for c in gateway.world.commands] == ["run-1", "missing"]


async def test_a_bad_command_is_answered_and_other_rubbish_ends_the_socket(redis_url: str) -> None:
    async with serving(redis_url) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        await socket.send({"type": "command", "id": "1", "action": "explode"})
        answer = await socket.of("answer")
        assert (answer["id"], answer["status"]) == ("1", 400)
        assert "action" in answer["body"]["detail"]
        await socket.send({"type": "start", "namespace": "team"})
        assert (await socket.closed())[0] == Close.BAD_FRAME
        assert not gateway.world.commands


async def test_a_command_is_carried_out_though_its_client_goes(redis_url: str) -> None:
    async with serving(redis_url) as gateway:
        gateway.world.seconds = 0.3
        async with gateway.socket() as socket:
            await socket.of("hello")
            await socket.send({"type": "command", "id": "1", "action": "pause", "namespace": "team", "execution": "a"})
            await asyncio.sleep(0.1)
            for subscriber in set(gateway.hub.subscribers):
                subscriber.close(Close.RESTART, "away")
            assert (await socket.closed())[0] == Close.RESTART
        await until(lambda: gateway.world.done == 1)


def _bearer(token: str) -> dict[str, object]:
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}
