"""Clocks, names and values."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossa.api.base import DNS_LABEL
from ossa.api.contract import TaskIdentity
from ossa.engine.clock import duration_text, from_text, parse_duration, to_text
from ossa.engine.decide import pod_name
from ossa.engine.values import NotJSONError, is_deep, plain

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_times_are_utc_and_whole_seconds() -> None:
    moment = datetime(2026, 1, 1, 13, 0, 0, 999, tzinfo=UTC)
    assert to_text(moment) == "2026-01-01T13:00:00Z"
    assert from_text("2026-01-01T14:00:00+01:00") == from_text("2026-01-01T13:00:00Z") == moment.replace(microsecond=0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h30m", 5400), ("300ms", 0.3), ("1h1m1s1ms", 3661.001)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "1s1m", "-5m", "1d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42, "42s"), (60, "1m0s"), (192, "3m12s"), (3599, "59m59s"), (7500, "2h5m"), (-1, "0s")],
)
def test_durations_for_a_person(seconds: int, text: str) -> None:
    assert duration_text(timedelta(seconds=seconds)) == text


NAMES = st.from_regex(r"\A[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")


@given(execution=NAMES, task=st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z"), attempt=st.integers(1, 99))
def test_pod_names_are_labels_and_differ(execution: str, task: str, attempt: int) -> None:
    def named(**fields: object) -> str:
        base = {"namespace": "n", "execution": execution, "uid": "u", "workflow": "w", "task": task, "attempt": attempt}
        return pod_name(TaskIdentity.model_validate({**base, **fields}))

    names = [named(), named(attempt=attempt + 1), named(round=2), named(index=1), named(uid="v")]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 and re.match(DNS_LABEL, name) for name in names)


@given(JSON)
def test_plain_values_stay_plain(value: object) -> None:
    try:
        once = plain(value)
    except NotJSONError:
        return
    assert plain(once) == once


def test_depth_is_told_without_recursion() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    assert is_deep(value)
    assert not is_deep({"a": [1, {"b": 2}]})
