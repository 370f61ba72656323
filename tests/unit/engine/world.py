"""Workflows, executions and pods for the engine's tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ossa.api.agent import AgentSpec
from ossa.api.artifact import ArtifactRef
from ossa.api.execution import Execution, ExecutionStatus
from ossa.api.workflow import WorkflowSpec
from ossa.engine.decide import Decision, PodRequest, decide
from ossa.engine.revision import AgentSnapshot, CompiledRevision, Revision, compile_revision
from ossa.engine.snapshot import ChildView, PodView, Snapshot, WorkflowView

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def spec(*tasks: Mapping[str, Any], **fields: Any) -> WorkflowSpec:
    """A workflow; the agent of each task is `worker` where it names none."""
    if "finally_" in fields:
        fields["finally"] = [{"agent": "worker", **task} for task in fields.pop("finally_")]
    return WorkflowSpec.model_validate({"tasks": [{"agent": "worker", **task} for task in tasks], **fields})


def agent(name: str = "worker", **capability: Any) -> AgentSnapshot:
    """An agent with one capability."""
    held = AgentSpec.model_validate(
        {"capabilities": [{"name": "work", **capability}], "runtime": {"handler": "work:run"}}
    )
    return AgentSnapshot(name=name, uid=f"uid-{name}", generation=1, image="worker:1", spec=held)


def compiled(workflow: WorkflowSpec, *agents: AgentSnapshot) -> CompiledRevision:
    """The compiled revision of a workflow."""
    held = {one.name: one for one in (agents or (agent(),))}
    return compile_revision(Revision(workflow="flow", version="1.0.0", spec=workflow, agents=held))


def execution(inputs: Mapping[str, Any] | None = None, status: ExecutionStatus | None = None) -> Execution:
    """An Execution of the workflow `flow`."""
    return Execution.model_validate(
        {
            "apiVersion": "ossa.dev/v1alpha1",
            "kind": "Execution",
            "metadata": {"name": "run", "namespace": "team", "uid": "uid-run", "generation": 1},
            "spec": {"workflow": "flow", "inputs": dict(inputs or {})},
            "status": status or {},
        }
    )


def reference(number: int = 1) -> dict[str, Any]:
    """A well-formed artifact reference as it stands in an output."""
    return ArtifactRef.model_validate(
        {"$artifact": f"id-{number}", "size": 2000, "sha256": f"{number:064x}", "mediaType": "application/json"}
    ).to_json()


def pending(request: PodRequest, now: datetime) -> PodView:
    """The pod that was asked for, as it is when it has just been made."""
    return PodView(
        name=request.name,
        uid=f"uid-{request.name}",
        task=request.task,
        attempt=request.attempt,
        phase="Pending",
        created_at=now,
        input_json=json.dumps(request.input),
        index=request.identity.index,
        round=request.identity.round,
        lost=request.identity.lost,
        locks=request.identity.locks,
        judged=request.identity.judged,
    )


class Run:
    """Drives one Execution: applies decisions at once, and lets a test say what pods do."""

    def __init__(self, revision: CompiledRevision, inputs: Mapping[str, Any] | None = None) -> None:
        self.now = NOW
        self.revision = revision
        self.snapshot = Snapshot(
            execution=execution(inputs),
            workflow=WorkflowView(phase="Published", revision=revision.name, message=None, current=True),
            revision=revision,
        )
        self.last = Decision(self.snapshot.execution.status)
        self.requests: list[PodRequest] = []
        self.written = self.snapshot.execution

    @property
    def status(self) -> ExecutionStatus:
        return self.snapshot.execution.status

    def step(self) -> Decision:
        """Decides once, and does what was decided: new pods are Pending at once."""
        self.written = self.snapshot.execution
        self.last = decide(self.snapshot, self.now)
        self.write(self.last.status)
        pods = {name: pod for name, pod in self.snapshot.pods.items() if name not in self.last.delete}
        for request in self.last.create:
            self.requests.append(request)
            pods[request.name] = pending(request, self.now)
        self.change(pods=pods)
        return self.last

    def write(self, status: ExecutionStatus) -> None:
        """Writes the status, through JSON as the API server would hold it."""
        stored = json.loads(json.dumps(status.to_json()))
        held = self.snapshot.execution.model_copy(update={"status": ExecutionStatus.model_validate(stored)})
        self.change(execution=held)

    def change(self, **fields: Any) -> None:
        """Changes the snapshot."""
        self.snapshot = replace(self.snapshot, **fields)

    def pod_of(self, task: str) -> str:
        """Name of the current pod of a task, or of an item written as task[3]."""
        name, _, index = task.removesuffix("]").partition("[")
        held = self.status.tasks[name]
        if index:
            assert held.items is not None
            return held.items.active[index].pod or ""
        return held.pod or ""

    def steer(self, **fields: Any) -> Decision:
        """A user changes the spec of the Execution."""
        spec = self.snapshot.execution.spec.model_copy(update=fields)
        self.change(execution=self.snapshot.execution.model_copy(update={"spec": spec}))
        return self.step()

    def crash(self) -> None:
        """The reconciler dies before it wrote what it decided last; the pods are there, listed by their names."""
        self.change(execution=self.written, pods=dict(sorted(self.snapshot.pods.items())))

    def pod(self, task: str, **fields: Any) -> None:
        """Changes the current pod of a task."""
        name = self.pod_of(task)
        self.change(pods={**self.snapshot.pods, name: replace(self.snapshot.pods[name], **fields)})

    def lose(self, task: str) -> None:
        """Takes the pod of a task away."""
        gone = self.pod_of(task)
        self.change(pods={name: pod for name, pod in self.snapshot.pods.items() if name != gone})

    def succeed(self, task: str, output: object = None) -> Decision:
        """The pod of a task gives an output."""
        message = output if isinstance(output, str) else json.dumps(output if output is not None else {})
        self.pod(task, phase="Succeeded", exit_code=0, terminated_reason="Completed", message=message)
        return self.step()

    def fail(self, task: str, *, log: str | None = "", **fields: Any) -> Decision:
        """The pod of a task fails; its log is there unless it is None."""
        self.pod(task, **{"phase": "Failed", "exit_code": 1, "terminated_reason": "Error", **fields})
        if log is not None:
            self.change(log_tails={**self.snapshot.log_tails, self.pod_of(task): log})
        return self.step()

    def later(self, **span: float) -> None:
        """Lets time pass."""
        self.now += timedelta(**span)

    def phase(self) -> str:
        """The phase of the Execution."""
        return self.status.phase

    def phases(self) -> dict[str, str]:
        """The phase of each task."""
        return {name: task.phase for name, task in self.status.tasks.items()}


def child_view(name: str, task: str, **more: Any) -> ChildView:
    """A child that has ended well; `more` is what is otherwise with it."""
    fields: dict[str, Any] = {
        "index": 0,
        "attempt": 1,
        "lost": 0,
        "finished": True,
        "succeeded": True,
        "deleting": False,
        "suspend": False,
        "cancel": False,
        "created_at": NOW,
        "outputs": {},
    }
    return ChildView(name=name, task=task, **{**fields, **more})
