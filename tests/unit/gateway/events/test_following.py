"""Events over a WebSocket: who gets which, from where on."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.exceptions import InvalidStatus

from ossa.api.gateway import ExecutionView
from ossa.bus.frames import SUBPROTOCOL, TOKEN_SUBPROTOCOL, Close
from tests.unit.gateway.events.serving import Socket, event, serving


async def test_events_arrive_in_order_as_they_were_written(redis_url: str) -> None:
    async with serving(redis_url) as gateway, gateway.socket() as socket:
        assert (await socket.of("hello"))["heartbeat"] > 0
        told = [event(phase=phase) for phase in ("Pending", "Running", "Completed")]
        ids = await gateway.publish(*told)
        frames = [await socket.of("event") for _ in told]
        assert [frame["id"] for frame in frames] == ids
        assert [frame["event"] for frame in frames] == [json.loads(one.model_dump_json()) for one in told]


async def test_only_what_is_asked_for(redis_url: str) -> None:
    async with (
        serving(redis_url) as gateway,
        gateway.socket() as team,
        gateway.socket(execution="run-2") as one,
        gateway.socket(types=["task"]) as tasks,
        gateway.socket(token="root", namespace="") as everything,
    ):
        sockets = (team, one, tasks, everything)
        for socket in sockets:
            await socket.of("hello")
        await gateway.publish(
            event("run-1"),
            event("run-2"),
            event("run-2", namespace="other"),
            event("run-1", type="task", task="ingest"),
            event("run-2", type="decision", user="bob"),
        )
        seen = [
            [(f["event"]["namespace"], f["event"]["execution"], f["event"]["type"]) for f in frames]
            for frames in [[await s.of("event") for _ in range(n)] for s, n in zip(sockets, (4, 2, 1, 5), strict=True)]
        ]
        assert seen[0] == [(n, e, t) for n, e, t in seen[3] if n == "team"]
        assert seen[1] == [("team", "run-2", "execution"), ("team", "run-2", "decision")]
        assert seen[2] == [("team", "run-1", "task")]


async def test_resumes_after_the_last_event(redis_url: str) -> None:
    async with serving(redis_url) as gateway:
        ids = await gateway.publish(*(event() for _ in range(5)))
        async with gateway.socket(after=ids[2]) as socket:
            await socket.of("hello")
            assert [(await socket.of("event"))["id"] for _ in range(2)] == ids[3:]
            more = await gateway.publish(event())
            assert (await socket.of("event"))["id"] == more[0]


async def test_resumes_from_the_stream_where_memory_does_not_reach_back(redis_url: str) -> None:
    async with serving(redis_url, ring=4, page=3) as gateway:
        ids = await gateway.publish(*(event() for _ in range(50)))
        async with gateway.socket(after=ids[0]) as socket:
            await socket.of("hello")
            assert [(await socket.of("event"))["id"] for _ in ids[1:]] == ids[1:]


async def test_nothing_is_lost_nor_told_twice_to_who_resumes_while_events_come(redis_url: str) -> None:
    async with serving(redis_url, ring=16, page=5) as gateway:
        first = await gateway.publish(event())
        before = await gateway.publish(*(event() for _ in range(100)))

        async def write() -> list[str]:
            ids = []
            for _ in range(200):
                ids += await gateway.publish(event())
            return ids

        writing = asyncio.create_task(write())
        async with gateway.socket(after=first[0]) as socket:
            await socket.of("hello")
            seen = [(await socket.of("event"))["id"] for _ in range(300)]
        assert seen == before + await writing


@pytest.mark.parametrize("after", ["0-0", "1-1", "99999999999999-0"], ids=["none", "trimmed", "of another stream"])
async def test_a_gap_is_told_by_a_reset_and_a_snapshot(redis_url: str, after: str, views: list[ExecutionView]) -> None:
    async with serving(redis_url) as gateway:
        gateway.world.standing = views
        ids = await gateway.publish(event())
        async with gateway.socket(after=after) as socket:
            await socket.of("hello")
            reset = await socket.of("reset")
            assert reset["id"] == ids[0]
            assert reset["reason"]
            snapshots = [await socket.of("snapshot"), await socket.of("snapshot")]
            assert [s["last"] for s in snapshots] == [False, True]
            names = [one["execution"]["name"] for s in snapshots for one in s["executions"]]
            assert names == [view.name for view in views if view.namespace == "team"]
            assert "createdAt" in snapshots[0]["executions"][0]["execution"]
            more = await gateway.publish(event())
            assert (await socket.of("event"))["id"] == more[0]


async def test_the_stream_may_have_been_trimmed(redis_url: str) -> None:
    async with serving(redis_url, ring=1) as gateway:
        ids = await gateway.publish(*(event() for _ in range(10)))
        await gateway.redis.xtrim("ossa:events", maxlen=3, approximate=False)
        async with gateway.socket(after=ids[2]) as socket:
            await socket.of("hello")
            await socket.of("reset")
        async with gateway.socket(after=ids[7]) as socket:
            await socket.of("hello")
            assert [(await socket.of("event"))["id"] for _ in range(2)] == ids[8:]


async def test_what_is_no_event_is_passed_over(redis_url: str) -> None:
    async with serving(redis_url) as gateway, gateway.socket() as socket:
        await socket.of("hello")
        for field, text in (("message", "{"), ("message", "[]"), ("message", '{"type":"task"}'), ("other", "x")):
            await gateway.redis.xadd("ossa:events", {field: text})
        ids = await gateway.publish(event())
        assert (await socket.of("event"))["id"] == ids[0]


async def test_a_heartbeat_carries_the_position(redis_url: str) -> None:
    async with serving(redis_url, heartbeat=1.0) as gateway, gateway.socket(execution="quiet") as socket:
        await socket.of("hello")
        ids = await gateway.publish(event("loud"))
        async with asyncio.timeout(10):
            while json.loads(await socket.connection.recv()) != {"type": "ping", "id": ids[0]}:
                pass


@pytest.mark.parametrize("where", ["header", "subprotocol"])
async def test_the_token_may_come_with_the_handshake(redis_url: str, where: str) -> None:
    async with serving(redis_url) as gateway:
        ids = await gateway.publish(event(), event("run-2"), event("run-2", type="task"))
        options: dict[str, object] = {"additional_headers": {"Authorization": "Bearer alice"}}
        if where == "subprotocol":
            options = {"subprotocols": [SUBPROTOCOL, f"{TOKEN_SUBPROTOCOL}alice"]}
        query = f"?namespace=team&execution=run-2&types=task,decision&after={ids[0]}"
        async with gateway.raw(query, **options) as connection:
            socket = Socket(connection)
            assert connection.subprotocol == SUBPROTOCOL
            await socket.of("hello")
            assert (await socket.of("event"))["id"] == ids[2]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ("{", Close.BAD_FRAME),
        ("[]", Close.BAD_FRAME),
        ("[" * 5000, Close.BAD_FRAME),
        (b"{}", Close.BAD_FRAME),
        ('{"type":"token","token":"alice"}', Close.BAD_FRAME),
        ('{"type":"start","token":"alice","namespace":"../x"}', Close.BAD_FRAME),
        ('{"type":"start","token":"alice","namespace":"team","after":"now"}', Close.BAD_FRAME),
        ('{"type":"start","token":"alice","execution":"x"}', Close.BAD_FRAME),
        ('{"type":"start","namespace":"team"}', Close.UNAUTHENTICATED),
        ('{"type":"start","token":"mallory","namespace":"team"}', Close.UNAUTHENTICATED),
        ('{"type":"start","token":"alice","namespace":"other"}', Close.FORBIDDEN),
        ('{"type":"start","token":"alice"}', Close.FORBIDDEN),
        (None, Close.NO_START),
    ],
)
async def test_a_bad_start_is_refused_with_a_code(redis_url: str, first: str | bytes | None, code: Close) -> None:
    async with serving(redis_url, start=0.5) as gateway, gateway.raw() as connection:
        if first is not None:
            await connection.send(first)
        got, reason = await Socket(connection).closed()
        assert got == code
        assert reason
        assert "mallory" not in reason
        refused = {Close.UNAUTHENTICATED: ("", 401), Close.FORBIDDEN: ("ossa:alice", 403)}.get(code)
        told = [(user, status) for user, _, status in gateway.world.refusals]
        assert told == ([refused] if refused else [])


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
async def test_pages_of_other_origins_open_no_socket(redis_url: str, origin: str) -> None:
    async with serving(redis_url, origins=("https://ossa.example",)) as gateway:
        with pytest.raises(InvalidStatus) as refused:
            await gateway.raw(origin=origin, additional_headers={"Authorization": "Bearer alice"})
        assert refused.value.response.status_code == 403
        async with gateway.raw(
            "?namespace=team", origin="https://ossa.example", additional_headers={"Authorization": "Bearer alice"}
        ) as connection:
            await Socket(connection).of("hello")
