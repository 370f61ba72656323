"""Spans to OpenTelemetry, by OTLP over HTTP; nothing is imported where OTEL_EXPORTER_OTLP_ENDPOINT is not set.

Telling of a span never waits and never fails: a thread exports them in batches, a queue of bounded size holds those
that wait, and what it cannot hold is dropped. `ossa.api.trace` has the ids.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ossa.api.trace import TraceParent
from ossa.environment import BadSetting

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Status, Tracer

ENV_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
ENV_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
ENV_DISABLED = "OTEL_SDK_DISABLED"
ENV_RATIO = "OTEL_TRACES_SAMPLER_ARG"
QUEUE = 4096  # spans that wait, at most; 1 to 2 KB each
EXPORT_SECONDS = 5.0  # for one batch
CLOSE_SECONDS = 2.0

Attribute = str | int | float | bool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One that has ended. Ids are hex digits; times are nanoseconds since 1970. error: why it failed, if it did."""

    name: str
    trace_id: str
    span_id: str
    parent: str | None = None
    start: int
    end: int
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    error: str | None = None
    server: bool = False


def tracing_from(
    service: str, environment: Mapping[str, str] = os.environ, *, timeout: float = EXPORT_SECONDS
) -> Tracing | None:
    """The tracing of a process; None where no endpoint is set.

    timeout: seconds for one batch.

    Raises:
        BadSetting: names the variable.
    """
    endpoint = environment.get(ENV_TRACES_ENDPOINT) or ""
    base = environment.get(ENV_ENDPOINT) or ""
    if environment.get(ENV_DISABLED, "").lower() == "true" or not (endpoint or base):
        return None
    url = endpoint or f"{base.rstrip('/')}/v1/traces"
    if not url.startswith(("http://", "https://")):
        raise BadSetting(f"{ENV_TRACES_ENDPOINT if endpoint else ENV_ENDPOINT}: {url!r} is no http:// or https:// URL")
    return Tracing(service, url, ratio=ratio_from(environment), timeout=timeout)


def ratio_from(environment: Mapping[str, str]) -> float:
    """Of the traces that begin here, how many are exported: OTEL_TRACES_SAMPLER_ARG, from 0 to 1; all where unset.

    Raises:
        BadSetting: it is no such number.
    """
    text = environment.get(ENV_RATIO) or "1"
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise BadSetting(f"{ENV_RATIO}: {text!r} is no number from 0 to 1")
    return ratio


def is_kept(trace_id: str, ratio: float) -> bool:
    """Whether a trace is among those that are exported: the same for all who ask of the same one."""
    return int(trace_id[16:], 16) < ratio * (1 << 64)


# The ids of the span that is being made: the SDK draws them where they are not given.
_chosen: ContextVar[tuple[int, int] | None] = ContextVar("ossa_span_ids", default=None)


class Tracing:
    """The spans of one process. ratio: as of `ratio_from`. timeout: seconds for the export of one batch."""

    def __init__(self, service: str, url: str, *, ratio: float = 1.0, timeout: float = EXPORT_SECONDS) -> None:
        # All of OpenTelemetry is imported here: it takes time and memory of which others are to have none.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self.ratio = ratio
        # That an export failed is said once, and not by each of the libraries below.
        logging.getLogger("urllib3").setLevel(logging.CRITICAL)
        resource = Resource.create({"service.name": service, "service.namespace": "ossa"})
        self._provider = TracerProvider(resource=resource, id_generator=_ids(), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=url, timeout=timeout)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=QUEUE, schedule_delay_millis=500))
        self._tracer: Tracer = self._provider.get_tracer("ossa")

    def tell(self, span: Span) -> None:
        """Takes a span that has ended; it is exported soon, or dropped where too many wait."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415

        token = _chosen.set((int(span.trace_id, 16), int(span.span_id, 16)))
        try:
            made = self._tracer.start_span(
                span.name,
                context=_context(span.trace_id, span.parent),
                kind=SpanKind.SERVER if span.server else SpanKind.INTERNAL,
                attributes=span.attributes,
                start_time=span.start,
            )
        finally:
            _chosen.reset(token)
        if span.error is not None:
            made.set_status(_failed(span.error))
        made.end(end_time=max(span.start, span.end))

    @contextmanager
    def running(
        self, name: str, parent: TraceParent, span_id: str, attributes: Mapping[str, Attribute]
    ) -> Iterator[None]:
        """A span around what is done now, in which the spans that others make of it lie. Raises what that raises."""
        from opentelemetry.trace import use_span  # noqa: PLC0415

        token = _chosen.set((int(parent.trace_id, 16), int(span_id, 16)))
        try:
            made = self._tracer.start_span(
                name, context=_context(parent.trace_id, parent.span_id, sampled=parent.sampled), attributes=attributes
            )
        finally:
            _chosen.reset(token)
        with use_span(made, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield
            except BaseException as error:
                # What went wrong is data of a task, and a message may hold some of it: the type has to do.
                made.set_status(_failed(type(error).__name__))
                raise

    def close(self, within: float = CLOSE_SECONDS) -> None:
        """Exports what waits, for so many seconds at most; the rest is lost."""
        # The SDK's own flush and shutdown wait for as long as the endpoint lets them.
        flush = threading.Thread(target=self._provider.force_flush, daemon=True)
        flush.start()
        flush.join(within)
        if flush.is_alive():
            log.warning("spans were not exported in time", extra={"seconds": within})


def _ids() -> IdGenerator:
    from opentelemetry.sdk.trace import id_generator  # noqa: PLC0415

    class Chosen(id_generator.IdGenerator):
        """The ids that were chosen, else random ones."""

        def __init__(self) -> None:
            self._random = id_generator.RandomIdGenerator()

        def generate_trace_id(self) -> int:
            held = _chosen.get()
            return self._random.generate_trace_id() if held is None else held[0]

        def generate_span_id(self) -> int:
            held = _chosen.get()
            return self._random.generate_span_id() if held is None else held[1]

    return Chosen()


def _context(trace_id: str, parent: str | None, *, sampled: bool = True) -> Context:
    from opentelemetry import trace  # noqa: PLC0415
    from opentelemetry.context import Context  # noqa: PLC0415

    if parent is None:
        return Context()  # not the current one: it is of another trace
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else trace.TraceFlags.DEFAULT)
    above = trace.SpanContext(int(trace_id, 16), int(parent, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(above), Context())


def _failed(why: str) -> Status:
    from opentelemetry import trace  # noqa: PLC0415

    return trace.Status(trace.StatusCode.ERROR, why)
