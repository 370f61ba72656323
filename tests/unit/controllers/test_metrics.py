"""What /metrics tells of the engine, asked for as Prometheus does."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controllers.admission.metrics import AdmissionMetrics
from controllers.governance.scan import Scanner
from controllers.limits import Limits
from controllers.loop import Loop
from controllers.metrics import Metrics
from controllers.policycache import PolicyCache
from ossa.api.execution import ExecutionStatus, TaskStatus
from ossa.gateway.events.metrics import Metrics as SocketMetrics
from ossa.gateway.metrics import Metrics as GatewayMetrics
from ossa.kube import paths
from ossa.kube.client import ApiClient, NotFound
from ossa.kube.config import KubeConfig
from ossa.monitor.metrics import Metrics as MonitorMetrics
from ossa.store.metrics import Metrics as StoreMetrics
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import reconciler, until_ended
from tests.unit.controllers.test_conflicts import Careless, conflict_at
from tests.unit.documented import documented


class Scraped:
    """The metrics of a process, and a server that gives them out."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.server = self.metrics.serve(0)

    def text(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.server.server_port}/metrics") as answer:
            assert answer.status == 200
            return str(answer.read().decode())

    async def samples(self) -> dict[str, float]:
        """Values by name and labels, as in `ossa_api_requests_total{code=200,verb=GET}`; the labels are documented."""
        text = await asyncio.to_thread(self.text)
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            if family.name.endswith("_created"):
                continue
            for sample in family.samples:
                name = sample.name if family.type == "counter" else family.name
                assert set(sample.labels) - {"le"} == documented()[name][1], sample
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return found


@pytest.fixture
def scraped() -> Iterator[Scraped]:
    made = Scraped()
    yield made
    made.server.shutdown()
    made.server.server_close()


def limits() -> Limits:
    return Limits(most=1, namespace_most=lambda _: None, wake=lambda _: None)


async def test_executions_tasks_pods_and_locks_are_counted(scraped: Scraped) -> None:
    tasks = {
        "a": TaskStatus(phase="Completed"),
        "b": TaskStatus(phase="Running", locks=["db"]),
        "c": TaskStatus(phase="Retrying", reason="OOMKilled"),
    }
    statuses = [ExecutionStatus(phase="Running", tasks=tasks), ExecutionStatus(phase="Completed", tasks=tasks)]
    held = limits()
    held.update("u1", "lab", tasks)
    held.waits("u2", "lab", starved=True, rank=(0.0,), locks=frozenset({"db"}))
    scraped.metrics.look_at(lambda: statuses, lambda: ["Quota", "Unschedulable", "Quota"], held)
    samples = await scraped.samples()
    assert {
        name: value
        for name, value in samples.items()
        if not name.startswith(("ossa_leader", "ossa_decide", "ossa_policy"))
    } == {
        "ossa_executions{phase=Completed}": 1,
        "ossa_executions{phase=Running}": 1,
        "ossa_tasks{phase=Completed}": 1,
        "ossa_tasks{phase=Running}": 1,
        "ossa_tasks{phase=Retrying}": 1,
        "ossa_retrying{reason=OOMKilled}": 1,
        "ossa_pods_pending{reason=Quota}": 2,
        "ossa_pods_pending{reason=Unschedulable}": 1,
        "ossa_locks_held": 1,
        "ossa_waiting_for_locks": 1,
        "ossa_waiting_for_room": 1,
    }


async def test_requests_are_counted_by_verb_and_code(scraped: Scraped) -> None:
    cluster = ApiServer()
    pods = paths.core("pods", "lab")
    cluster.create(pods, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})
    async with cluster.served() as config, ApiClient(config, observe=scraped.metrics.request) as api:
        await api.get(pods)
        for name in ("b", "c"):
            with pytest.raises(NotFound):
                await api.get(f"{pods}/{name}")
        await api.delete(f"{pods}/a")
    samples = await scraped.samples()
    assert samples["ossa_api_requests_total{code=200,verb=GET}"] == 1
    assert samples["ossa_api_requests_total{code=404,verb=GET}"] == 2
    assert samples["ossa_api_requests_total{code=200,verb=DELETE}"] == 1
    assert samples["ossa_api_request_seconds_count{verb=GET}"] == 3


async def test_a_queue_tells_its_depth_and_how_long_a_key_waited(scraped: Scraped) -> None:
    done = asyncio.Event()

    async def work(key: str) -> None:
        await asyncio.sleep(0.02)
        if key == "c":
            done.set()

    loop: Loop[str] = Loop("Thing", work)
    scraped.metrics.follow(loop)
    for key in ("a", "b", "c"):
        loop.queue.add(key)
    assert (await scraped.samples())["ossa_queue_depth{kind=Thing}"] == 3
    worker = asyncio.create_task(loop.work())
    await asyncio.wait_for(done.wait(), 5)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    samples = await scraped.samples()
    assert samples["ossa_queue_depth{kind=Thing}"] == 0
    assert samples["ossa_queue_latency_seconds_count{kind=Thing}"] == 3
    # The second key waited for the first one, and the third for both.
    assert samples["ossa_queue_latency_seconds_sum{kind=Thing}"] > 0.06
    assert samples["ossa_reconcile_seconds_sum{kind=Thing}"] > 0.06


@pytest.mark.parametrize("number", [0, 2, 3])
async def test_a_retry_is_counted_once_also_where_a_write_meets_a_conflict(
    number: int, scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    conflict_at(number, monkeypatch)
    cluster = Careless()
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        async with reconciler(config, metrics=scraped.metrics):
            await until_ended(cluster)
            samples = await scraped.samples()
    assert samples["ossa_executions{phase=Completed}"] == 1
    assert {name: value for name, value in samples.items() if name.startswith("ossa_retries_total")} == {
        "ossa_retries_total{reason=PodLost,scope=task}": 1
    }
    assert samples["ossa_decide_seconds_count"] >= 3
    assert samples["ossa_queue_latency_seconds_count{kind=Execution}"] >= samples["ossa_decide_seconds_count"]


def test_the_documentation_names_all_metrics_and_no_others() -> None:
    """With their types; a counter under the name that is given out."""
    reconciler, store, gateway = Metrics(), StoreMetrics(), GatewayMetrics()
    SocketMetrics(gateway.registry)
    reconciler.look_at(lambda: [], lambda: [], limits())
    api = ApiClient(KubeConfig(server="http://nobody", token=lambda: None, namespace="lab"))
    reconciler.follow_scan(Scanner(api, PolicyCache(api, [])))
    known = {}
    for process in (reconciler, store, AdmissionMetrics(), MonitorMetrics(), gateway):
        for family in process.registry.collect():
            name = f"{family.name}_total" if family.type == "counter" else family.name
            known[name] = family.type
    assert {name: kind for name, (kind, _) in documented().items()} == known
