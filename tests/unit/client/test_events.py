"""Events of both clients, of replicas that come and go."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ossa.api.gateway import ExecutionView
from ossa.bus.frames import Close
from ossa.bus.messages import BEGINNING
from ossa.client import Anew, AsyncGateway, Backoff, EventsClosed, FixedToken, Gateway, Occurred, Unreachable
from tests.ports import free_port
from tests.unit.client.scripted import QUICK
from tests.unit.gateway.events.serving import event, serving
from tests.unit.waiting import until

pytestmark = pytest.mark.parametrize("kind", ["sync", "async"])


class Follower:
    """Events of one of the clients, as they come."""

    def __init__(self, kind: str, port: int, *, token: str = "alice", backoff: Backoff = QUICK, **asked: Any) -> None:  # noqa: S107
        self._kind, self._asked = kind, {"namespace": "team", **asked}
        self._url, self.token, self._backoff = f"http://127.0.0.1:{port}", FixedToken(token), backoff
        self._found: asyncio.Queue[Any] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._over = threading.Event()

    async def __aenter__(self) -> Follower:
        if self._kind == "sync":
            threading.Thread(target=self._sync, daemon=True).start()
        else:
            self._task = asyncio.create_task(self._async())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        if self._kind == "async":
            self._task.cancel()

    def _sync(self) -> None:
        with Gateway(self._url, self.token, backoff=self._backoff) as gateway:
            changes: Iterator[Any] = gateway.events(**self._asked)
            try:
                for change in changes:
                    if self._over.is_set():
                        return
                    self._loop.call_soon_threadsafe(self._found.put_nowait, change)
            except Exception as error:  # noqa: BLE001 - it is what the test looks at
                if not self._over.is_set():
                    self._loop.call_soon_threadsafe(self._found.put_nowait, error)

    async def _async(self) -> None:
        async with AsyncGateway(self._url, self.token, backoff=self._backoff) as gateway:
            changes: AsyncIterator[Any] = gateway.events(**self._asked)
            try:
                async for change in changes:
                    self._found.put_nowait(change)
            except Exception as error:  # noqa: BLE001 - likewise
                self._found.put_nowait(error)

    async def next(self, seconds: float = 15.0) -> Any:
        async with asyncio.timeout(seconds):
            return await self._found.get()


async def test_follows_through_restarts_of_the_gateway_without_loss(kind: str, redis_url: str) -> None:
    port = free_port()
    async with serving(redis_url, port=port) as gateway:
        first = (await gateway.publish(event()))[0]
    async with Follower(kind, port, after=first, backoff=Backoff(first=0.01, longest=0.05, total=20.0)) as follower:
        told = []
        for _ in range(3):
            async with serving(redis_url, port=port) as gateway:
                told += await gateway.publish(event(), event())
                seen = [await follower.next() for _ in range(2)]
                assert [one.position for one in seen] == told[-2:]
                assert all(isinstance(one, Occurred) for one in seen)


async def test_what_is_told_twice_is_given_once(kind: str, redis_url: str) -> None:
    async with serving(redis_url) as gateway, Follower(kind, gateway.port, after=BEGINNING) as follower:
        assert isinstance(await follower.next(), Anew)
        once, again = event(), event()
        await gateway.publish(once, once, again, once, again)
        assert (await follower.next()).event.id == once.id
        assert (await follower.next()).event.id == again.id
        last = event()
        await gateway.publish(last)
        assert (await follower.next()).event.id == last.id


async def test_a_gap_is_given_as_how_things_stand(kind: str, redis_url: str, views: list[ExecutionView]) -> None:
    async with serving(redis_url) as gateway:
        gateway.world.standing = views
        position = (await gateway.publish(event()))[0]
        async with Follower(kind, gateway.port, after="1-1") as follower:
            anew = await follower.next()
            assert isinstance(anew, Anew)
            assert anew.position == position
            assert [one.execution.name for one in anew.executions] == ["run-1", "run-2"]
            assert anew.complete


async def test_who_may_not_is_told(kind: str, redis_url: str) -> None:
    async with serving(redis_url) as gateway:
        async with Follower(kind, gateway.port, namespace="other") as follower:
            closed = await follower.next()
            assert isinstance(closed, EventsClosed)
            assert closed.code == Close.FORBIDDEN
        async with Follower(kind, gateway.port, token="mallory") as follower:
            closed = await follower.next()
            assert isinstance(closed, EventsClosed)
            assert closed.code == Close.UNAUTHENTICATED


async def test_where_nobody_answers_it_ends(kind: str) -> None:
    async with Follower(kind, free_port(), backoff=Backoff(first=0.01, longest=0.02, total=0.3)) as follower:
        assert isinstance(await follower.next(), Unreachable)


async def test_a_newer_token_is_told_with_the_next_heartbeat(kind: str, redis_url: str) -> None:
    async with (
        serving(redis_url, heartbeat=1.0, recheck=1.0) as gateway,
        Follower(kind, gateway.port, token="alice:s1") as follower,
    ):
        await until(lambda: gateway.hub.subscribers)
        follower.token.token = "alice:s2"
        await until(lambda: {s.token for s in gateway.hub.subscribers} == {"alice:s2"})
        gateway.people.revoked.add("alice:s1")
        await asyncio.sleep(1.5)
        ids = await gateway.publish(event())
        assert (await follower.next()).position == ids[0]
