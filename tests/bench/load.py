"""The load: objects are created as fast as one client can, or as fast as others end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ossa.engine.clock import to_text
from ossa.kube import paths
from ossa.kube.client import ApiClient, Conflict
from tests.bench import workloads
from tests.bench.cluster import Cluster
from tests.bench.measure import Seen
from tests.bench.progress import say, told
from tests.bench.scenarios import Scenario

JSONObject = dict[str, Any]

IN_FLIGHT = 32  # requests of the load at once
SEEDED_AGO = timedelta(hours=1)


async def post_all(api: ApiClient, path: str, bodies: Sequence[JSONObject]) -> None:
    """Creates them, IN_FLIGHT at a time, in their order."""
    queue = iter(bodies)

    async def work() -> None:
        for body in queue:
            await api.post(path, body)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def run_executions(
    api: ApiClient, namespace: str, scenario: Scenario, seen: Seen, created: dict[str, float]
) -> None:
    """Creates the executions and returns when all have ended, or nothing is seen for `scenario.patience` seconds.

    `created` takes the moment before each one's POST.
    """
    names = iter([f"run-{number:05}" for number in range(scenario.executions)])
    path = paths.ossa("executions", namespace)
    posting = asyncio.Semaphore(IN_FLIGHT)

    async def work() -> None:
        for name in names:
            async with posting:
                created[name] = time.monotonic()
                await api.post(path, workloads.execution(name, scenario.workflow))
            if scenario.at_once < scenario.executions and not await seen.until(
                lambda name=name: name in seen.finished,  # type: ignore[misc]
                patience=scenario.patience,
            ):
                return

    await asyncio.gather(*(work() for _ in range(scenario.at_once)))
    if not await seen.until(lambda: seen.finished.keys() >= created.keys(), patience=scenario.patience):
        say(f"{scenario.name}: given up, nothing was seen for {scenario.patience:.0f} s")


async def seed_finished(cluster: Cluster, namespace: str, count: int) -> None:
    """Executions as `model` left its own, with an end of an hour ago: written by the operator's account, not run."""
    path = paths.ossa("executions", namespace)
    model = await cluster.admin.get(paths.ossa("executions", namespace, "model"))
    status = {**model["status"], "completedAt": to_text(datetime.now(UTC) - SEEDED_AGO)}
    numbers = iter(range(count))
    done = 0

    async def work() -> None:
        nonlocal done
        for number in numbers:
            name = f"finished-{number:05}"
            try:
                await cluster.admin.post(path, workloads.execution(name, model["spec"]["workflow"]))
            except Conflict:
                continue
            await cluster.operator.patch(f"{path}/{name}/status", {"status": status})
            done += 1

    async with told(lambda: f"{done}/{count} finished executions written"):
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
