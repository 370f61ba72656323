"""The span worker-execute around a task, where OTEL_EXPORTER_OTLP_ENDPOINT is set. No task fails or waits for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ossa.api.contract import TaskIdentity
from ossa.api.trace import EXECUTE, TraceParent, execute_span, parse_traceparent
from ossa.environment import BadSetting
from ossa.tracing import Attribute, Tracing, tracing_from

# Seconds that the end of a task waits for an endpoint that does not answer.
MOST = 1.0
_log = logging.getLogger("ossa.tracing")


@contextmanager
def traced(identity: TaskIdentity, environment: Mapping[str, str]) -> Iterator[str]:
    """Around the work of a task; gives the traceparent for what it calls, '' where there is none.

    What the work raises goes through. It is current for OpenTelemetry, so that a handler's own spans lie within.
    """
    parent = parse_traceparent(identity.traceparent)
    tracing = _tracing(environment) if parent is not None and parent.sampled else None
    if parent is None or tracing is None:
        yield identity.traceparent
        return
    span = execute_span(identity)
    try:
        with tracing.running(EXECUTE, parent, span, _attributes(identity)):
            yield str(TraceParent(parent.trace_id, span))
    finally:
        tracing.close(MOST)


def _tracing(environment: Mapping[str, str]) -> Tracing | None:
    # The last lines of the log are for what went wrong with the task.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    try:
        return tracing_from("ossa-worker", environment, timeout=MOST)
    except (BadSetting, ImportError) as error:
        _log.warning("no spans: %s; install ossa[tracing] in the image, or unset the endpoint", error)
        return None


def _attributes(identity: TaskIdentity) -> dict[str, Attribute]:
    return {
        "ossa.namespace": identity.namespace,
        "ossa.execution": identity.execution,
        "ossa.execution.uid": identity.uid,
        "ossa.workflow": identity.workflow,
        "ossa.task": identity.task,
        "ossa.task.index": identity.index,
        "ossa.task.attempt": identity.attempt,
    }
