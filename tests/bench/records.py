"""How far the records are behind: status writes of tasks at a fixed rate, until PostgreSQL shows them.

Runs against the cluster of the current kubeconfig, in a namespace of its own, with a recorder in this process, and a
PostgreSQL of its own. No operator may run in the cluster, or it would write these statuses too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from ossa.api.base import JSONObject
from ossa.api.contract import API_VERSION
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.config import load_config
from ossa.monitor.recorder import Recorder
from ossa.monitor.recordssink import RecordsSink
from ossa.store.records.migrate import migrate
from ossa.store.records.pool import Records
from ossa.store.records.write import Write, write
from tests.unit.servers import Postgres

NAMESPACE = f"bench-records-{os.getpid()}"
TASKS = 7  # of each Execution
RUNNING = 50  # Executions at once
LOOK = 0.02  # seconds between two looks at PostgreSQL
BULK = 2000  # Executions that are written as fast as can be
Figures = dict[str, float]


def status(done: int) -> JSONObject:
    """With so many tasks Completed."""
    tasks = {
        f"task-{number}": {
            "phase": "Completed" if number < done else "Running" if number == done else "Pending",
            "attempt": int(number <= done),
            "startedAt": "2026-01-01T12:00:00Z",
            "pod": f"pod-{number}",
            **({"output": {"rows": number}} if number < done else {}),
        }
        for number in range(TASKS)
    }
    phase = "Completed" if done == TASKS else "Running"
    return {"phase": phase, "progress": f"{done}/{TASKS}", "tasks": tasks, "startedAt": "2026-01-01T12:00:00Z"}


class Lags:
    """When each state was written to the API server, and how long PostgreSQL took to show it or a newer one."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[tuple[int, float]]] = {}
        self.seconds: list[float] = []

    def wrote(self, item: JSONObject) -> None:
        """The API server has taken it."""
        metadata = item["metadata"]
        self.waiting.setdefault(metadata["uid"], []).append((int(metadata["resourceVersion"]), time.monotonic()))

    def shown(self, uid: str, version: int) -> None:
        """PostgreSQL has this one."""
        now, held = time.monotonic(), self.waiting.get(uid, [])
        self.seconds += [now - at for wrote, at in held if wrote <= version]
        self.waiting[uid] = [(wrote, at) for wrote, at in held if wrote > version]

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        held = sorted(self.seconds)
        return round(1000 * held[min(len(held) - 1, int(share * len(held)))], 1)


async def run_execution(api: ApiClient, name: str, lags: Lags, turn: asyncio.Semaphore) -> None:
    """Takes one Execution through its tasks, one each time that `turn` allows."""
    body = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": {"name": name}, "spec": {"workflow": "none"}}
    await api.post(paths.ossa("executions", NAMESPACE), body)
    for done in range(1, TASKS + 1):
        await turn.acquire()
        path = paths.ossa("executions", NAMESPACE, name, "status")
        lags.wrote(await api.patch(path, {"status": status(done)}))


async def load(api: ApiClient, lags: Lags, *, rate: float, seconds: float) -> float:
    """Tasks that end at `rate` a second; the rate that was kept."""
    turn, names = asyncio.Semaphore(0), count()

    async def runner() -> None:
        while True:
            await run_execution(api, f"run-{next(names)}", lags, turn)

    runners = [asyncio.create_task(runner()) for _ in range(RUNNING)]
    began, given = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        for _ in range(int(passed * rate) - given):
            turn.release()
            given += 1
        await asyncio.sleep(0.005)
    written = len(lags.seconds) + sum(map(len, lags.waiting.values()))
    for task in runners:
        task.cancel()
    await asyncio.gather(*runners, return_exceptions=True)
    return written / (time.monotonic() - began)


async def look(records: Records, lags: Lags) -> None:
    """Asks what is recorded, until cancelled."""
    while True:
        async with records.connection() as connection:
            for row in await connection.fetch("SELECT id::text, resource_version FROM executions WHERE NOT finished"):
                lags.shown(row["id"], row["resource_version"])
        await asyncio.sleep(LOOK)


@asynccontextmanager
async def namespace(api: ApiClient) -> AsyncIterator[None]:
    """Of this run alone."""
    await api.post(paths.core("namespaces"), {"metadata": {"name": NAMESPACE}})
    try:
        yield
    finally:
        await api.delete(paths.core("namespaces", name=NAMESPACE))


async def lag(url: str, *, rate: float, seconds: float) -> Figures:
    """Milliseconds from the API server's answer until PostgreSQL shows a state."""
    lags = Lags()
    async with ApiClient(load_config()) as api, namespace(api), Records(url, application="bench") as records:
        recorder = asyncio.create_task(Recorder(api, {"records": RecordsSink(records, api)}).run())
        looking = asyncio.create_task(look(records, lags))
        kept = await load(api, lags, rate=rate, seconds=seconds)
        await asyncio.sleep(2)
        for task in (looking, recorder):
            task.cancel()
        await asyncio.gather(looking, recorder, return_exceptions=True)
    return {
        "tasks_per_s": round(kept, 1),
        "lag_p50_ms": lags.quantile(0.5),
        "lag_p99_ms": lags.quantile(0.99),
        "lag_max_ms": lags.quantile(1.0),
        "missing": float(sum(map(len, lags.waiting.values()))),
    }


async def bulk(url: str) -> Figures:
    """Rows a second where all that counts is PostgreSQL: ended Executions with their tasks, 200 in a transaction."""
    items = [
        {
            "metadata": {
                "name": f"bulk-{number}",
                "namespace": NAMESPACE,
                "uid": f"00000000-0000-0000-0000-{number:012d}",
                "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T12:00:00Z",
            },
            "spec": {"workflow": "none"},
            "status": status(TASKS),
        }
        for number in range(BULK)
    ]
    writes = [Write("executions", item["metadata"]["uid"], 1, None, item) for item in items]
    async with Records(url, application="bench") as records, records.connection() as connection:
        began = time.monotonic()
        for start in range(0, BULK, 200):
            await write(connection, writes[start : start + 200])
        took = time.monotonic() - began
    return {"rows_per_s": round(BULK * (TASKS + 1) / took), "executions_per_s": round(BULK / took)}


def main() -> int:
    """The exit code: 1 where the records are a second or more behind, or miss something."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.records", description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="tasks that end in a second; default: 100")
    parser.add_argument("--seconds", type=float, default=20.0, help="default: 20")
    options = parser.parse_args()
    server = Postgres()
    try:
        server.start()
        asyncio.run(migrate(server.url))
        figures = asyncio.run(lag(server.url, rate=options.rate, seconds=options.seconds))
        figures |= asyncio.run(bulk(server.url))
    finally:
        server.remove()
    print(json.dumps(figures))
    return int(figures["missing"] > 0 or figures["lag_p99_ms"] >= 1000)


if __name__ == "__main__":
    sys.exit(main())
