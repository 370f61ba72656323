"""One run, from an empty namespace to what was found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ossa.api.contract import API_VERSION
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Conflict, NotFound
from ossa.kube.config import load_config
from tests.bench.cluster import Cluster, cluster, remove_node, until_node_is_ready, until_published
from tests.bench.progress import say, told
from tests.bench.reconciler import environment
from tests.chaos import plan, workloads
from tests.chaos.answers import QUIET, Rates
from tests.chaos.faults import Faults, no_api_server
from tests.chaos.node import FakeNode
from tests.chaos.observer import Executions, Person, Pods, watch
from tests.chaos.plan import API_SERVER_FAULTS, Fault, Launch
from tests.chaos.proxy import Proxy
from tests.chaos.records import Evidence, FaultLog, Finding, Run
from tests.chaos.replicas import Replica, environment_of
from tests.chaos.stage import remove_remains, stay_alone, take_pods_away

JSONObject = dict[str, Any]

UNFINISHED_MOST = 40  # Executions at once: where no reconciler runs for a while the load waits
DRAIN_PATIENCE = 150.0  # seconds without any change after which what is left does not end
DRAIN_MOST = 900.0
PODS_END_SECONDS = 20.0
TRIES = 120


@dataclass(frozen=True, slots=True)
class Options:
    """How it runs. `without`: kinds of faults that are left out."""

    seed: int
    seconds: float
    without: frozenset[str] = frozenset()
    rates: Rates = field(default_factory=Rates)


@dataclass(slots=True)
class Chaos:
    """All parts of a run that has begun."""

    cluster: Cluster
    namespace: str
    options: Options
    faults: Faults
    nodes: list[FakeNode]
    replicas: list[Replica]
    pods: Pods
    executions: Executions
    log: FaultLog
    runs: list[Run]
    launched: dict[str, JSONObject] = field(default_factory=dict)
    _users: list[asyncio.Task[None]] = field(default_factory=list)

    # --- the load -------------------------------------------------------------------------------------------

    async def load(self, until: float) -> None:
        """Creates Executions, and steers some of them."""
        for launch in plan.launches(self.options.seed):
            await asyncio.sleep(launch.gap)
            await _until(lambda: len(self.executions.unfinished()) < UNFINISHED_MOST, until)
            if time.monotonic() >= until:
                return
            await self._launch(launch)

    async def _launch(self, launch: Launch) -> None:
        steering = launch.steering
        spec: JSONObject = {"workflow": launch.workflow, "inputs": launch.inputs}
        if steering.suspend_at == 0.0:
            spec["suspend"] = True
        body = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": {"name": launch.name}}
        self.launched[launch.name] = spec
        await insist(lambda: self.cluster.admin.post(paths.ossa("executions", self.namespace), {**body, "spec": spec}))
        if steering.resume_at is not None or steering.cancel_at is not None:
            self._users.append(asyncio.create_task(self._steer(launch)))

    async def _steer(self, launch: Launch) -> None:
        held = launch.steering
        path = paths.ossa("executions", self.namespace, launch.name)
        moments = [
            (held.suspend_at, {"suspend": True}),
            (held.resume_at, {"suspend": False}),
            (held.cancel_at, {"cancel": True}),
        ]
        began = time.monotonic()
        for at, change in sorted((at, list(change.items())) for at, change in moments if at is not None):
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            if ("cancel", True) in change:
                self.log.cancelled.add(launch.name)
            body = {"spec": dict(change)}
            await insist(lambda body=body: self.cluster.admin.patch(path, body))  # type: ignore[misc]

    # --- what goes wrong ------------------------------------------------------------------------------------

    async def disturb(self, faults: Iterator[Fault], until: float, *, in_turn: bool) -> None:
        """Injects faults; `in_turn`: each when the one before is over."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(min(fault.gap, max(0.0, until - time.monotonic())))
                if time.monotonic() + (fault.seconds if in_turn else 0.0) >= until:
                    return
                task = group.create_task(self.faults.inject(fault))
                if in_turn:
                    await task

    async def drain(self) -> None:
        """Everything works again: what is left has to end."""
        for replica in self.replicas:
            replica.proxy.rates = QUIET
        await self.faults.repair()
        await asyncio.gather(*self._users)
        triggers = workloads.workflows()[-1]["spec"]["triggers"]
        still = {"spec": {"triggers": [{**trigger, "suspend": True} for trigger in triggers]}}
        path = paths.ossa("workflows", self.namespace, "scheduled")
        await insist(lambda: self.cluster.admin.patch(path, still))
        began = self.executions.progress = time.monotonic()
        while time.monotonic() - began < DRAIN_MOST:
            quiet = time.monotonic() - self.executions.progress
            if not self.executions.unfinished() and quiet > 5.0:
                return
            if quiet > DRAIN_PATIENCE:
                break
            await asyncio.sleep(0.5)
        names = ", ".join(held.name for held in self.executions.unfinished())
        say(f"given up waiting for {names}")

    async def evidence(self) -> Evidence:
        """What is there in the end is asked for, not believed to the watches."""
        await _until(lambda: not self.pods.of_phase("Pending", "Running"), time.monotonic() + PODS_END_SECONDS)
        listed = await self.cluster.admin.get(paths.ossa("executions", self.namespace))
        for item in listed["items"]:
            self.executions.changed("MODIFIED", item)
        left = (await self.cluster.admin.get(paths.core("pods", self.namespace)))["items"]
        by_uid = self.executions.seen
        for replica in self.replicas:
            for record in replica.tracebacks():
                text = str(record.get("traceback", record["message"]))[-1500:]
                where = f"reconciler {replica.name}, {record.get('time', '')}"
                self.log.findings.append(Finding("an error that nobody expected", where, "none", text))
        return Evidence(self.runs, self.pods.seen, by_uid, self.log, self.launched, left)

    def standing(self) -> str:
        """For those who wait."""
        ended, known = self.executions.ended(), len(self.executions.seen)
        faults, runs = self.log.injected.total(), len(self.runs)
        return f"{ended}/{known} executions ended, {runs} pods run, {faults} faults"


async def _until(condition: Callable[[], bool], moment: float) -> None:
    """Until it is so, or a moment of the monotonic clock has come."""
    while not condition() and time.monotonic() < moment:  # noqa: ASYNC110 - many things change what is asked
        await asyncio.sleep(0.2)


async def insist(call: Callable[[], Awaitable[object]]) -> None:
    """As a user's client does that tries again: until it took effect."""
    for _ in range(TRIES):
        try:
            await call()
        except (Conflict, NotFound):
            return  # it took effect before, or what it is about is gone
        except ApiError as error:
            if not error.transient and error.status != 403:
                raise
            await asyncio.sleep(0.5)
        else:
            return
    raise TimeoutError("the API server did not answer for a minute")


async def run(options: Options) -> tuple[Evidence, float]:
    """What is known when it is over, and how many seconds the faults took."""
    async with prepared(options) as chaos:
        without = set(options.without)
        why = no_api_server()
        if why is not None:
            chaos.log.left_out |= dict.fromkeys(API_SERVER_FAULTS - without, why)
            without |= API_SERVER_FAULTS
        say(f"seed {options.seed}: faults for {options.seconds:.0f} s in namespace {chaos.namespace}")
        for replica in chaos.replicas:
            replica.proxy.rates = options.rates
        began = chaos.log.began = time.monotonic()
        until = began + options.seconds
        seed = options.seed
        async with told(chaos.standing):
            await _together(
                chaos.load(until),
                chaos.disturb(plan.faults(seed, without=without), until, in_turn=False),
                chaos.disturb(plan.node_faults(seed, without=without), until, in_turn=True),
            )
            seconds = time.monotonic() - began
            say("everything works again; waiting for what is left")
            await chaos.drain()
        return await chaos.evidence(), seconds


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """All of them; the first error where one fails."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except BaseExceptionGroup as error:
        first: BaseException = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


@asynccontextmanager
async def prepared(options: Options) -> AsyncIterator[Chaos]:
    """A namespace with workflows, two nodes, two reconcilers behind their proxies, and the watches."""
    config = load_config()
    async with ApiClient(config) as admin:
        await remove_remains(admin)
    async with AsyncExitStack() as stack:
        settings, token = stack.enter_context(environment())
        held = await stack.enter_async_context(cluster(settings, token))
        stack.push_async_callback(_remove_nodes, held.admin)
        namespace = await stack.enter_async_context(held.namespace("chaos"))
        person = await stack.enter_async_context(Person(config, workloads.APPROVER))
        log, runs, pods, executions = FaultLog(), list[Run](), Pods(), Executions()
        proxies = [Proxy(name, config, log, options.seed) for name in ("a", "b")]
        for proxy in proxies:
            await stack.enter_async_context(proxy.served())
        nodes = [FakeNode(held.admin, namespace, name, runs) for name in workloads.NODES]
        replicas = [Replica(proxy, environment_of(settings), log, options.seed) for proxy in proxies]
        for item in (workloads.agent(), *workloads.workflows()):
            await held.admin.post(paths.ossa(item["kind"].lower() + "s", namespace), item)
        parts = [*(node.serve() for node in nodes), watch(held.admin, person, namespace, pods, executions)]
        parts.append(stay_alone(held.admin))
        await stack.enter_async_context(_background([*parts, *(replica.serve() for replica in replicas)]))
        stack.push_async_callback(take_pods_away, held.admin, namespace)
        stack.push_async_callback(_until_it_answers, held.admin)
        for node in nodes:
            await until_node_is_ready(held.admin, node.name)
        for workflow in workloads.workflows():
            await until_published(held.admin, namespace, workflow["metadata"]["name"])
        faults = Faults(held.admin, namespace, replicas, nodes[1], pods, executions, log, options.rates)
        yield Chaos(held, namespace, options, faults, nodes, replicas, pods, executions, log, runs)


async def _until_it_answers(api: ApiClient) -> None:
    """A run that is broken off may have just restarted the API server, and all is to be taken back by it."""
    await insist(lambda: api.text("/readyz"))


async def _remove_nodes(api: ApiClient) -> None:
    for name in workloads.NODES:
        await remove_node(api, name)


@asynccontextmanager
async def _background(parts: list[Any]) -> AsyncIterator[None]:
    """Runs them while the block does; where one fails the block is broken off with its error."""
    block = asyncio.current_task()
    tasks = [asyncio.create_task(part) for part in parts]
    failed: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            failed.append(error)
            if block is not None:
                block.cancel()

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield
    except asyncio.CancelledError:
        if failed:
            raise failed[0] from None
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
