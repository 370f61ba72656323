"""What /metrics tells of the reconciler."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controllers.deciding import Decider
from controllers.governance.judges import outcome_of
from controllers.governance.scan import Scanner
from controllers.limits import Limits
from controllers.loop import Loop
from ossa.api.execution import ExecutionStatus
from ossa.engine.decision import Retry
from ossa.engine.rulings import Finding, Ruled
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.engine.units import active_units

# Upper bounds of histograms, in seconds.
_TURN = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)
_REQUEST = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)
_DECISION = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1)
_SCAN = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_WAIT = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def _depth(loop: Loop[Any]) -> float:
    return float(len(loop.queue))


class _Engine(Collector):
    """What the engine holds. Tasks of executions that have ended are not counted: there may be very many."""

    def __init__(
        self, statuses: Callable[[], list[ExecutionStatus]], pending: Callable[[], list[str]], limits: Limits
    ) -> None:
        self._statuses = statuses
        self._pending = pending
        self._limits = limits

    def collect(self) -> Iterator[Metric]:
        executions: Counts[str] = Counts()
        tasks: Counts[str] = Counts()
        retries: Counts[str] = Counts()
        for status in self._statuses():
            executions[status.phase] += 1
            if status.phase in EXECUTION_TERMINAL:
                continue
            for task in status.tasks.values():
                tasks[task.phase] += 1
            for _, unit in active_units(status.tasks):
                if unit.phase == "Retrying":
                    retries[unit.reason or "PodLost"] += 1
        yield _by("ossa_executions", "Executions by phase.", "phase", executions)
        yield _by("ossa_tasks", "Tasks of executions that have not ended, by phase.", "phase", tasks)
        yield _by("ossa_retrying", "Tasks and items that wait for another attempt, by reason.", "reason", retries)
        pending = Counts(self._pending())
        yield _by("ossa_pods_pending", "Worker pods that do not run yet, by what they wait for.", "reason", pending)
        limits = self._limits
        yield GaugeMetricFamily("ossa_locks_held", "Locks that are held, each holder counted.", limits.locks_held)
        waiting = limits.waiting_for_locks
        yield GaugeMetricFamily("ossa_waiting_for_locks", "Executions that wait for a lock.", waiting)
        yield GaugeMetricFamily("ossa_waiting_for_room", "Executions that wait for room for a pod.", limits.starving)


class _Violations(Collector):
    """What the scan has found. A policy without violations is not there."""

    def __init__(self, scanner: Scanner) -> None:
        self._scanner = scanner

    def collect(self) -> Iterator[Metric]:
        text = "Objects that are there and do not keep to a policy."
        family = GaugeMetricFamily("ossa_policy_violations", text, labels=["policy", "kind"])
        for (policy, kind), count in sorted(self._scanner.findings.counts().items()):
            if count:
                family.add_metric([policy, kind], count)
        yield family


def _by(name: str, text: str, label: str, counts: Counts[str]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


class Metrics:
    """One registry a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("ossa_api_requests", "Requests to the API server.", "verb", "code")
        self._seconds = self._histogram(
            "ossa_api_request_seconds", "Time of a request to the API server.", _REQUEST, "verb"
        )
        self._leader = self._gauge("ossa_leader", "1 in the process that leads, 0 in one that waits.")
        self._epoch = self._gauge("ossa_leader_epoch", "The epoch that this process leads under; 0 while it waits.")
        self._turns = self._histogram(
            "ossa_reconcile_seconds",
            "Time of one turn of an object, requests to the API server included.",
            _TURN,
            "kind",
        )
        self._depth = self._gauge("ossa_queue_depth", "Keys that wait to be reconciled.", "kind")
        self._waits = self._histogram(
            "ossa_queue_latency_seconds", "Time that a key waited for its turn, from when it was due.", _WAIT, "kind"
        )
        self._decisions = self._histogram(
            "ossa_decide_seconds", "Time of one decision about an Execution; no requests are in it.", _DECISION
        )
        self._scans = self._histogram(
            "ossa_policy_scan_duration_seconds", "Time in which policies judged what is there.", _SCAN, "scope"
        )
        self._scanned = self._counter("ossa_policy_scanned_objects", "Objects that policies looked at in scans.")
        self._told_of: set[str] = set()  # policies that have series
        self._verdicts = self._counter(
            "ossa_policy_verdicts",
            "What policies said while Executions ran; at: start of an Execution, task, output.",
            "policy",
            "action",
            "outcome",
            "at",
        )
        self._retries = self._counter(
            "ossa_retries", "Failed or lost attempts that another one follows.", "scope", "reason"
        )

    def request(self, verb: str, code: int, seconds: float) -> None:
        """An `Observer` of the API client."""
        self._requests.labels(verb, str(code)).inc()
        self._seconds.labels(verb).observe(seconds)

    def follow(self, *loops: Loop[Any]) -> None:
        """Shows the queues of these loops."""
        for loop in loops:
            loop.took = self._turns.labels(loop.kind).observe
            loop.queue.waited = self._waits.labels(loop.kind).observe
            self._depth.labels(loop.kind).set_function(partial(_depth, loop))

    def follow_decisions(self, decider: Decider) -> None:
        """Shows what is decided."""
        decider.took = self._decisions.observe
        decider.retried = self._retried
        decider.ruled = self._ruled

    def follow_scan(self, scanner: Scanner) -> None:
        """Shows what policies find of what is there."""
        scanner.took = self._scanned_for
        scanner.looked_at = self._scanned.inc
        self.registry.register(_Violations(scanner))

    def look_at(
        self, statuses: Callable[[], list[ExecutionStatus]], pending: Callable[[], list[str]], limits: Limits
    ) -> None:
        """Shows executions, tasks, pods and locks, counted when somebody asks. `pending` are reasons, one a pod."""
        self.registry.register(_Engine(statuses, pending, limits))

    def leads(self, epoch: int) -> None:
        """This process leads from now on until it ends."""
        self._leader.set(1)
        self._epoch.set(epoch)

    def serve(self, port: int) -> WSGIServer:
        """Starts the server of /metrics in a thread of its own; 0 is any port that is free."""
        return start_http_server(port, registry=self.registry)[0]

    def _scanned_for(self, scope: str, seconds: float) -> None:
        self._scans.labels(scope).observe(seconds)

    def _retried(self, retry: Retry) -> None:
        self._retries.labels(retry.scope, retry.reason).inc()

    def _ruled(self, ruled: Ruled, finding: Finding) -> None:
        self._verdicts.labels(finding.policy, finding.action, outcome_of(ruled, finding), ruled.at).inc()
        self._told_of.add(finding.policy)

    def policies_are(self, names: Iterable[str]) -> None:
        """The series of policies that are gone end: they would stay for ever."""
        for gone in self._told_of.difference(names):
            self._verdicts.remove_by_labels({"policy": gone})
            self._told_of.discard(gone)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)
