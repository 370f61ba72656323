"""A status that is written is small, and says all that the whole one says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossa.api.base import JSONObject
from ossa.api.execution import ArchivedPart, AttemptStatus, ExecutionStatus, ItemsStatus, TaskStatus
from ossa.api.task import MAX_FINALLY, MAX_ITEMS, MAX_TASKS
from ossa.engine.byreference import json_size
from ossa.engine.packing import (
    INLINE_OUTPUTS,
    MANY_PARTS,
    MANY_RUNNING,
    MOST,
    Part,
    is_large,
    new_part,
    packed,
    phases_alone,
    spread,
    unpacked,
    whole_tasks,
)

LONG = "m" * 1024


class Store:
    """The artifact service, as a dictionary; writes a status as controllers/archive.py does."""

    def __init__(self) -> None:
        self.contents: dict[str, JSONObject] = {}
        self.parts: tuple[Part, ...] = ()
        self.stored = 0

    def put(self, content: JSONObject) -> ArchivedPart:
        text = json.dumps(content)
        self.stored += len(text)
        ref = ArchivedPart(id=f"id-{len(self.contents)}", size=len(text), sha256="0" * 64)
        self.contents[ref.id] = json.loads(text)
        return ref

    def write(self, status: ExecutionStatus) -> ExecutionStatus:
        new = new_part(status, self.parts)
        if new is not None:
            self.parts = (*new.kept, Part(self.put(new.content), new.keys))
        made = packed(status, self.parts)
        made = phases_alone(made, self.put(whole_tasks(made))) if is_large(made) else made
        return ExecutionStatus.model_validate(json.loads(json.dumps(made.to_json())))

    def read(self, status: ExecutionStatus) -> ExecutionStatus:
        archive = status.archive
        if archive is None:
            return spread(status)
        tasks = self.contents[archive.tasks.id] if archive.tasks is not None else None
        return unpacked(status, [self.contents[ref.id] for ref in archive.outputs], tasks)


def completed(output: JSONObject) -> TaskStatus:
    return TaskStatus(phase="Completed", attempt=1, pod="p", output=output)


def each(outputs: Sequence[JSONObject | None], **fields: Any) -> TaskStatus:
    done = sum(output is not None for output in outputs)
    items = ItemsStatus(total=MAX_ITEMS, started=len(outputs), completed=done, outputs=list(outputs), **fields)
    return TaskStatus(phase="Running", items=items)


def run(tasks: dict[str, TaskStatus]) -> ExecutionStatus:
    return ExecutionStatus(phase="Running", tasks=tasks)


def size(status: ExecutionStatus) -> int:
    return json_size(status.to_json())


def test_what_is_small_is_written_as_it_is() -> None:
    status, store = run({"a": completed({"n": 1}), "b": each([{"n": 1}, None])}), Store()
    assert store.write(status) == status
    assert store.contents == {}


def test_large_outputs_are_stored_once_and_come_back() -> None:
    status, store = run({f"t{n}": completed({"text": "x" * 1000}) for n in range(40)}), Store()
    written = store.write(status)
    assert len(store.contents) == 1
    assert all(task.output is None and task.phase == "Completed" for task in written.tasks.values())
    assert store.write(status) == written
    assert len(store.contents) == 1
    assert store.read(written) == status


def test_outputs_that_come_later_stand_in_the_status_until_they_are_many() -> None:
    store, tasks = Store(), {f"t{n}": completed({"text": "x" * 1000}) for n in range(40)}
    store.write(run(tasks))
    tasks["late"] = completed({"n": 1})
    written = store.write(run(tasks))
    assert written.tasks["late"].output == {"n": 1}
    assert len(store.contents) == 1
    assert store.read(written) == run(tasks)


def test_of_a_foreach_all_is_stored_or_nothing() -> None:
    """Its outputs are a list: there are no gaps in what is written."""
    store, outputs = Store(), [{"text": "x" * 1000} for _ in range(40)]
    assert store.write(run({"each": each(outputs[:5])})).tasks["each"].items == each(outputs[:5]).items
    store.write(run({"each": each(outputs)}))
    more: list[JSONObject | None] = [*outputs, None, {"n": 1}]
    written = store.write(run({"each": each(more)}))
    items = written.tasks["each"].items
    assert items is not None
    assert items.outputs == []
    assert store.read(written) == run({"each": each(more)})


def test_ten_thousand_outputs_of_four_kilobytes() -> None:
    store, outputs = Store(), [{"text": "x" * 4000, "n": n} for n in range(MAX_ITEMS)]
    total = sum(map(json_size, outputs))
    for ended in range(100, MAX_ITEMS + 1, 100):
        written = store.write(run({"each": each(outputs[:ended])}))
        assert size(written) < 8 * 1024
        assert len(store.parts) < 4 * MANY_PARTS
    assert store.read(written) == run({"each": each(outputs)})
    assert store.stored < 8 * total


def test_many_that_run_are_ranges() -> None:
    active = {str(index): AttemptStatus(phase="Running", attempt=1, pod=f"p{index}") for index in range(500)}
    active["7"] = AttemptStatus(phase="Retrying", attempt=1, message="it failed")
    active["9"] = AttemptStatus(phase="Running", attempt=2, lost=1, pod="second")
    store = Store()
    written = store.write(run({"each": each([None] * 500, active=active)}))
    items = written.tasks["each"].items
    assert items is not None
    assert items.running == "0-6,8,10-499"
    assert items.active == {index: active[index] for index in ("7", "9")}
    read = store.read(written).tasks["each"].items
    assert read is not None
    assert read.running == ""
    assert read.active == {
        **{index: AttemptStatus(phase="Running", attempt=1) for index in active},
        **items.active,
    }


def test_few_that_run_are_shown() -> None:
    active = {str(index): AttemptStatus(phase="Running", attempt=1, pod="p") for index in range(MANY_RUNNING)}
    status = run({"each": each([None] * MANY_RUNNING, active=active)})
    assert Store().write(status) == status


def worst() -> list[Any]:
    names = [
        f"a-name-of-sixty-three-characters-as-long-as-a-name-may-be-{n:05}" for n in range(MAX_TASKS + MAX_FINALLY)
    ]
    locks = ["l" * 253] * 8
    broken = AttemptStatus(phase="Failed", reason="Error", message=LONG)
    retrying = {str(n): AttemptStatus(phase="Retrying", attempt=2, message=LONG, locks=locks) for n in range(1000)}
    running = TaskStatus(phase="Running", attempt=1, pod="p" * 63, locks=locks)
    odd = ",".join(map(str, range(1, MAX_ITEMS, 2)))
    errors = {str(n): broken for n in range(10)}
    return [
        pytest.param({name: TaskStatus(phase="Failed", reason="Error", message=LONG) for name in names}, id="failed"),
        pytest.param(dict.fromkeys(names, running), id="locks"),
        pytest.param({name: completed({"text": "x" * 4000}) for name in names}, id="outputs"),
        pytest.param({name: each([], active=retrying, errors=errors) for name in names[:5]}, id="retrying"),
        pytest.param({name: each([], failed=odd, errors=errors) for name in names[:MAX_TASKS]}, id="items failed"),
    ]


@pytest.mark.parametrize("tasks", worst())
def test_whatever_the_tasks_are_what_is_written_fits(tasks: dict[str, TaskStatus]) -> None:
    store = Store()
    written = store.write(run(tasks))
    assert size(written) < MOST
    assert {name: task.phase for name, task in written.tasks.items()} == {n: task.phase for n, task in tasks.items()}
    assert store.read(written) == run(tasks)


OUTPUTS = st.one_of(st.none(), st.fixed_dictionaries({"text": st.integers(0, 4000).map("x".__mul__)}))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(OUTPUTS, max_size=30), min_size=1, max_size=6))
def test_whatever_has_ended_when_it_is_written(turns: list[list[JSONObject | None]]) -> None:
    """Tasks and items end between two writes; each status that is written is the whole one when it is read."""
    store, tasks, items = Store(), dict[str, TaskStatus](), list[JSONObject | None]()
    for number, outputs in enumerate(turns):
        ended = [output for output in outputs if output is not None]
        tasks |= {f"t{number}-{place}": completed(output) for place, output in enumerate(ended)}
        while items and items[-1] is None:
            items.pop()  # as the engine has it, the last one has ended
        items = [*items, *outputs]
        while items and items[-1] is None:
            items.pop()
        status = run({**tasks, "each": each(items)})
        written = store.write(status)
        assert sum(json_size(task.output) for task in written.tasks.values() if task.output) <= INLINE_OUTPUTS
        assert store.read(written) == status
