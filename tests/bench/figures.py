"""Pure: the figures of a scenario, by the names that thresholds.toml and the table use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench import measure
from tests.bench.measure import Seen
from tests.bench.processes import KNOWN

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Counters:
    """What only grows, at one moment."""

    cpu: Mapping[str, float]  # seconds by process, and `machine`
    own: Mapping[str, float]  # requests of the reconciler by verb
    server: str  # the API server's metrics


def cost(before: Counters, after: Counters, *, tasks: int) -> Figures:
    """Requests and CPU a task."""
    own = measure.per_task(measure.difference(after.own, before.own), tasks)
    return {
        **{f"requests_per_task_{verb.lower()}": value for verb, value in own.items()},
        **_server_requests(before.server, after.server, tasks),
        "apiserver_alloc_kib_per_task": round((_allocated(after.server) - _allocated(before.server)) / 1024 / tasks, 1),
        **_cpu(measure.per_task(measure.difference(after.cpu, before.cpu), tasks)),
    }


def _cpu(seconds: Mapping[str, float]) -> Figures:
    """CPU a task of each process that is known, of all others, and the share of these in all."""
    busy = seconds.get("machine", 0.0)
    other = max(0.0, busy - sum(value for name, value in seconds.items() if name != "machine"))
    figures = {f"cpu_ms_per_task_{name}": round(value * 1000, 3) for name, value in {**seconds, "other": other}.items()}
    return figures | {"other_share": round(other / busy, 3) if busy else 0.0}


def _server_requests(before: str, after: str, tasks: int) -> Figures:
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


def _allocated(server: str) -> float:
    """Bytes that the API server has allocated since its start: what it does, whatever else the machine does."""
    return sum(measure.total(server, "go_memstats_alloc_bytes_total", ()).values())


def speed(seen: Seen, created: Mapping[str, float], parents: Mapping[str, frozenset[str]]) -> Figures:
    """Times of the executions whose moment of creation is given; what others there were does not count."""
    ends = {name: seen.finished[name] for name in created if name in seen.finished}
    mine = Seen(
        added={key: at for key, at in seen.added.items() if key.split("/")[0] in created},
        ended={key: at for key, at in seen.ended.items() if key.split("/")[0] in created},
    )
    first = min(created.values())
    last = max([at for _, at in ends.values()] or list(mine.ended.values()), default=first)
    duration = last - first
    completed = sum(phase == "Completed" for phase, _ in ends.values())
    return {
        "executions": float(len(created)),
        "completed_share": round(completed / len(created), 5),
        "tasks": float(len(mine.ended)),
        "duration_s": round(duration, 2),
        "tasks_per_s": round(len(mine.ended) / duration, 1) if duration else 0.0,
        **measure.milliseconds(list(measure.successor_gaps(mine, parents)), "successor"),
        **measure.milliseconds(measure.first_pods(mine, created), "first_pod"),
        **measure.milliseconds([at - created[name] for name, (_, at) in ends.items()], "execution"),
    }


def ratios(found: Figures, most: Figures) -> Figures:
    """The speed by that of the ceiling, and the CPU of a plain pod by that of a task where the ceiling was measured."""
    figures = {"ceiling_ratio": round(found["tasks_per_s"] / most["tasks_per_s"], 3)}
    plain, task = _known_cpu(most), _known_cpu(found)
    return figures | {"cpu_ratio": round(plain / task, 3)} if plain and task else figures


def _known_cpu(figures: Figures) -> float:
    """CPU a task of the control plane, the engine and the benchmark itself: what others do does not count."""
    return sum(figures.get(f"cpu_ms_per_task_{name}", 0.0) for name in {name for _, name in KNOWN})
