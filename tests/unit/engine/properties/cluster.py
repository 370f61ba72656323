"""A small world: pods as the API server has them, the operator's view of them, and what the operator knows."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from hypothesis.stateful import RuleBasedStateMachine

from ossa.api.execution import Execution, ExecutionStatus
from ossa.engine.decide import Decision, PodRequest
from ossa.engine.revision import CompiledRevision
from ossa.engine.rulings import Judge
from ossa.engine.snapshot import Outage, PodView, Snapshot, WorkflowView
from tests.unit.engine.world import NOW, execution, pending


class Cluster(RuleBasedStateMachine):
    """The view of the operator may be late, repeated or out of order, and the operator may die at any time."""

    def build(self, revision: CompiledRevision, judge: Judge) -> None:
        """As it is when the Execution has just been created."""
        self.judge = judge
        self.now: datetime = NOW
        self.revision = revision
        self.execution: Execution = execution()
        self.pods: dict[str, PodView] = {}
        self.seen: dict[str, PodView] = {}
        self.history: dict[str, list[PodView]] = {}
        self.in_flight: set[str] = set()
        self.refused: dict[str, str] = {}
        self.logs: dict[str, str] = {}
        self.wanted: set[str] = set()
        self.requested: set[str] = set()
        self.outages: tuple[Outage, ...] = ()
        self.epoch = 1

    def snapshot(self) -> Snapshot:
        view = WorkflowView(phase="Published", revision=self.revision.name, message=None, current=True)
        return Snapshot(
            execution=self.execution,
            workflow=view,
            revision=self.revision,
            pods=dict(self.seen),
            in_flight=frozenset(self.in_flight),
            refused=dict(self.refused),
            log_tails=dict(self.logs),
            outages=self.outages,
            epoch=self.epoch,
            judge=self.judge,
        )

    def steer(self, **fields: bool) -> None:
        wanted = self.execution.spec.model_copy(update=fields)
        self.execution = self.execution.model_copy(update={"spec": wanted})

    def act(self, decision: Decision) -> None:
        self.execution = self.execution.model_copy(update={"status": stored(decision.status)})
        self.request(decision)
        for request in decision.create:
            self.create(request)
            self.in_flight.add(request.name)
        for name in decision.delete:
            if name in self.pods:
                self.delete(name, gone=False)
        self.wanted |= set(decision.need_logs)

    def request(self, decision: Decision) -> None:
        self.requested |= {request.name for request in decision.create}

    def create(self, request: PodRequest) -> None:
        assert request.name not in self.pods
        self.set_pod(pending(request, self.now))

    def set_pod(self, pod: PodView) -> None:
        self.pods[pod.name] = pod
        self.history.setdefault(pod.name, []).append(pod)

    def delete(self, name: str, *, gone: bool) -> None:
        if gone:
            del self.pods[name]
        else:
            self.set_pod(replace(self.pods[name], deleting=True))

    def see(self, names: Iterable[str]) -> None:
        for name in names:
            self.in_flight.discard(name)
            if name in self.pods:
                self.seen[name] = self.pods[name]
            else:
                self.seen.pop(name, None)

    def running(self) -> list[str]:
        return sorted(name for name, pod in self.pods.items() if not pod.ended)


def stored(status: ExecutionStatus) -> ExecutionStatus:
    """The status as it comes back from the API server."""
    return ExecutionStatus.model_validate(json.loads(json.dumps(status.to_json())))
