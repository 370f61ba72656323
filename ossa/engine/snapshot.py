"""Everything that a decision is made from. The controllers gather it; the engine only reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ossa.api.agent import Classification
from ossa.api.approval import ApprovalDecision, ApprovalState
from ossa.api.artifact import ArtifactRef
from ossa.api.base import JSONObject
from ossa.api.execution import Execution, TaskStatus
from ossa.api.workflow import InlineWorkflow
from ossa.engine.revision import CompiledRevision
from ossa.engine.rulings import NOBODY, Judge


@dataclass(frozen=True, slots=True)
class PodView:
    """What matters of a pod. Container fields are those of `main`."""

    name: str
    uid: str
    task: str
    attempt: int
    phase: str
    created_at: datetime
    deleting: bool = False
    exit_code: int | None = None  # set when `main` has terminated
    terminated_reason: str | None = None  # OOMKilled, Error, Completed, ContainerCannotRun, StartError, …
    message: str | None = None  # the termination message of `main`
    waiting_reason: str | None = None  # ErrImagePull, ImagePullBackOff, CreateContainerConfigError, …
    waiting_message: str | None = None
    pod_reason: str | None = None  # status.reason of the pod: Evicted, NodeLost, …
    pod_message: str | None = None
    unschedulable: str | None = None  # message of the condition PodScheduled=False
    disrupted: str | None = None  # reason of the condition DisruptionTarget=True: DeletionByPodGC, …
    containers: int = 1
    input_json: str = "{}"  # the input that it was given
    index: int = 0  # of the item, in a forEach
    round: int = 1  # attempt of the Execution
    lost: int = 0  # how many of the attempts before it were lost
    locks: tuple[str, ...] = ()  # that the attempt holds
    judged: tuple[str, ...] = ()  # policies that judged its start

    @property
    def ended(self) -> bool:
        """Whether `main` will not run any more."""
        return self.exit_code is not None or self.phase in ("Succeeded", "Failed")

    @property
    def succeeded(self) -> bool:
        """Whether `main` ended well."""
        return self.exit_code == 0 or (self.exit_code is None and self.phase == "Succeeded")


@dataclass(frozen=True, slots=True)
class ChildView:
    """A child Execution: one that runs the workflow of a task."""

    name: str
    task: str
    index: int
    attempt: int
    lost: int
    finished: bool
    succeeded: bool
    deleting: bool
    suspend: bool
    cancel: bool
    created_at: datetime
    outputs: JSONObject
    uid: str = ""
    lineage: tuple[str, ...] = ()
    message: str | None = None
    locks: tuple[str, ...] = ()
    judged: tuple[str, ...] = ()
    classification: Classification | None = None
    approved_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """What matters of an Approval besides its spec."""

    name: str
    uid: str
    state: ApprovalState = "Pending"
    decisions: Mapping[str, ApprovalDecision] = field(default_factory=dict)
    authors: tuple[str, ...] = ()  # who could not decide, as it was asked; '' for somebody whom nobody knows


@dataclass(frozen=True, slots=True)
class Source:
    """The Execution that spec.retryOf names: `problem` says why it cannot be resumed."""

    problem: str | None = None
    uid: str = ""
    lineage: tuple[str, ...] = ()
    workflow: str = ""
    inline: InlineWorkflow | None = None  # where it holds its workflow itself
    revision: str | None = None
    inputs: JSONObject = field(default_factory=dict)
    tasks: Mapping[str, TaskStatus] = field(default_factory=dict)
    policies: Mapping[str, list[str]] = field(default_factory=dict)
    authors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListValue:
    """A list that lies in the artifact service.

    `problem` says why it can be gone over never, `waits` why not yet. `references`: whether references within it are a
    part of it: the operator has stored it.
    """

    items: Sequence[object] = ()
    problem: str | None = None
    waits: str | None = None
    references: bool = False


@dataclass(frozen=True, slots=True)
class WorkflowView:
    """The Workflow's status; `current` where its observedGeneration is its generation.

    Of a workflow that the Execution holds itself: what was found of it, and `invalid` where it can never run.
    """

    phase: str
    revision: str | None
    message: str | None
    current: bool
    invalid: bool = False


def lock_holders(pods: Iterable[PodView], children: Iterable[ChildView]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The names and locks of those that have not ended, whether their task still waits for them or not."""
    yield from ((pod.name, pod.locks) for pod in pods if pod.locks and not pod.ended)
    yield from ((child.name, child.locks) for child in children if child.locks and not child.finished)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the artifact service was down; `end` is None while it still is."""

    start: datetime
    end: datetime | None


def _none_issued(_reference: ArtifactRef, _pod_uid: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One Execution and what is known of the world around it.

    workflow: None where it was not found; looked at while the Execution is Pending.
    revision: the one of status.revision, or while Pending the one that the workflow has published. None in a
        running Execution means that it was looked for and is gone, or does not compile: the Execution then fails.
    pods: all pods of this Execution, by name.
    in_flight: names of pods whose creation was asked for and that the watch has not shown yet.
    held: by pod name, the API server's words on not creating it yet, e.g. for want of quota; it is in flight.
    refused: by pod name, the API server's words on refusing to create it (400, 403, 422).
    log_tails: fetched logs, by pod name; "" where there are none.
    values: lists in the artifact service that were looked at, by the ID of the reference.
    issued: whether the artifact service issued a reference to the pod with this UID of this Execution.
    epoch: the life of the reconciler: part of the name of every pod that it starts.
    slots: how many pods may be started now; None where there is no limit.
    held_locks: by name, how many holders a lock of the namespace has in other Executions.
    children: all child Executions, by name.
    approvals: all Approvals of this Execution, by name.
    source: what spec.retryOf names; None where it is unset.
    given_by: of a child, UIDs of the Executions whose artifacts its inputs may refer to: its parent, and what that has.
        Empty where nothing proves that the operator gave it these inputs.
    depth: how many Executions this one is a child of, one of the other.
    unreadable: why a part of its status cannot be read, for good.
    judge: what policies say.
    """

    execution: Execution
    workflow: WorkflowView | None = None
    revision: CompiledRevision | None = None
    pods: Mapping[str, PodView] = field(default_factory=dict)
    in_flight: frozenset[str] = frozenset()
    held: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    log_tails: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, ListValue] = field(default_factory=dict)
    outages: tuple[Outage, ...] = ()
    issued: Callable[[ArtifactRef, str], bool] = _none_issued
    epoch: int = 0
    slots: int | None = None
    held_locks: Mapping[str, int] = field(default_factory=dict)
    children: Mapping[str, ChildView] = field(default_factory=dict)
    approvals: Mapping[str, ApprovalView] = field(default_factory=dict)
    source: Source | None = None
    given_by: tuple[str, ...] = ()
    depth: int = 0
    unreadable: str | None = None
    judge: Judge = NOBODY
