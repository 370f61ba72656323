"""The whole way of a change, in the installation of the cluster.

By API server, monitor, Redis and gateway to a WebSocket client; by API server and monitor to PostgreSQL.

The status of Executions is written by the operator's account, and its reconciler is scaled down meanwhile, so that it
decides nothing about them. All is timed by the clock of this process, from the moment before a write is sent: what the
API server takes to commit it is in the figures.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import asyncpg

from hack.dev import account_token
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.config import load_config
from tests.bench.cluster import GATEWAY, MONITOR, SYSTEM, Cluster, remove_leftovers, scaled_down
from tests.bench.gateway.running import GatewayError
from tests.bench.load import IN_FLIGHT, post_all
from tests.bench.measure import percentile
from tests.bench.progress import say
from tests.e2e.harness.gateway import ADMIN, ADMIN_SECRET, Account, User, events_in, sign_in
from tests.e2e.harness.objects import JSONObject, execution
from tests.e2e.harness.services import Records, reached, reached_url, secret

CHANGES, CHANGES_A_SECOND = 200, 5
EXECUTIONS, TASKS, TASKS_A_SECOND = 200, 10, 100
WARM_UP = 10  # changes before those that count
PATIENCE = 30.0  # seconds for what is still on its way
LOOK = 0.05  # seconds between two looks at PostgreSQL, by which a lag may be told too long
NOW = "2026-01-01T12:00:00Z"
ROWS = "SELECT name, resource_version FROM executions WHERE namespace = $1"
DONE = """SELECT count(*) AS done FROM tasks t JOIN executions e ON e.id = t.execution_id
WHERE e.namespace = $1 AND t.status = 'Completed'"""
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Installed:
    """An installation, as it is reached from here. records: the URL of its PostgreSQL."""

    cluster: Cluster
    user: User
    records: str = field(repr=False)


@dataclass(slots=True)
class Times:
    """Moments of this process' monotonic clock, by resourceVersion."""

    sent: dict[int, float] = field(default_factory=dict)
    committed: dict[int, float] = field(default_factory=dict)  # as the answer tells
    seen: dict[int, float] = field(default_factory=dict)

    async def write(self, api: ApiClient, path: str, status: JSONObject) -> int:
        """Changes the status of an Execution; its resourceVersion then."""
        sent = time.monotonic()
        made = await api.patch(f"{path}/status", {"status": status})
        version = int(made["metadata"]["resourceVersion"])
        self.sent[version], self.committed[version] = sent, time.monotonic()
        return version

    def lost(self) -> int:
        """How many were never seen."""
        return len(self.sent.keys() - self.seen.keys())

    def milliseconds(self, since: dict[int, float]) -> list[float]:
        """From then until it was seen."""
        return [(self.seen[version] - then) * 1000 for version, then in since.items() if version in self.seen]


@asynccontextmanager
async def installed() -> AsyncIterator[Installed]:
    """That of the cluster of the current kubeconfig, without its reconciler. Raises GatewayError, ApiError."""
    config = load_config()
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(ApiClient(config))
        for name in (GATEWAY, MONITOR):
            found = await admin.get(paths.apps("deployments", SYSTEM, name))
            if not found["status"].get("readyReplicas"):
                raise GatewayError(f"no pod of Deployment {SYSTEM}/{name} is ready: run `make up` first")
        token = await asyncio.to_thread(account_token)
        account = replace(config, token=lambda: token, cert_file=None, key_file=None)
        operator = await stack.enter_async_context(ApiClient(account))
        await remove_leftovers(admin)
        host, port = stack.enter_context(reached(GATEWAY, 8080))
        records = stack.enter_context(reached_url("ossa-postgresql"))
        user = sign_in(f"http://{host}:{port}", Account(ADMIN, secret(ADMIN_SECRET)["password"]))
        await stack.enter_async_context(scaled_down(admin))
        yield Installed(Cluster(admin, operator, {}), user, records)


async def run() -> dict[str, Figures]:
    """The figures, by scenario."""
    async with installed() as held:
        return {"path-events": await to_clients(held), "path-records": await to_records(held)}


# --- to a client -------------------------------------------------------------------------------------------------


async def to_clients(held: Installed) -> Figures:
    """CHANGES of one Execution's tasks, CHANGES_A_SECOND, until a WebSocket client has the event of each."""
    async with held.cluster.namespace("path-events") as namespace:
        await _allow(held, namespace)
        [path] = await _executions(held, namespace, 1)
        times = Times()
        async with held.user.events(namespace) as frames:
            listening = asyncio.create_task(_listen(frames, times))
            await _change(held, path, Times(), first=1, count=WARM_UP)
            await _change(held, path, times, first=1 + WARM_UP, count=CHANGES)
            await _until_all_seen(times)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    sent, committed = times.milliseconds(times.sent), times.milliseconds(times.committed)
    return {
        "changes": float(CHANGES),
        "changes_lost": float(times.lost()),
        "change_to_client_p50_ms": percentile(sent, 0.5),
        "change_to_client_p99_ms": percentile(sent, 0.99),
        # What is left of it without the write itself.
        "commit_to_client_p50_ms": percentile(committed, 0.5),
        "commit_to_client_p99_ms": percentile(committed, 0.99),
    }


async def _change(held: Installed, path: str, times: Times, *, first: int, count: int) -> None:
    """A task starts again and again: each attempt is a transition, and an event."""
    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / CHANGES_A_SECOND - time.monotonic()))
        task = {"phase": "Running", "attempt": first + number, "startedAt": NOW}
        await times.write(held.cluster.operator, path, {"phase": "Running", "tasks": {"task": task}})


async def _listen(frames: AsyncIterator[JSONObject], times: Times) -> None:
    async for frame in frames:
        now = time.monotonic()
        for event in events_in(frame):
            if event["type"] == "task":
                times.seen.setdefault(int(event["sequence"]), now)


# --- to PostgreSQL -----------------------------------------------------------------------------------------------


async def to_records(held: Installed) -> Figures:
    """TASKS_A_SECOND tasks end, each by a write of its own, until PostgreSQL has the row of that state."""
    async with held.cluster.namespace("path-records") as namespace:
        executions = await _executions(held, namespace, EXECUTIONS)
        times, versions = Times(), dict[str, list[int]]()
        async with _looking(held, namespace, times, versions):
            seconds = await _load(held, executions, times, versions)
            await _until_all_seen(times)
        done = (await Records(held.records).rows(DONE, namespace))[0]["done"]
    lags, after_commit = times.milliseconds(times.sent), times.milliseconds(times.committed)
    total = EXECUTIONS * TASKS
    return {
        "tasks": float(total),
        "tasks_per_s": total / seconds,
        "tasks_missing": float(total - done),
        "states_lost": float(times.lost()),
        "write_to_row_p50_ms": percentile(lags, 0.5),
        "write_to_row_p99_ms": percentile(lags, 0.99),
        "write_to_row_max_ms": percentile(lags, 1.0),
        # What is left of it without the write itself: how far the records are behind.
        "commit_to_row_p50_ms": percentile(after_commit, 0.5),
        "commit_to_row_p99_ms": percentile(after_commit, 0.99),
        "commit_to_row_max_ms": percentile(after_commit, 1.0),
    }


async def _load(held: Installed, executions: Sequence[str], times: Times, versions: dict[str, list[int]]) -> float:
    """Seconds that the writes took. Executions take turns: none is changed twice within a batch of the monitor."""
    began, sending = time.monotonic(), asyncio.Semaphore(IN_FLIGHT)
    turns = {path: asyncio.Lock() for path in executions}

    async def one(number: int) -> None:
        place, path = number // EXECUTIONS, executions[number % EXECUTIONS]
        await asyncio.sleep(max(0.0, began + number / TASKS_A_SECOND - time.monotonic()))
        # Where the API server is too slow they go later: that is a lower rate, and no lag of the records.
        async with turns[path], sending:
            version = await times.write(held.cluster.operator, path, _status(place))
            versions.setdefault(path.rpartition("/")[2], []).append(version)

    say(f"{TASKS_A_SECOND} tasks/s for {EXECUTIONS * TASKS / TASKS_A_SECOND:.0f} s")
    await asyncio.gather(*(one(number) for number in range(EXECUTIONS * TASKS)))
    return time.monotonic() - began


def _status(place: int) -> JSONObject:
    """What changes when a task ends, and the next one starts."""
    ended = {"phase": "Completed", "attempt": 1, "startedAt": NOW, "completedAt": NOW, "output": {"rows": place}}
    tasks = {f"task-{place}": ended}
    if place + 1 < TASKS:
        tasks[f"task-{place + 1}"] = {"phase": "Running", "attempt": 1, "startedAt": NOW}
    return {"phase": "Running", "startedAt": NOW, "progress": f"{place + 1}/{TASKS}", "tasks": tasks}


@asynccontextmanager
async def _looking(
    held: Installed, namespace: str, times: Times, versions: dict[str, list[int]]
) -> AsyncIterator[None]:
    """Looks every LOOK seconds which states PostgreSQL has, until the block ends."""
    connection = await asyncpg.connect(held.records)

    async def look() -> None:
        while True:
            rows = await connection.fetch(ROWS, namespace)
            now = time.monotonic()
            for row in rows:
                # Ascending; a newer state holds an older one.
                due = versions.get(row["name"], [])
                while due and due[0] <= row["resource_version"]:
                    times.seen[due.pop(0)] = now
            await asyncio.sleep(LOOK)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await connection.close()


# --- both --------------------------------------------------------------------------------------------------------


async def _executions(held: Installed, namespace: str, count: int) -> list[str]:
    """Paths of so many new Executions, of a workflow that is not there."""
    names = [f"run-{number:03}" for number in range(count)]
    path = paths.ossa("executions", namespace)
    await post_all(held.cluster.admin, path, [execution(name, "bench") for name in names])
    return [f"{path}/{name}" for name in names]


async def _allow(held: Installed, namespace: str) -> None:
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "bench"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ossa-view"},
        "subjects": [
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": held.user.identity},
        ],
    }
    await held.cluster.admin.post(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings", binding)


async def _until_all_seen(times: Times) -> None:
    """Or PATIENCE is over, and some are lost."""
    for _ in range(int(PATIENCE / LOOK)):
        if not times.lost():
            return
        await asyncio.sleep(LOOK)
