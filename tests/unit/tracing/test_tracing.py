"""Ids, what may come in, and an endpoint that does not answer."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ossa.api.contract import ANNOTATION_TRACEPARENT
from ossa.api.trace import TraceParent, log_fields, parse_traceparent, trace_of
from ossa.environment import BadSetting
from ossa.logs import JSONLines, log_about
from ossa.tracing import QUEUE, Span, Tracing, is_kept, ratio_from, tracing_from

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("text", "sampled"),
    [(GOOD, True), (f"00-{TRACE}-{SPAN}-00", False), (f"cc-{TRACE}-{SPAN}-03-what-comes-later", True)],
)
def test_a_traceparent(text: str, sampled: bool) -> None:
    assert parse_traceparent(text) == TraceParent(TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00",
        GOOD.upper(),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"{GOOD}-more",
        f"{GOOD}\n",
        f" {GOOD}",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 100}",
        GOOD.replace("4", "g"),
    ],
)
def test_what_is_none(text: str | None) -> None:
    assert parse_traceparent(text) is None


def test_the_trace_of_an_execution_is_that_of_its_annotation_or_its_own() -> None:
    given = trace_of({ANNOTATION_TRACEPARENT: GOOD}, "u1")
    assert (given.trace_id, given.parent, given.sampled) == (TRACE, SPAN, True)
    own = trace_of({ANNOTATION_TRACEPARENT: "nonsense"}, "u1")
    assert own == trace_of({}, "u1")
    assert (len(own.trace_id), own.parent, own.sampled) == (32, None, True)
    assert own.trace_id != trace_of({}, "u2").trace_id
    # Once it is in the status nobody changes it.
    assert trace_of({ANNOTATION_TRACEPARENT: GOOD}, "u1", own.trace_id) == own
    assert trace_of({ANNOTATION_TRACEPARENT: GOOD}, "u1", TRACE) == given


@pytest.mark.parametrize(("environment", "words"), [({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "no http://")])
def test_an_endpoint_that_makes_no_sense(environment: dict[str, str], words: str) -> None:
    with pytest.raises(BadSetting, match=words):
        tracing_from("x", environment)


def test_a_share_of_the_traces() -> None:
    assert ratio_from({}) == 1.0
    assert ratio_from({"OTEL_TRACES_SAMPLER_ARG": "0.25"}) == 0.25
    for text in ("2", "-1", "nan", "much"):
        with pytest.raises(BadSetting, match="OTEL_TRACES_SAMPLER_ARG"):
            ratio_from({"OTEL_TRACES_SAMPLER_ARG": text})
    low, high = "f" * 16 + "0" * 16, "0" * 16 + "f" * 16
    assert [is_kept(one, 0.5) for one in (low, high)] == [True, False]
    assert [is_kept(one, 1.0) for one in (low, high)] == [True, True]
    assert [is_kept(one, 0.0) for one in (low, high)] == [False, False]


def test_without_an_endpoint_nothing_is_imported() -> None:
    code = (
        "import sys, ossa.tracing, ossa.gateway.tracing, ossa.monitor.spans, ossa.worker.tracing as w\n"
        "assert ossa.tracing.tracing_from('x', {}) is None\n"
        "off = {'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://x', 'OTEL_SDK_DISABLED': 'true'}\n"
        "assert ossa.tracing.tracing_from('x', off) is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def a_span(number: int) -> Span:
    return Span(name="s", trace_id=TRACE, span_id=f"{number + 1:016x}", start=1, end=2)


async def test_an_endpoint_that_never_answers_holds_up_nothing() -> None:
    taken: list[asyncio.StreamWriter] = []

    async def swallow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    tracing = Tracing("x", f"http://127.0.0.1:{port}/v1/traces", timeout=60)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    async with asyncio.timeout(20):
        for number in range(3 * QUEUE):
            tracing.tell(a_span(number))
        await asyncio.to_thread(tracing.close, 0.2)
    processor: Any = tracing._provider._active_span_processor._span_processors[0]
    assert len(processor._batch_processor._queue) <= QUEUE
    server.close()
    for writer in taken:
        writer.close()


async def lines_of(about: dict[str, str] | None, stream: io.StringIO) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONLines(process="x"))
    logger = logging.Logger("a")  # of its own: no other handler hears of it
    logger.addHandler(handler)
    log_about(about)
    await asyncio.gather(asyncio.create_task(_say(logger)))
    log_about(None)
    logger.warning("other", extra={"uid": "of its own"})


async def _say(logger: logging.Logger) -> None:
    logger.warning("said", extra={"pod": "p"})


async def test_lines_of_a_log_say_what_they_are_about() -> None:
    about = log_fields({"namespace": "team", "name": "run", "uid": "u1", "annotations": {ANNOTATION_TRACEPARENT: GOOD}})
    assert about == {"namespace": "team", "execution": "run", "uid": "u1", "traceId": TRACE}
    first, second = io.StringIO(), io.StringIO()
    # Two tasks at once do not mix.
    await asyncio.gather(lines_of(about, first), lines_of({**about, "uid": "u2"}, second))
    said, other = map(json.loads, first.getvalue().splitlines())
    assert {key: said[key] for key in about} == about
    assert (said["pod"], said["process"]) == ("p", "x")
    assert (other["uid"], "traceId" in other) == ("of its own", False)
    assert json.loads(second.getvalue().splitlines()[0])["uid"] == "u2"
