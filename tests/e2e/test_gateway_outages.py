"""The gateway while the API server is stopped and started: what was accepted is carried out, once, and told of."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest

from ossa.client import BEGINNING, Anew, AsyncGateway, FixedToken, Occurred
from tests.chaos.faults import API_SERVER, no_api_server
from tests.e2e.harness import Namespace
from tests.e2e.harness.command import run
from tests.e2e.harness.gateway import User
from tests.e2e.harness.load import OUTAGE_REQUESTS, Load, requests_of
from tests.e2e.harness.services import Records

# By a process that ends: whoever starts the API server again is its parent, and would have to wait for it.
RESTART = f"import signal; from hack.up import daemons; daemons.restart({API_SERVER!r}, signal.SIGKILL)"


async def restarted() -> None:
    """Kills the API server and starts it again."""
    (await run(sys.executable, "-c", RESTART)).ok()


class Follower:
    """A client that follows all Executions of a namespace, and resumes wherever its connection breaks."""

    def __init__(self) -> None:
        self.events: set[str] = set()  # ids
        self.ended: set[str] = set()
        self.resets = 0

    async def follow(self, gateway: AsyncGateway, namespace: str) -> None:
        """For ever."""
        async for change in gateway.events(namespace, after=BEGINNING):
            match change:
                case Occurred(event=event):
                    assert event.id not in self.events
                    self.events.add(event.id)
                    if event.type == "execution" and event.phase in ("Completed", "Failed"):
                        self.ended.add(event.execution)
                case Anew():
                    self.resets += 1


@pytest.mark.usefixtures("alone")
async def test_the_api_server_is_stopped_and_started_under_load(
    namespace: Namespace, user: User, records: Records
) -> None:
    if (why := no_api_server()) is not None:
        pytest.skip(why)
    await namespace.publish_podless()
    load, follower = Load(user, namespace.name), Follower()
    async with AsyncGateway(user.url, FixedToken(user.token)) as gateway:
        following = asyncio.create_task(follower.follow(gateway, namespace.name))
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(OUTAGE_REQUESTS))
            await asyncio.sleep(2)
            await restarted()
        # The gateways live on: each refusal is an answer.
        assert set(load.refused) <= {503}
        assert len(load.accepted) == OUTAGE_REQUESTS
        for name in load.accepted:
            await namespace.completes(name)
        assert await namespace.execution_names() == load.accepted

        async def closed() -> bool:
            return await requests_of(namespace, records) == {"done": OUTAGE_REQUESTS}

        await namespace.wait(closed, "each request to be closed")
        told = await all_recorded(namespace, records)

        async def heard() -> bool:
            assert not following.done(), following.result()
            return follower.ended >= load.accepted and follower.events >= told

        await namespace.wait(heard, "the client to hear all that the records tell of")
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following
    assert follower.resets <= 1  # how things stood at its beginning


async def all_recorded(namespace: Namespace, records: Records) -> set[str]:
    """Waits until each Execution is recorded with each of its steps; the ids of the events that tell of them."""

    async def complete() -> bool:
        query = "SELECT count(*) AS n FROM executions WHERE namespace = $1 AND status = 'Completed' AND finished"
        held = (await records.rows(query, namespace.name))[0]["n"]
        ends = (
            "SELECT count(DISTINCT execution_id) AS n FROM task_events "
            "WHERE namespace = $1 AND type = 'execution' AND phase = 'Completed'"
        )
        return {held, (await records.rows(ends, namespace.name))[0]["n"]} == {OUTAGE_REQUESTS}

    await namespace.wait(complete, "the records to have all, with how each ended")
    return {row["id"] for row in await records.rows("SELECT id FROM task_events WHERE namespace = $1", namespace.name)}
