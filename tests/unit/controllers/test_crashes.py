"""A reconciler that dies before or after any of its writes: the next one loses no task and runs none twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ossa.kube.client import ApiClient
from tests.unit.controllers.lives import NAMES, PODS, Cluster, reconciler, until_ended


async def one_life_after_another(deaths: Sequence[tuple[int, bool]]) -> tuple[Cluster, int]:
    """Runs an execution through reconcilers that die one by one; the cluster, and the writes of the last one."""
    cluster = Cluster()
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        for at, after in deaths:
            async with reconciler(config, at=at, after=after) as mortal:
                await until_ended(cluster, dead=mortal.dead)
        async with reconciler(config) as last:
            await until_ended(cluster)
    return cluster, last.writes


def check(cluster: Cluster, story: str) -> None:
    """Each task had one pod, and what that run gave is what is recorded."""
    status = cluster.status()
    assert status.phase == "Completed", story
    assert cluster.runs == Counter(NAMES), f"{story}: {cluster.runs}"
    assert status.outputs == {name: f"{name}#1" for name in NAMES}, story
    pods: Mapping[str, Any] = {item["metadata"]["name"]: item for item in cluster.of(PODS)}
    for name, task in status.tasks.items():
        assert task.pod in pods, f"{story}: {name}"
        assert task.attempt == task.lost + 1, f"{story}: {name}"


async def test_a_reconciler_that_lives() -> None:
    cluster, writes = await one_life_after_another([])
    check(cluster, "no death")
    assert {task.lost for task in cluster.status().tasks.values()} == {0}
    assert writes == 8  # two statuses, four pods, two events: what the deaths below go through


@pytest.mark.parametrize("after", [False, True], ids=["before it is sent", "after it took effect"])
@pytest.mark.parametrize("at", range(1, 11))
async def test_it_dies_at_a_write(at: int, after: bool) -> None:
    cluster, _ = await one_life_after_another([(at, after)])
    check(cluster, f"death at write {at}")


@pytest.mark.parametrize("after", [False, True], ids=["before they are sent", "after they took effect"])
async def test_every_life_ends_soon(after: bool) -> None:
    """Ten reconcilers, of which each dies at its second write."""
    cluster, _ = await one_life_after_another([(2, after)] * 10)
    check(cluster, "ten deaths")


async def test_every_life_ends_at_another_write() -> None:
    cluster, _ = await one_life_after_another([(3, True), (2, False), (4, True), (1, True), (3, False)])
    check(cluster, "five deaths")
