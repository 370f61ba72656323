"""The trace of an Execution: which it is, and the ids of its spans, which hang on what they are about.

W3C Trace Context. An id is the same whoever makes it and however often: a process that died and one that took over
tell of the same span. Nothing here needs OpenTelemetry; `ossa.tracing` exports.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ossa.api.contract import ANNOTATION_TRACEPARENT, TaskIdentity

# A version that is not known is read as 00, which others may only add to; ff is none.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
TRACEPARENT_MOST = 128  # characters: of version 00 there are 55
_TRACE_DIGITS, _SPAN_DIGITS = 32, 16

# The names of spans, as exported.
GATEWAY_RECEIVE, GATEWAY_RESPOND = "gateway-receive", "gateway-respond"
PROCESS, TASK, AGGREGATE = "orchestrator-process", "orchestrator-task", "orchestrator-aggregate"
EXECUTE = "worker-execute"


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A span as its children name it: 32 and 16 hex digits, neither of them all zeros."""

    trace_id: str
    span_id: str
    sampled: bool = True

    def __str__(self) -> str:
        """As the header traceparent has it."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


class ExecutionTrace(NamedTuple):
    """Of an Execution: its trace, the span that asked for it where one is known, and whether spans are exported."""

    trace_id: str
    parent: str | None
    sampled: bool


def parse_traceparent(text: str | None) -> TraceParent | None:
    """A header or an annotation; None of one that is malformed, or of no use."""
    if not text or len(text) > TRACEPARENT_MOST:
        return None
    found = _TRACEPARENT.fullmatch(text)
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    return TraceParent(found[2], found[3], bool(int(found[4], 16) & 1))


def trace_id_in(traceparent: str) -> str:
    """The trace id of a traceparent that the platform itself has made or taken in: 32 hex digits."""
    return traceparent.split("-")[1]


def trace_of(annotations: Mapping[str, str], uid: str, known: str | None = None) -> ExecutionTrace:
    """The trace of the Execution with this UID: that of its annotation, or one that is derived from the UID.

    known: its status.traceId. An annotation that somebody has changed since then does not count.
    """
    given = parse_traceparent(annotations.get(ANNOTATION_TRACEPARENT))
    if given is not None and known in (None, given.trace_id):
        return ExecutionTrace(given.trace_id, given.span_id, given.sampled)
    return ExecutionTrace(known or _digits("trace", uid)[:_TRACE_DIGITS], None, True)


def process_span(uid: str) -> str:
    """Id of the span orchestrator-process of an Execution: from its creation to its end."""
    return _digits(PROCESS, uid)[:_SPAN_DIGITS]


def aggregate_span(uid: str) -> str:
    """Id of the span orchestrator-aggregate of an Execution: from the end of its last task to its own."""
    return _digits(AGGREGATE, uid)[:_SPAN_DIGITS]


def task_span(uid: str, task: str) -> str:
    """Id of the span orchestrator-task of a task: the attempt that decided how it ended, or all items."""
    return _digits(TASK, f"{uid}/{task}")[:_SPAN_DIGITS]


def execute_span(identity: TaskIdentity) -> str:
    """Id of the span worker-execute of an attempt."""
    return _digits(EXECUTE, f"{identity.key}/{identity.round}")[:_SPAN_DIGITS]


def parent_of_workers(trace: ExecutionTrace, uid: str) -> str:
    """The traceparent that the workers of an Execution are given."""
    return str(TraceParent(trace.trace_id, process_span(uid), trace.sampled))


def log_fields(metadata: Mapping[str, Any], trace_id: str | None = None) -> dict[str, str]:
    """What each line of a log about an Execution has; trace_id: its status.traceId."""
    uid = str(metadata.get("uid") or "")
    return {
        "namespace": str(metadata.get("namespace") or ""),
        "execution": str(metadata.get("name") or ""),
        "uid": uid,
        "traceId": trace_of(metadata.get("annotations") or {}, uid, trace_id).trace_id,
    }


def identity_fields(identity: TaskIdentity) -> dict[str, str]:
    """What each line of a log about a task has."""
    parent = parse_traceparent(identity.traceparent)
    return {
        "namespace": identity.namespace,
        "execution": identity.execution,
        "uid": identity.uid,
        **({"traceId": parent.trace_id} if parent is not None else {}),
        "task": identity.task,
    }


def _digits(kind: str, what: str) -> str:
    """64 hex digits; that 16 of them are zeros will not be met."""
    return hashlib.sha256(f"{kind} {what}".encode()).hexdigest()
