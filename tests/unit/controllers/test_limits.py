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
    seeded.seed("parent", "lab", tasks=tasks, pods=[], children={"run-call-1"})
    assert seeded.slots("child", "lab") == 1
    assert seeded.held_locks("child", "lab") == {"db": 1}


def test_a_pod_that_runs_on_keeps_its_lock() -> None:
    """Its task was stopped, and its grace is not over: nobody else gets the lock until it is, and who waits is told."""
    woken: list[str] = []
    held = Limits(most=0, namespace_most=lambda _: None, wake=woken.append)
    pod = ("run-a-1", ("db",))
    held.update("run", "lab", {"a": running("run-a-1", locks=["db"])}, holders=[pod])
    assert held.held_locks("other", "lab") == {"db": 1}
    held.waits("other", "lab", starved=False, rank=(), locks=frozenset({"db"}))
    held.ended("run", "lab", [pod])
    assert held.held_locks("other", "lab") == {"db": 1}
    assert woken == []
    held.ended("run", "lab", [])
    assert held.held_locks("other", "lab")["db"] == 0
    assert woken == ["other"]
    assert not held.holds("run")


def test_the_next_attempt_beside_one_that_runs_on_makes_two_holders() -> None:
    held = limits(9)
    held.update("run", "lab", {"a": running("run-a-2", locks=["gpu"])}, holders=[("run-a-1", ("gpu",))])
    assert held.held_locks("other", "lab") == {"gpu": 2}
