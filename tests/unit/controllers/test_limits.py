"""How many pods may run, and who is counted."""

from __future__ import annotations

from controllers.limits import Limits
from ossa.api.execution import TaskStatus


def limits(most: int) -> Limits:
    return Limits(most=0, namespace_most=lambda _: most, wake=lambda _: None)


def running(name: str, **fields: object) -> TaskStatus:
    return TaskStatus.model_validate({"phase": "Running", "attempt": 1, "pod": name, **fields})


def test_a_child_execution_is_no_pod_and_leaves_the_room_to_its_own_tasks() -> None:
    tasks = {"call": running("run-call-1", locks=["db"]), "work": running("run-work-1")}
    held = limits(2)
    held.update("parent", "lab", tasks, {"run-call-1"})
    assert held.slots("child", "lab") == 1
    # The lock is held all the same.
    assert held.held_locks("child", "lab") == {"db": 1}
    seeded = limits(2)
    seeded.seed("parent", "lab", tasks, [], {"run-call-1"})
    assert seeded.slots("child", "lab") == 1
    assert seeded.held_locks("child", "lab") == {"db": 1}
