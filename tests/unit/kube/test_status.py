"""The operations that bring a status from what it was to what it shall be."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossa.kube.status import status_operations

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(alphabet="ab/~", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="ab/~", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
STATUS = st.dictionaries(
    st.sampled_from(["phase", "tasks", "outputs", "a/b", "~x"]),
    JSON | st.dictionaries(st.text(alphabet="ab/~-1", max_size=4), JSON, max_size=4),
    max_size=5,
)


def applied(status: dict[str, Any], operations: list[dict[str, Any]]) -> Any:
    """What an API server makes of them (RFC 6902, for members of objects)."""
    document: dict[str, Any] = {"status": copy.deepcopy(status)}
    for operation in operations:
        *folders, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].removeprefix("/").split("/")
        ]
        target = document
        for folder in folders:
            target = target[folder]
        if operation["op"] == "remove":
            del target[last]
        else:
            target[last] = operation["value"]
    return document["status"]


def test_the_same_needs_nothing() -> None:
    assert status_operations({"phase": "Running"}, {"phase": "Running"}) == []


def test_only_what_differs_is_written() -> None:
    operations = status_operations({"phase": "Pending", "progress": "0/1"}, {"phase": "Running", "progress": "0/1"})
    assert operations == [{"op": "add", "path": "/status/phase", "value": "Running"}]


def test_what_is_no_more_is_removed() -> None:
    assert status_operations({"message": "waits"}, {}) == [{"op": "remove", "path": "/status/message"}]


def test_tasks_are_compared_one_by_one() -> None:
    old = {"tasks": {"a": {"phase": "Running"}, "b": {"phase": "Pending"}, "c": {}}}
    new = {"tasks": {"a": {"phase": "Completed"}, "b": {"phase": "Pending"}, "d": {}}}
    assert status_operations(old, new, maps=("tasks",)) == [
        {"op": "add", "path": "/status/tasks/a", "value": {"phase": "Completed"}},
        {"op": "add", "path": "/status/tasks/d", "value": {}},
        {"op": "remove", "path": "/status/tasks/c"},
    ]


@pytest.mark.parametrize("old", [{}, {"tasks": {}}, {"tasks": None}])
def test_a_map_that_is_not_there_yet_comes_whole(old: dict[str, Any]) -> None:
    tasks = {"a": {"phase": "Running"}}
    operations = status_operations(old, {"tasks": tasks}, maps=("tasks",))
    assert operations == [{"op": "add", "path": "/status/tasks", "value": tasks}]


def test_a_null_within_an_output_is_a_value_and_no_deletion() -> None:
    old = {"tasks": {"a": {"output": {"label": "x"}}}}
    new = {"tasks": {"a": {"output": {"label": None}}}}
    assert applied(old, status_operations(old, new, maps=("tasks",))) == new


@given(STATUS, STATUS, st.sampled_from([(), ("tasks",), ("tasks", "outputs", "a/b", "~x")]))
def test_applied_they_give_the_new_status(old: dict[str, Any], new: dict[str, Any], maps: tuple[str, ...]) -> None:
    assert applied(old, status_operations(old, new, maps=maps)) == new
