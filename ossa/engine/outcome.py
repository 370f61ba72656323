"""What a pod means for the task whose attempt it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from pydantic import ValidationError

from ossa.api.agent import Capability
from ossa.api.artifact import VALUE_MEDIA_TYPE, ArtifactRef, find_references
from ossa.api.base import JSONObject
from ossa.api.contract import (
    EXIT_INVALID_INPUT,
    EXIT_INVALID_OUTPUT,
    OUTPUT_LIMIT,
    OUTPUT_LIMIT_ALL_CONTAINERS,
)
from ossa.api.execution import Reason
from ossa.api.schema import violations
from ossa.engine.clock import duration_text
from ossa.engine.revision import AgentSnapshot, CompiledTask
from ossa.engine.snapshot import Outage, PodView
from ossa.engine.values import NotJSONError, plain, shorten

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


Outcome = Waiting | Done | Lost | Failure


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a task, its pod, and what is needed to judge it."""

    task: CompiledTask
    pod: PodView
    started_at: datetime
    outages: tuple[Outage, ...]
    issued: Callable[[ArtifactRef, str], bool]
    whole_input: Callable[[], object] = dict  # its input with the values that went to the pod by reference

    @property
    def agent(self) -> AgentSnapshot:
        """Who does it."""
        return self.task.worker[0]

    @property
    def capability(self) -> Capability:
        """What is done."""
        return self.task.worker[1]


class _InvalidOutput(ValueError):
    """The output breaks the contract; the text says how, and what to do."""


def judge(attempt: Attempt, now: datetime) -> Outcome:
    """What the pod of an attempt means now."""
    pod = attempt.pod
    if pod.ended and pod.succeeded:
        try:
            return Done(_output(attempt))
        except _InvalidOutput as error:
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


def _output(attempt: Attempt) -> JSONObject:
    pod = attempt.pod
    output = _parse(pod)
    broken = violations(attempt.capability.output_schema, output)
    if broken:
        raise _InvalidOutput(f"the output breaks the outputSchema of {_capability(attempt)}: {'; '.join(broken)}")
    _check_references(output, attempt)
    return output


def _parse(pod: PodView) -> JSONObject:
    text = pod.message or ""
    size = len(text.encode(errors="surrogatepass"))
    limit = min(OUTPUT_LIMIT, OUTPUT_LIMIT_ALL_CONTAINERS // max(1, pod.containers))
    if size >= limit:
        raise _InvalidOutput(
            f"the output reached the limit of {limit} bytes at which the kubelet cuts it: write less to "
            "$OSSA_OUTPUT, and upload large values to the artifact service, as the SDK does by itself"
        )
    if not text.strip():
        return {}
    try:
        output = plain(json.loads(text, parse_constant=_refuse_constant))
    except NotJSONError as error:
        raise _InvalidOutput(f"the output cannot be kept: {error}") from error
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise _InvalidOutput(f"the output is not JSON ({why}): write one JSON object to $OSSA_OUTPUT") from error
    if not isinstance(output, dict):
        raise _InvalidOutput('the output is JSON, but not an object: write an object, such as {"result": …}')
    return output


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _check_references(output: JSONObject, attempt: Attempt) -> None:
    received = _Received(attempt)
    for value in find_references(output):
        try:
            reference = ArtifactRef.model_validate(value)
        except ValidationError as error:
            field = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise _InvalidOutput(
                f"an artifact reference in the output is malformed at {field!r}: "
                "pass on what the artifact service answered, unchanged"
            ) from error
        if not attempt.issued(reference, attempt.pod.uid) and reference not in received:
            raise _InvalidOutput(
                f"the artifact reference {shorten(reference.id, 64)!r} in the output is forged: this task "
                "neither uploaded that artifact nor received it"
            )


class _Received:
    """The references in the pod's own input, and in the values that its input refers to; each looked at when needed."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._given: frozenset[ArtifactRef] | None = None
        self._within: frozenset[ArtifactRef] | None = None

    def __contains__(self, reference: ArtifactRef) -> bool:
        if self._given is None:
            self._given = _parsed(json.loads(self._attempt.pod.input_json))
        if reference in self._given:
            return True
        if self._within is None:
            moved = any(given.media_type == VALUE_MEDIA_TYPE for given in self._given)
            self._within = _parsed(self._attempt.whole_input()) if moved else frozenset()
        return reference in self._within


def _parsed(value: object) -> frozenset[ArtifactRef]:
    return frozenset(ArtifactRef.model_validate(found) for found in find_references(value))


def _capability(attempt: Attempt) -> str:
    return f"capability {attempt.capability.name!r} of Agent {attempt.agent.name!r}"


def _last_line(message: str | None) -> str:
    lines = [line.strip() for line in (message or "").splitlines() if line.strip()]
    return shorten(lines[-1], 500) if lines else ""
