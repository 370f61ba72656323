"""A status write that meets a newer version: it is written again, and nothing that was decided is left unsaid."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ossa.kube import paths
from ossa.kube.client import ApiClient, Conflict
from ossa.kube.pods import identity_of
from tests.unit.controllers.lives import PODS, Cluster, MortalClient, reconciler, until_ended


class Careless(Cluster):
    """Somebody deletes the first pod of the task `left` before it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.created = self._lose_or_run

    def _lose_or_run(self, collection: str, item: dict[str, Any]) -> None:
        identity = identity_of(item) if collection == PODS else None
        if identity is not None and (identity.task, identity.attempt) == ("left", 1):
            self.remove(f"{PODS}/{item['metadata']['name']}")
        else:
            self._run(collection, item)


def said(cluster: Cluster) -> list[str]:
    return [event["reason"] for event in cluster.of(paths.core("events", "lab"))]


def conflict_at(number: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The write of this number, from 1, meets a newer version; the paths of all writes, as they come."""
    writes: list[str] = []
    usual = MortalClient._call

    async def call(self: MortalClient, method: str, path: str, **more: Any) -> bytes:
        if method == "PATCH":
            writes.append(path)
            if len(writes) == number:
                raise Conflict(409, "Conflict", "somebody was faster")
        return await usual(self, method, path, **more)

    monkeypatch.setattr(MortalClient, "_call", call)
    return writes


@pytest.mark.parametrize("number", [0, 1, 2, 3])
async def test_a_conflict_leaves_no_event_unsaid(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = conflict_at(number, monkeypatch)
    cluster = Careless()
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        async with reconciler(config):
            await until_ended(cluster)
            async with asyncio.timeout(10):
                while "Completed" not in said(cluster):  # noqa: ASYNC110 - the end is said once it is written
                    await asyncio.sleep(0.005)
    assert len(writes) >= 3
    assert cluster.status().tasks["left"].attempt == 2
    assert sorted(said(cluster)) == ["Completed", "Started", "TaskRestarted"]
