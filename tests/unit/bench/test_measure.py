"""Figures from what the observer saw and from counters."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.measure import (
    Seen,
    difference,
    first_pods,
    milliseconds,
    per_task,
    percentile,
    successor_gaps,
    total,
)

DIAMOND = {"a": frozenset[str](), "b": frozenset("a"), "c": frozenset("a"), "d": frozenset("bc")}

METRICS = """\
# HELP apiserver_request_total Requests.
# TYPE apiserver_request_total counter
apiserver_request_total{code="201",group="",resource="pods",subresource="",verb="POST"} 7
apiserver_request_total{code="409",group="",resource="pods",subresource="",verb="POST"} 1
apiserver_request_total{code="200",group="ossa.dev",resource="executions",subresource="status",verb="PATCH"} 1.2e+03
apiserver_request_total_more{verb="POST"} 99
process_cpu_seconds_total 12.5
"""


def seen(*records: list[object]) -> Seen:
    found = Seen()
    for record in records:
        found.take(record)
    return found


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.25, 1.0), (0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0)]
)
def test_a_percentile_is_one_of_the_values(share: float, expected: float) -> None:
    assert percentile([4.0, 2.0, 1.0, 3.0], share) == expected


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(percentile([], 0.5))


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_so_many_values_are_within_a_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) * (1 - 1e-9)


def test_a_successor_counts_from_the_last_of_its_dependencies() -> None:
    found = seen(
        ["added", "x/a/0", 1.0],
        ["ended", "x/a/0", 2.0],
        ["added", "x/b/0", 2.5],
        ["added", "x/c/0", 2.25],
        ["ended", "x/b/0", 3.0],
        ["ended", "x/c/0", 4.0],
        ["added", "x/d/0", 4.125],
    )
    assert sorted(successor_gaps(found, DIAMOND)) == [0.125, 0.25, 0.5]


def test_executions_are_kept_apart_and_what_is_incomplete_is_left_out() -> None:
    found = seen(
        ["ended", "x/a/0", 1.0],
        ["added", "y/b/0", 5.0],  # its a was not seen to end
        ["added", "x/b/0", 1.5],
        ["ended", "x/b/0", 2.0],
        ["added", "x/d/0", 9.0],  # its c was not seen to end
    )
    assert list(successor_gaps(found, DIAMOND)) == [0.5]


def test_the_first_sight_counts() -> None:
    found = seen(["added", "x/a/0", 1.0], ["added", "x/a/0", 2.0], ["gone", "x/a/0", 3.0])
    assert found.added == {"x/a/0": 1.0}
    assert found.gone == {"x/a/0": 3.0}


def test_the_first_pod_of_each_execution() -> None:
    found = seen(["added", "x/b/0", 3.0], ["added", "x/a/0", 1.5], ["added", "y/a/0", 2.0], ["added", "old/a/0", 0.5])
    assert first_pods(found, {"x": 1.0, "y": 1.5, "z": 1.0}) == [0.5, 0.5]


def test_the_end_of_executions_and_their_largest_state() -> None:
    found = seen(["execution", "x", "Completed", 3.0, 2048], ["execution", "y", "Failed", 4.0, 1024])
    assert found.finished == {"x": ("Completed", 3.0), "y": ("Failed", 4.0)}
    assert found.largest == 2048


async def test_waiting_ends_with_what_is_waited_for_or_when_nothing_comes() -> None:
    found = Seen()
    waiting = asyncio.create_task(found.until(lambda: len(found.added) == 2, patience=5))
    await asyncio.sleep(0)
    found.take(["added", "x/a/0", 1.0])
    await asyncio.sleep(0)
    assert not waiting.done()
    found.take(["added", "x/b/0", 1.0])
    assert await waiting
    assert not await found.until(lambda: len(found.added) == 3, patience=0.01)


def test_counters_are_summed_over_the_labels_that_nobody_asked_for() -> None:
    assert total(METRICS, "apiserver_request_total", ["resource", "verb"]) == {
        "pods/POST": 8.0,
        "executions/PATCH": 1200.0,
    }
    assert total(METRICS, "apiserver_request_total", [], verb="POST") == {"": 8.0}
    assert total(METRICS, "process_cpu_seconds_total", []) == {"": 12.5}


def test_what_a_counter_has_grown_by_a_task() -> None:
    grown = difference({"POST": 30.0, "PATCH": 5.0, "GET": 2.0}, {"POST": 10.0, "PATCH": 5.0})
    assert grown == {"POST": 20.0, "GET": 2.0}
    assert per_task(grown, 10) == {"POST": 2.0, "GET": 0.2}
    assert per_task(grown, 0) == {}


def test_figures_are_milliseconds() -> None:
    assert milliseconds([0.0101, 0.5], "gap") == {"gap_p50_ms": 10.1, "gap_p99_ms": 500.0, "gap_max_ms": 500.0}
    assert milliseconds([], "gap") == {}
