"""One scenario, from an empty namespace to its figures."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from ossa.kube import paths
from ossa.kube.client import ApiClient
from tests.bench import figures, load, profile, workloads
from tests.bench.cluster import Cluster, until_node_is_ready, until_published
from tests.bench.errors import BenchError
from tests.bench.figures import Figures
from tests.bench.measure import Seen
from tests.bench.processes import child, cpu_by_name
from tests.bench.progress import say, told
from tests.bench.reconciler import Reconciler, profiled, reconciler
from tests.bench.scenarios import Scenario

CEILING = "ceiling"
CEILING_PODS = 1500
# What is left in the cluster is not cleaned up while it is measured; the removal is measured apart.
KEEP_PODS = 86_400.0
IDLE_SECONDS = 1.0
IDLE_LOOK = 0.5  # seconds between two looks, of which an idle reconciler uses a part of a core at most
IDLE_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for all scenarios of a run."""

    scheduler: bool = True
    profile: Path | None = None  # a folder


@asynccontextmanager
async def stage(cluster: Cluster, namespace: str) -> AsyncIterator[Seen]:
    """The fake node and the observer of a namespace, at work."""
    seen = Seen()
    async with (
        child(["-m", "tests.bench.node", namespace], env=os.environ),
        child(["-m", "tests.bench.observer", namespace], env=os.environ) as observer,
    ):
        reading = asyncio.create_task(_read(observer, seen))
        try:
            if not await seen.until(lambda: seen.ready, patience=30):
                raise BenchError("the observer does not begin to watch")
            await until_node_is_ready(cluster.admin)
            yield seen
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(observer: asyncio.subprocess.Process, seen: Seen) -> None:
    assert observer.stdout is not None
    async for line in observer.stdout:
        seen.take(orjson.loads(line))


async def ceiling(cluster: Cluster, options: Options) -> Figures:
    """Plain pods as fast as one client can, from the first POST to the last event that says Succeeded."""
    say(f"ceiling: {CEILING_PODS} plain pods")
    async with cluster.namespace(CEILING) as namespace, stage(cluster, namespace) as seen:
        before = await _counters(cluster)
        began = time.monotonic()
        # As the reconciler's account: the policies of the chart cost the same.
        bodies = [workloads.plain_pod(f"plain-{n:05}", scheduler=options.scheduler) for n in range(CEILING_PODS)]
        async with told(lambda: f"ceiling: {len(seen.ended)}/{CEILING_PODS} pods ended"):
            posting = asyncio.create_task(load.post_all(cluster.operator, paths.core("pods", namespace), bodies))
            if not await seen.until(lambda: len(seen.ended) >= CEILING_PODS, patience=30):
                raise BenchError(f"{CEILING_PODS - len(seen.ended)} plain pods did not end")
            await posting
        seconds = max(seen.ended.values()) - began
        after = await _counters(cluster)
    return {
        "tasks": float(CEILING_PODS),
        "duration_s": round(seconds, 2),
        "tasks_per_s": round(CEILING_PODS / seconds, 1),
        **figures.cost(before, after, tasks=CEILING_PODS),
    }


async def engine(cluster: Cluster, scenario: Scenario, options: Options, most: Figures) -> Figures:
    """A scenario of the engine. `most`: the figures of the ceiling."""
    say(f"{scenario.name}: {scenario.about}")
    workflow = workloads.WORKFLOWS[scenario.workflow]()
    parents = workloads.parents(workflow)
    async with cluster.namespace(scenario.name) as namespace:
        for item in (*workloads.agents(scheduler=options.scheduler), workflow):
            await cluster.admin.post(paths.ossa(item["kind"].lower() + "s", namespace), item)
        async with stage(cluster, namespace) as seen:
            if scenario.finished:
                await _leave_finished(cluster, namespace, scenario, seen)
            async with reconciler(cluster.environment, keep_pods=KEEP_PODS) as held:
                found = await _until_idle(cluster.admin, held, namespace, scenario)
                file = options.profile / f"{scenario.name}.folded" if options.profile else None
                async with profiled(held.pid, file):
                    costs, created = await _loaded(cluster, held, namespace, scenario, seen)
                found |= costs | figures.speed(seen, created, parents)
                if file is not None:
                    say(f"{scenario.name}: where the reconciler's time went ({file})\n{profile.text_of(file)}")
            if scenario.clean:
                found |= await _cleaned(cluster, scenario, seen)
    return found | figures.ratios(found, most)


async def _leave_finished(cluster: Cluster, namespace: str, scenario: Scenario, seen: Seen) -> None:
    """Runs one execution, and writes more with the same status as if they had run an hour ago."""
    async with reconciler(cluster.environment, keep_pods=KEEP_PODS):
        await until_published(cluster.admin, namespace, scenario.workflow)
        await load.post_all(
            cluster.admin, paths.ossa("executions", namespace), [workloads.execution("model", scenario.workflow)]
        )
        if not await seen.until(lambda: "model" in seen.finished, patience=scenario.patience):
            raise BenchError("the execution that the finished ones are modelled on does not end")
    await load.seed_finished(cluster, namespace, scenario.finished)


async def _until_idle(api: ApiClient, held: Reconciler, namespace: str, scenario: Scenario) -> Figures:
    """From its start until the reconciler has published the workflow, has looked at all that is there, and is idle.

    An empty queue alone says little: what is there may still be on its way to it.
    """
    await until_published(api, namespace, scenario.workflow)
    idle_since, cpu = None, held.cpu()
    while idle_since is None or time.monotonic() - idle_since < IDLE_SECONDS:
        await asyncio.sleep(IDLE_LOOK)
        before, cpu = cpu, held.cpu()
        busy = await held.waiting() > 0 or cpu - before > IDLE_SHARE * IDLE_LOOK
        if busy or await held.executions() < scenario.finished:
            idle_since = None
        elif idle_since is None:
            idle_since = time.monotonic()
    return {
        "start_s": round(idle_since - held.started, 2),
        "start_cpu_s": round(held.cpu(), 2),
        "start_memory_mb": round(held.peak_mb(), 1),
    }


async def _loaded(
    cluster: Cluster, held: Reconciler, namespace: str, scenario: Scenario, seen: Seen
) -> tuple[Figures, dict[str, float]]:
    """What the load cost, and when each execution was created."""
    tasks = scenario.executions * workloads.TASKS[scenario.workflow]
    already = len(seen.ended)
    created: dict[str, float] = {}

    def standing() -> str:
        pods, done = len(seen.ended) - already, sum(name in seen.finished for name in created)
        return f"{scenario.name}: {pods}/{tasks} tasks, {done}/{scenario.executions} executions ended"

    before = await _counters(cluster, held)
    async with told(standing):
        await load.run_executions(cluster.admin, namespace, scenario, seen, created)
    peak, after = held.peak_mb(), await _counters(cluster, held)
    return {
        "memory_peak_mb": round(peak, 1),
        "execution_max_kib": round(seen.largest / 1024, 1),
        **figures.cost(before, after, tasks=len(seen.ended) - already),
    }, created


async def _counters(cluster: Cluster, held: Reconciler | None = None) -> figures.Counters:
    """CPU first: reading the others takes some."""
    cpu = cpu_by_name()
    own = await held.requests() if held is not None else {}
    return figures.Counters(cpu, own, await cluster.counters())


async def _cleaned(cluster: Cluster, scenario: Scenario, seen: Seen) -> Figures:
    """What the removal of the pods takes: another reconciler, that keeps none, starts where the first one ended."""
    wanted = set(seen.ended)
    async with (
        reconciler(cluster.environment, keep_pods=0.0) as held,
        told(lambda: f"{scenario.name}: {len(seen.gone)}/{len(wanted)} pods removed"),
    ):
        gone = await seen.until(lambda: seen.gone.keys() >= wanted, patience=scenario.patience)
        if not gone:
            say(f"{scenario.name}: {len(wanted - seen.gone.keys())} pods were not removed")
        deletes = (await held.requests()).get("DELETE", 0.0)
        return {
            "clean_share": round(len(seen.gone) / len(wanted), 5),
            "clean_s": round(max(seen.gone.values(), default=0.0) - held.started, 2),
            "clean_delete_per_task": round(deletes / len(wanted), 5),
            "clean_cpu_ms_per_task": round(held.cpu() * 1000 / len(wanted), 3),
        }
