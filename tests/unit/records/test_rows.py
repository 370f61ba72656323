"""What is written down of a resource."""

from __future__ import annotations

from ossa.api.trace import trace_of
from ossa.store.records.rows import execution_record
from ossa.store.records.taskrows import NO_ITEM, TaskRecord, changed_tasks, task_records
from tests.unit.records.objects import execution, task


def by_index(records: list[TaskRecord]) -> dict[int, TaskRecord]:
    return {record.index: record for record in records}


def test_an_execution_with_who_made_it_and_its_trace() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    notes = {
        "ossa.dev/created-by": "ossa:alice",
        "ossa.dev/request-id": "r1",
        "ossa.dev/traceparent": f"00-{trace}-00f067aa0ba902b7-01",
    }
    record = execution_record(execution("e", version=7, metadata={"annotations": notes}, status={"revision": "p-1"}))
    assert (record.author, record.request_id, record.trace_id) == ("ossa:alice", "r1", trace)
    assert (record.workflow, record.status, record.finished, record.resource_version) == (
        "pipeline",
        "Running",
        False,
        7,
    )
    assert record.context == {"workflow": "pipeline", "inputs": {"dataset": "wine"}, "revision": "p-1"}


def test_one_without_status_is_pending() -> None:
    item = execution("e")
    del item["status"]
    record = execution_record(item)
    assert (record.status, record.finished, record.attempt) == ("Pending", False, 1)
    # Derived, as the status will have it.
    assert record.trace_id == trace_of({}, item["metadata"]["uid"]).trace_id
    assert task_records(item) == []


def test_what_has_not_begun_is_the_attempt_to_come() -> None:
    tasks = {
        "new": {"phase": "Pending"},
        "skipped": {"phase": "Skipped"},
        "again": {"phase": "Pending", "attempt": 2, "earlier": 2},
        "running": task(attempt=3, earlier=2),
        "retrying": task("Retrying", 3, reason="Error"),
    }
    found = {record.name: record for record in task_records(execution("e", tasks=tasks))}
    assert {name: record.attempt for name, record in found.items()} == {
        "new": 1,
        "skipped": 1,
        "again": 3,
        "running": 3,
        "retrying": 3,
    }


def test_items_of_a_for_each_from_all_forms_they_are_written_in() -> None:
    items = {
        "total": 9,
        "started": 8,
        "completed": 2,
        "failed": "2-3",
        "errors": {"2": task("Failed", 2, reason="OOMKilled", exitCode=137)},
        "active": {"4": task("Retrying", 1, reason="Error")},
        "running": "5-7",
        "outputs": [{"n": 0}, None],
    }
    records = task_records(execution("e", tasks={"each": {"phase": "Running", "items": items}}))
    found = by_index(records)
    assert set(found) == {NO_ITEM, *range(8)}
    assert found[0] == TaskRecord("each", 0, None, "Completed", {"n": 0})
    assert found[1] == TaskRecord("each", 1, None, "Completed")
    assert (found[2].status, found[2].attempt, found[2].exit_code) == ("Failed", 2, 137)
    assert found[3] == TaskRecord("each", 3, None, "Failed")
    assert (found[4].status, found[4].attempt) == ("Retrying", 1)
    assert [found[index].status for index in (5, 6, 7)] == ["Running"] * 3


def test_only_what_changed_is_written() -> None:
    before = execution("e", tasks={"one": task(), "two": {"phase": "Pending"}})
    now = execution("e", version=2, tasks={"one": task("Completed", output={"a": 1}), "two": {"phase": "Pending"}})
    assert [record.name for record in changed_tasks(before, now)] == ["one"]
    assert [record.name for record in changed_tasks(None, now)] == ["one", "two"]
    assert changed_tasks(now, now) == []
