"""When a status is written: soon, and later where many are to be written."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from controllers.archive import Archive
from controllers.cache import ObjectCache
from controllers.statuses import Statuses
from controllers.transfers import Transfers
from controllers.working import MOST_WRITE_DELAY, WRITE_DELAY, WRITES_PER_SECOND, Working
from ossa.api.contract import API_VERSION
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.store.client import ArtifactClient
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import SETTINGS

EXECUTIONS = paths.ossa("executions", "lab")


class World:
    """An API server, and what has been read of it."""

    def __init__(self, api: ApiClient) -> None:
        self.api = api
        self.cache = ObjectCache()
        artifacts = ArtifactClient(SETTINGS.artifacts_operator_url, SETTINGS.artifacts_token)
        archive = Archive(artifacts, Transfers(artifacts, lambda _: None), lambda _: None)
        self.statuses = Statuses(api, self.cache, archive, wrote=lambda _: None, gone=lambda _: None)

    async def running(self, name: str) -> Working:
        """One whose status has changed and is not written."""
        metadata = {"name": name, "namespace": "lab"}
        body = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": metadata, "spec": {"workflow": "flow"}}
        item = await self.api.post(EXECUTIONS, body)
        self.cache.put(item)
        held = Working.of(item)
        self.statuses.postpone(held, held.status.model_copy(update={"progress": "1/7"}))
        return held


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with ApiServer().served() as config, ApiClient(config) as api:
        yield World(api)


def wait_of(held: Working) -> float:
    assert held.due is not None
    return held.due - time.monotonic()


async def test_the_more_wait_the_longer_they_do(world: World) -> None:
    many = int(MOST_WRITE_DELAY * WRITES_PER_SECOND) + 5
    waits = [wait_of(await world.running(f"run-{number}")) for number in range(many)]
    assert waits[0] == pytest.approx(WRITE_DELAY, abs=0.2)
    assert WRITE_DELAY < waits[len(waits) // 2] < MOST_WRITE_DELAY
    assert waits[-1] == pytest.approx(MOST_WRITE_DELAY, abs=0.2)


async def test_what_was_written_or_is_gone_waits_no_longer(world: World) -> None:
    many = int(MOST_WRITE_DELAY * WRITES_PER_SECOND)
    running = [await world.running(f"run-{number}") for number in range(many)]
    for held in running[::2]:
        await world.statuses.write(held, held.status)
        assert held.due is None
    for held in running[1::2]:
        world.statuses.forget(held.uid)
    assert wait_of(await world.running("next")) == pytest.approx(WRITE_DELAY, abs=0.2)


async def test_a_later_change_is_written_with_the_first(world: World) -> None:
    held = await world.running("run")
    due = held.due
    world.statuses.postpone(held, held.status.model_copy(update={"progress": "2/7"}))
    assert held.due == due
    await world.statuses.write(held, held.status)
    assert (await world.api.get(f"{EXECUTIONS}/run"))["status"]["progress"] == "2/7"
