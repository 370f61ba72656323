"""Triggers where the API server says no or nothing, and a reconciler that dies before or after any of its writes."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from ossa.engine.clock import to_text
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Refused
from ossa.kube.config import KubeConfig
from tests.unit.controllers.lives import Died, MortalClient
from tests.unit.controllers.triggered import (
    BEGIN,
    EXECUTIONS,
    KEY,
    MINUTE,
    Cluster,
    Reconciler,
    name_at,
    reconciler,
)

# --- the API server says no, or nothing ---


class FlakyClient(ApiClient):
    """Answers the creation of Executions with `error`, after it took effect or before."""

    error: ApiError | None = None
    effect = False

    async def _call(self, method: str, path: str, **more: Any) -> bytes:
        if self.error is None or (method, path) != ("POST", EXECUTIONS):
            return await super()._call(method, path, **more)
        if self.effect:
            await super()._call(method, path, **more)
        raise self.error


async def test_a_refusal_is_told_and_does_not_hold_up_the_status() -> None:
    cluster = Cluster()
    async with cluster.served() as config, FlakyClient(config) as api:
        one = Reconciler(cluster, api)
        await one.look()
        api.error = Refused(403, "Forbidden", "exceeded quota")
        cluster.now += MINUTE
        await one.look()
        assert cluster.tick()["message"] == "the run of 2026-01-01T12:01:00Z could not be made: exceeded quota"
        assert "lastScheduleTime" not in cluster.tick()
        assert [e["reason"] for e in cluster.of(paths.core("events", "lab")) if e["type"] == "Warning"] == [
            "TriggerRefused"
        ]
        api.error = None
        await one.look()
        assert cluster.there() == {name_at(BEGIN + MINUTE)}
        assert "message" not in cluster.tick()


@pytest.mark.parametrize("effect", [False, True])
async def test_without_an_answer_forbid_overlaps_nothing(effect: bool) -> None:
    """What was made, and nobody has seen, is looked for before the next one is."""
    cluster = Cluster(concurrencyPolicy="Forbid")
    async with cluster.served() as config, FlakyClient(config) as api:
        one = Reconciler(cluster, api)
        await one.look()
        api.error, api.effect = ApiError(0, "NoAnswer", "timeout"), effect
        cluster.now += MINUTE
        with pytest.raises(ApiError):
            await one.look()
        assert "could not be made: timeout" in cluster.tick()["message"]
        api.error = None
        cluster.now += MINUTE
        # Its watch is behind: it has not seen the Execution that may be there.
        await one.workflows.reconcile(KEY)
        assert cluster.there() == {name_at(BEGIN + (1 if effect else 2) * MINUTE)}


# --- death ---

MINUTES = 3


async def one_life_after_another(cluster: Cluster, *, at: int | None, after: bool) -> int:
    """Some minutes, in which a reconciler dies at its write `at`; the number of writes of the one that lives on."""
    async with cluster.served() as config, MortalClient(config, at=at, after=after) as api:
        one = Reconciler(cluster, api)
        for minute in range(MINUTES + 1):
            cluster.now = BEGIN + minute * MINUTE
            for _ in range(2):  # the second time with what has ended meanwhile
                try:
                    await one.look()
                except Died:
                    await the_next_life(cluster, config, minute)
                    return api.writes
                cluster.end()
        return api.writes


async def the_next_life(cluster: Cluster, config: KubeConfig, minute: int) -> None:
    async with reconciler(cluster, config) as one:
        for later in range(minute, MINUTES + 1):
            cluster.now = BEGIN + later * MINUTE + timedelta(seconds=10)
            for _ in range(3):
                await one.look()
                cluster.end()


EXPECTED = Counter(name_at(BEGIN + minute * MINUTE) for minute in range(1, MINUTES + 1))
POLICIES = ["Allow", "Forbid", "Replace"]


@pytest.mark.parametrize("policy", POLICIES)
async def test_whenever_it_dies_nothing_is_made_twice_and_nothing_is_lost(policy: str) -> None:
    fields: dict[str, Any] = {"concurrencyPolicy": policy, "successfulHistoryLimit": 0}
    alive = Cluster(**fields)
    writes = await one_life_after_another(alive, at=None, after=False)
    assert alive.made == EXPECTED
    assert writes > 10
    for at in range(1, writes + 1):
        for after in (False, True):
            cluster = Cluster(**fields)
            await one_life_after_another(cluster, at=at, after=after)
            story = f"death {'after' if after else 'before'} write {at}"
            # Seen and not recorded: before that the workflow was not published, and its times do not count.
            assert cluster.made == EXPECTED, story
            assert cluster.there() == set(), story  # the history of none is kept
            assert cluster.tick()["lastScheduleTime"] == to_text(BEGIN + MINUTES * MINUTE)[:-3] + "00Z", story
