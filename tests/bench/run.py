"""One scenario, from an empty namespace to its figures."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from ossa.kube import paths
from ossa.kube.client import ApiClient
from tests.bench import load, measure, profile, workloads
from tests.bench.cluster import BenchError, Cluster, until_node_is_ready, until_published
from tests.bench.measure import Seen
from tests.bench.processes import KNOWN, child, cpu_by_name
from tests.bench.progress import say, told
from tests.bench.reconciler import Reconciler, profiled, reconciler
from tests.bench.scenarios import Scenario

Figures = dict[str, float]

CEILING = "ceiling"
CEILING_PODS = 1500
# What is left in the cluster is not cleaned up while it is measured; the removal is measured apart.
KEEP_PODS = 86_400.0
IDLE_SECONDS = 1.0


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
        server, before = await cluster.counters(), cpu_by_name()
        began = time.monotonic()
        # As the reconciler's account: the policies of the chart cost the same.
        bodies = [workloads.plain_pod(f"plain-{n:05}", scheduler=options.scheduler) for n in range(CEILING_PODS)]
        async with told(lambda: f"ceiling: {len(seen.ended)}/{CEILING_PODS} pods ended"):
            posting = asyncio.create_task(load.post_all(cluster.operator, paths.core("pods", namespace), bodies))
            if not await seen.until(lambda: len(seen.ended) >= CEILING_PODS, patience=30):
                raise BenchError(f"{CEILING_PODS - len(seen.ended)} plain pods did not end")
            await posting
        seconds = max(seen.ended.values()) - began
        cpu = measure.per_task(measure.difference(cpu_by_name(), before), CEILING_PODS)
        requests = _server_requests(await cluster.counters(), server, CEILING_PODS)
    return {
        "tasks": float(CEILING_PODS),
        "duration_s": round(seconds, 2),
        "tasks_per_s": round(CEILING_PODS / seconds, 1),
        **requests,
        **_cpu(cpu),
    }


async def engine(cluster: Cluster, scenario: Scenario, options: Options, most: Figures) -> Figures:
    """A scenario of the engine. `most`: the figures of the ceiling."""
    say(f"{scenario.name}: {scenario.about}")
    workflow = workloads.WORKFLOWS[scenario.workflow]()
    async with cluster.namespace(scenario.name) as namespace:
        for item in (*workloads.agents(scheduler=options.scheduler), workflow):
            await cluster.admin.post(paths.ossa(item["kind"].lower() + "s", namespace), item)
        async with stage(cluster, namespace) as seen:
            if scenario.finished:
                await _leave_finished(cluster, namespace, scenario, seen)
            async with reconciler(cluster.environment, keep_pods=KEEP_PODS) as held:
                figures = await _until_idle(cluster.admin, held, namespace, scenario)
                file = options.profile / f"{scenario.name}.folded" if options.profile else None
                async with profiled(held.pid, file):
                    figures |= await _loaded(cluster, held, namespace, scenario, seen)
                if file is not None:
                    say(f"{scenario.name}: where the reconciler's time went ({file})\n{profile.text_of(file)}")
            if scenario.clean:
                figures |= await _cleaned(cluster, scenario, seen)
    figures["ceiling_ratio"] = round(figures["tasks_per_s"] / most["tasks_per_s"], 3)
    if plain := _known_cpu(most):
        figures["cpu_ratio"] = round(plain / _known_cpu(figures), 3)
    return figures


def _known_cpu(figures: Figures) -> float:
    """CPU a task of the control plane, the engine and the benchmark itself: what others do does not count."""
    return sum(figures.get(f"cpu_ms_per_task_{name}", 0.0) for name in {name for _, name in KNOWN})


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
    """From its start until the reconciler has published the workflow and has nothing to do."""
    await until_published(api, namespace, scenario.workflow)
    idle_since: float | None = None
    while idle_since is None or time.monotonic() - idle_since < IDLE_SECONDS:
        await asyncio.sleep(0.1)
        if await held.waiting() > 0:
            idle_since = None
        elif idle_since is None:
            idle_since = time.monotonic()
    return {
        "start_s": round(idle_since - held.started, 2),
        "start_cpu_s": round(held.cpu(), 2),
        "start_memory_mb": round(held.peak_mb(), 1),
    }


async def _loaded(cluster: Cluster, held: Reconciler, namespace: str, scenario: Scenario, seen: Seen) -> Figures:
    tasks = scenario.executions * workloads.TASKS[scenario.workflow]
    already = len(seen.ended)
    server, own, cpu, own_cpu = await cluster.counters(), await held.requests(), cpu_by_name(), held.cpu()

    def standing() -> str:
        done = sum(name in seen.finished for name in created)
        return (
            f"{scenario.name}: {len(seen.ended) - already}/{tasks} tasks, {done}/{scenario.executions} executions ended"
        )

    created: dict[str, float] = {}
    async with told(standing):
        await load.run_executions(cluster.admin, namespace, scenario, seen, created)
    cpu_after, own_cpu_after, peak = cpu_by_name(), held.cpu(), held.peak_mb()
    own_after, server_after = await held.requests(), await cluster.counters()
    figures = _speed(scenario, seen, created, workloads.parents(workloads.WORKFLOWS[scenario.workflow]()))
    done = len(seen.ended) - already
    figures |= {
        "memory_peak_mb": round(peak, 1),
        "cpu_ms_per_task": round((own_cpu_after - own_cpu) * 1000 / max(1, done), 3),
        "execution_max_kib": round(seen.largest / 1024, 1),
    }
    figures |= _prefixed("requests_per_task_", measure.per_task(measure.difference(own_after, own), done))
    figures |= _server_requests(server_after, server, done)
    return figures | _cpu(measure.per_task(measure.difference(cpu_after, cpu), done))


def _cpu(seconds: Mapping[str, float]) -> Figures:
    """CPU a task of each process that is known, of all others, and the share of these in all."""
    busy = seconds.get("machine", 0.0)
    other = max(0.0, busy - sum(value for name, value in seconds.items() if name != "machine"))
    figures = {f"cpu_ms_per_task_{name}": round(value * 1000, 3) for name, value in {**seconds, "other": other}.items()}
    return figures | {"other_share": round(other / busy, 3) if busy else 0.0}


def _speed(
    scenario: Scenario, seen: Seen, created: Mapping[str, float], parents: Mapping[str, frozenset[str]]
) -> Figures:
    ends = {name: seen.finished[name] for name in created if name in seen.finished}
    mine = Seen(
        added={key: at for key, at in seen.added.items() if key.split("/")[0] in created},
        ended={key: at for key, at in seen.ended.items() if key.split("/")[0] in created},
    )
    last = max((at for _, at in ends.values()), default=max(mine.ended.values(), default=time.monotonic()))
    duration = last - min(created.values())
    completed = sum(phase == "Completed" for phase, _ in ends.values())
    return {
        "executions": float(scenario.executions),
        "completed_share": round(completed / scenario.executions, 5),
        "tasks": float(len(mine.ended)),
        "duration_s": round(duration, 2),
        "tasks_per_s": round(len(mine.ended) / duration, 1),
        **measure.milliseconds(list(measure.successor_gaps(mine, parents)), "successor"),
        **measure.milliseconds(measure.first_pods(mine, created), "first_pod"),
        **measure.milliseconds([at - created[name] for name, (_, at) in ends.items()], "execution"),
    }


def _server_requests(after: str, before: str, tasks: int) -> Figures:
    """As the API server counts them, by all clients: nobody but the engine asks for these meanwhile."""
    name, by = "apiserver_request_total", ["group", "resource", "subresource", "verb"]
    counted = measure.difference(measure.total(after, name, by), measure.total(before, name, by))
    wanted = {
        "pods_post": counted.get("/pods//POST", 0.0),
        "pods_get": counted.get("/pods//GET", 0.0),
        "pods_delete": counted.get("/pods//DELETE", 0.0) + counted.get("/pods//DELETECOLLECTION", 0.0),
        "events_post": counted.get("/events//POST", 0.0),
        "status_patch": counted.get("ossa.dev/executions/status/PATCH", 0.0),
        "revisions_get": counted.get("apps/controllerrevisions//GET", 0.0),
        "revisions_put": counted.get("apps/controllerrevisions//PUT", 0.0),
    }
    return {f"{key}_per_task": value for key, value in measure.per_task(wanted, tasks).items()}


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


def _prefixed(prefix: str, figures: Mapping[str, float]) -> Figures:
    return {f"{prefix}{key.lower()}": value for key, value in figures.items()}
