"""What a pod means for the task whose attempt it is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ossa.api.base import JSONObject
from ossa.api.contract import EXIT_INVALID_INPUT, EXIT_INVALID_OUTPUT
from ossa.api.execution import Reason
from ossa.engine.attempt import Attempt
from ossa.engine.clock import duration_text
from ossa.engine.outputs import InvalidOutput, task_output
from ossa.engine.rulings import Finding
from ossa.engine.snapshot import Outage
from ossa.engine.values import shorten

# How long an image may fail to be pulled, or a container to be created: registries have hiccups.
PULL_GRACE = timedelta(seconds=30)
# startedAt has whole seconds, cut off: without this an attempt could get almost a second less than it may run.
ROUNDING = timedelta(seconds=1)

_HOPELESS: dict[str, Reason] = {
    "InvalidImageName": "ImagePull",
    "ErrImageNeverPull": "ImagePull",
    "CreateContainerConfigError": "Error",
}
_SLOW: dict[str, Reason] = {
    "ErrImagePull": "ImagePull",
    "ImagePullBackOff": "ImagePull",
    "RegistryUnavailable": "ImagePull",
    "CreateContainerError": "Error",
    "RunContainerError": "Error",
}
_NODE_LOST = frozenset({"NodeLost", "NodeShutdown", "Shutdown", "Terminated"})
# Kubernetes collects the pods of a node that was removed: each is Failed for a moment, and then deleted.
_COLLECTED = "DeletionByPodGC"
# The kubelet refused the pod, which never ran: another attempt may land elsewhere.
_REJECTED = re.compile(
    r"^(OutOf\w+|UnexpectedAdmissionError|NodeAffinity|NodeShutdown|Preempting|Shutdown|TopologyAffinityError)$"
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """It has not ended. `message` says what it waits for, `wake_at` when to look again."""

    message: str | None = None
    wake_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """It gave a valid output."""

    output: JSONObject


@dataclass(frozen=True, slots=True)
class Lost:
    """It vanished before its result was known, through no fault of the task."""

    message: str


@dataclass(frozen=True, slots=True)
class Failure:
    """It failed. `has_log`: `main` ran, so that its log may say why."""

    reason: Reason
    message: str
    exit_code: int | None = None
    has_log: bool = False
    denied_by: Finding | None = None  # with reason PolicyDenied


Outcome = Waiting | Done | Lost | Failure


def judge(attempt: Attempt, now: datetime) -> Outcome:
    """What the pod of an attempt means now."""
    pod = attempt.pod
    if pod.ended and pod.succeeded:
        try:
            return Done(task_output(attempt))
        except InvalidOutput as error:
            return Failure("InvalidOutput", str(error), exit_code=pod.exit_code, has_log=True)
    if pod.ended:
        return _failed(attempt)
    return _unfinished(attempt, now)


def _failed(attempt: Attempt) -> Outcome:
    pod = attempt.pod
    if pod.deleting:
        return Lost(f"pod {pod.name} was deleted before it ended")
    if pod.exit_code is None and pod.disrupted == _COLLECTED:
        return Lost(f"pod {pod.name} was collected: its node is gone")
    if pod.exit_code is None and _REJECTED.match(pod.pod_reason or ""):
        return Lost(f"the node refused pod {pod.name}: {pod.pod_reason}: {pod.pod_message or ''}".rstrip(": "))
    if pod.exit_code is None and pod.waiting_reason and (pod.pod_reason == "Evicted" or pod.pod_reason in _NODE_LOST):
        return Lost(f"pod {pod.name} was taken away before it started: {pod.pod_reason}")
    reason, what = _reason(attempt)
    return Failure(reason, what, exit_code=pod.exit_code, has_log=pod.exit_code is not None)


def _reason(attempt: Attempt) -> tuple[Reason, str]:
    pod = attempt.pod
    why = shorten(pod.pod_message or "", 500)
    if pod.pod_reason == "Evicted":
        return "Evicted", f"the node evicted pod {pod.name}: {why or 'it was short of resources'}"
    if pod.pod_reason in _NODE_LOST or pod.terminated_reason == "ContainerStatusUnknown":
        return "NodeLost", f"the node of pod {pod.name} was lost: {why or 'it no longer answered'}"
    if pod.pod_reason == "DeadlineExceeded":
        return "Timeout", f"pod {pod.name} reached the activeDeadlineSeconds of its pod template"
    if pod.terminated_reason == "OOMKilled":
        return "OOMKilled", _out_of_memory(attempt)
    said = _last_line(pod.message)
    if pod.exit_code == EXIT_INVALID_INPUT:
        return "InvalidInput", said or f"the task refused its input (exit code {pod.exit_code})"
    if pod.exit_code == EXIT_INVALID_OUTPUT:
        return (
            "InvalidOutput",
            said or f"the output broke the capability's schema (exit code {pod.exit_code})",
        )
    if pod.exit_code is None:
        return (
            "Error",
            f"pod {pod.name} failed before `main` ran: {pod.pod_reason or 'Failed'}: {why or 'no reason'}",
        )
    extra = f" ({pod.terminated_reason})" if pod.terminated_reason not in (None, "Error") else ""
    return "Error", f"exit code {pod.exit_code}{extra}" + (f": {said}" if said else "")


def _out_of_memory(attempt: Attempt) -> str:
    resources = attempt.agent.spec.runtime.resources
    limit = (resources.limits or {}).get("memory") if resources is not None else None
    held = f"its limit of {limit}" if limit is not None else "the memory it may use"
    agent = attempt.agent.name
    return f"`main` took more than {held}: raise spec.runtime.resources.limits.memory of Agent {agent!r}"


def _unfinished(attempt: Attempt, now: datetime) -> Outcome:
    pod = attempt.pod
    late = _timeout(attempt, now)
    if isinstance(late, Waiting):
        late = _pending_timeout(attempt, late, now)
    if isinstance(late, Failure) or pod.deleting:
        return late
    reason = pod.waiting_reason or ""
    if reason in _HOPELESS:
        return Failure(_HOPELESS[reason], _waiting_text(attempt))
    if reason in _SLOW:
        give_up = pod.created_at + PULL_GRACE
        if now >= give_up:
            return Failure(_SLOW[reason], _waiting_text(attempt))
        what = f"image {attempt.agent.image}" if _SLOW[reason] == "ImagePull" else "its container"
        # The kubelet goes back and forth between two texts; ours does not change, so that nothing is written.
        return Waiting(f"waiting for {what}", earliest((late.wake_at, give_up)))
    if pod.unschedulable:
        return Waiting(shorten(f"waiting for a node: {pod.unschedulable}", 1000), late.wake_at)
    return late


def _waiting_text(attempt: Attempt) -> str:
    pod = attempt.pod
    said = shorten(pod.waiting_message or "", 600)
    agent = attempt.agent.name
    if pod.waiting_reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        return f"`main` cannot be created: {pod.waiting_reason}: {said}; look at spec.runtime of Agent {agent!r}"
    return (
        f"image {attempt.agent.image!r} cannot be pulled: {pod.waiting_reason}: {said}; "
        f"look at the image of Agent {agent!r}, and at the pull secrets of its service account"
    )


def _timeout(attempt: Attempt, now: datetime) -> Waiting | Failure:
    limit = attempt.task.timeout
    if limit is None:
        return Waiting()
    if any(outage.end is None for outage in attempt.outages):
        return Waiting("its timeout does not run while the artifact service is down")
    down = overlap(attempt.outages, attempt.started_at, now)
    deadline = attempt.started_at + limit + down + ROUNDING
    if now < deadline:
        return Waiting(wake_at=deadline)
    without = f", {duration_text(down)} without the artifact service not counted" if down else ""
    message = f"it ran longer than its timeout of {attempt.task.spec.timeout}{without}; its pod was deleted"
    return Failure("Timeout", message, has_log=attempt.pod.phase == "Running" and not attempt.pod.waiting_reason)


def _pending_timeout(attempt: Attempt, late: Waiting, now: datetime) -> Waiting | Failure:
    """A pod that does not start to run; its image is pulled, or no node has room for it."""
    limit, pod = attempt.task.pending_timeout, attempt.pod
    if limit is None or pod.phase != "Pending" or pod.exit_code is not None:
        return late
    deadline = pod.created_at + limit + ROUNDING
    if now < deadline:
        return Waiting(late.message, earliest((late.wake_at, deadline)))
    why = f": {shorten(pod.unschedulable, 500)}" if pod.unschedulable else ""
    text = f"its pod did not start within its pendingTimeout of {attempt.task.spec.pending_timeout}"
    return Failure("Timeout", text + why)


def overlap(outages: Iterable[Outage], start: datetime, end: datetime) -> timedelta:
    """How much of the time from `start` to `end` the outages cover, each moment counted once."""
    total = timedelta()
    at = start
    for outage in sorted(outages, key=lambda held: held.start):
        begin, until = max(outage.start, at), min(outage.end or end, end)
        if until > begin:
            total += until - begin
            at = until
    return total


def earliest(moments: Iterable[datetime | None]) -> datetime | None:
    """The first of the moments that are set."""
    return min((moment for moment in moments if moment is not None), default=None)


def _last_line(message: str | None) -> str:
    lines = [line.strip() for line in (message or "").splitlines() if line.strip()]
    return shorten(lines[-1], 500) if lines else ""
