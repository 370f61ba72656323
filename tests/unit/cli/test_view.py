"""What is told of an Execution."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from ossa.api.execution import Execution
from ossa.cli.view import change_line, changes, closing, headline, is_finished, task_rows, task_table

NOW = datetime(2026, 1, 1, 0, 1, 0, tzinfo=UTC)
START, END = "2026-01-01T00:00:00Z", "2026-01-01T00:00:12Z"


def execution(**status: Any) -> Execution:
    return Execution.model_validate(
        {
            "apiVersion": "ossa.dev/v1alpha1",
            "kind": "Execution",
            "metadata": {"name": "x1", "namespace": "default"},
            "spec": {"workflow": "data-pipeline"},
            "status": status,
        }
    )


@pytest.mark.parametrize(
    ("status", "finished"),
    [
        ({"phase": "Running"}, False),
        ({"phase": "Completed"}, True),
        ({"phase": "Failed"}, False),
        ({"phase": "Failed", "conditions": [{"type": "Finished", "status": "True", "reason": "Failed"}]}, True),
        ({"phase": "Failed", "conditions": [{"type": "Succeeded", "status": "False", "reason": "x"}]}, False),
    ],
)
def test_failed_is_the_end_only_with_the_condition_finished(status: dict[str, Any], finished: bool) -> None:
    assert is_finished(execution(**status)) is finished


def test_table_has_the_workflows_order_and_running_durations() -> None:
    shown = execution(
        phase="Running",
        tasks={
            "added-later": {"phase": "Pending"},
            "ingest": {"phase": "Completed", "attempt": 1, "pod": "p1", "startedAt": START, "completedAt": END},
            "aggregate": {"phase": "Pending"},
            "validate": {
                "phase": "Running", "attempt": 2, "pod": "p2", "startedAt": END,
                "reason": "PodLost", "message": "its\npod",
            },
        },
    )  # fmt: skip
    rows = task_rows(shown, ["ingest", "validate", "gone", "aggregate"], NOW)
    assert task_table(rows).splitlines() == [
        "TASK          PHASE       ATTEMPT   DURATION   POD   MESSAGE",
        "ingest        Completed   1         12s        p1    -",
        "validate      Running     2         48s        p2    PodLost: its pod",
        "aggregate     Pending     0         -          -     -",
        "added-later   Pending     0         -          -     -",
    ]


def test_headline_says_what_it_waits_for() -> None:
    waiting = execution(phase="Pending", message="Workflow 'x' was not found")
    assert headline(waiting, NOW) == "default/x1  data-pipeline  Pending  Workflow 'x' was not found"
    running = execution(phase="Running", progress="3/7", startedAt=START)
    assert headline(running, NOW) == "default/x1  data-pipeline  Running  3/7  1m0s"


def test_changes_tell_only_what_is_new_and_ends_before_starts() -> None:
    first = execution(phase="Running", progress="0/2", tasks={"b": {"phase": "Running", "attempt": 1, "pod": "pb"}})
    done = {"phase": "Completed", "attempt": 1, "pod": "pb", "startedAt": START, "completedAt": END}
    then = execution(
        phase="Running", progress="1/2", tasks={"a": {"phase": "Running", "attempt": 1, "pod": "pa"}, "b": done}
    )
    told = changes(first.status, then.status)
    assert [(change["task"], change["phase"]) for change in told] == [("b", "Completed"), ("a", "Running")]
    assert change_line(told[0], NOW) == "00:01:00  b                    Completed  12s, pb"
    assert changes(then.status, then.status) == []
    assert changes(None, first.status)[-1] == {"phase": "Running", "progress": "0/2"}


def test_closing_says_where_a_failure_was_and_why() -> None:
    error = {
        "task": "ml", "attempt": 2, "reason": "OOMKilled", "exitCode": 137,
        "message": "task 'ml' failed: more memory", "logTail": "a\n\x1b[2Jb",
    }  # fmt: skip
    assert closing(execution(phase="Failed", error=error)) == [
        "Failed (task ml, attempt 2, OOMKilled, exit code 137): more memory",
        "last lines of its log:",
        "  a",
        "  ?[2Jb",
    ]


def test_closing_shows_artifacts_in_one_word() -> None:
    reference = {"$artifact": "abc", "size": 12345, "sha256": "0" * 64, "mediaType": "image/png"}
    lines = closing(execution(phase="Completed", duration="42s", outputs={"plot": reference, "n": 1}))
    assert lines[0] == "Completed in 42s"
    assert '    "plot": "<image/png, 12,345 bytes>",' in lines
