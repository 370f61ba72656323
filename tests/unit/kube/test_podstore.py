"""The store of pods: a watch that lags behind our own writes must not make a task look lost."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.api.contract import ANNOTATION_IDENTITY, TaskIdentity
from ossa.kube.podstore import PodStore

EXECUTION = "uid-run"


def pod(name: str, *, execution: str = EXECUTION, phase: str = "Pending", version: int = 1) -> dict[str, Any]:
    identity = TaskIdentity(namespace="lab", execution="run", uid=execution, workflow="flow", task="a")
    return {
        "metadata": {
            "name": name,
            "namespace": "lab",
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-01-01T12:00:00Z",
            "resourceVersion": str(version),
            "annotations": {ANNOTATION_IDENTITY: identity.model_dump_json()},
        },
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": phase},
    }


class World:
    """A store, and whom it told of changes."""

    def __init__(self) -> None:
        self.touched: list[str] = []
        self.store = PodStore(self.touched.append)

    def known(self) -> set[str]:
        return set(self.store.of(EXECUTION))

    def in_flight(self) -> set[str]:
        return set(self.store.in_flight(EXECUTION))


@pytest.fixture
def world() -> World:
    return World()


def test_it_knows_nothing_before_the_first_list(world: World) -> None:
    assert not world.store.synced
    world.store.replaced([], 1)
    assert world.store.synced


def test_a_list_is_told_by_execution(world: World) -> None:
    world.store.replaced([pod("p1"), pod("p2"), pod("q", execution="uid-other")], 5)
    assert world.known() == {"p1", "p2"}
    assert set(world.touched) == {EXECUTION, "uid-other"}


def test_what_a_later_list_does_not_hold_is_gone_and_that_is_told(world: World) -> None:
    world.store.replaced([pod("p1")], 5)
    world.touched.clear()
    world.store.replaced([], 9)
    assert world.known() == set()
    assert world.touched == [EXECUTION]


def test_changes_are_told_and_echoes_are_not(world: World) -> None:
    world.store.changed("ADDED", pod("p1"))
    world.store.changed("MODIFIED", pod("p1", version=2))  # nothing that decisions see
    assert world.touched == [EXECUTION]
    world.store.changed("MODIFIED", pod("p1", phase="Running", version=3))
    assert world.touched == [EXECUTION, EXECUTION]
    assert world.store.of(EXECUTION)["p1"].phase == "Running"
    world.store.changed("DELETED", pod("p1", phase="Running", version=4))
    assert world.touched == [EXECUTION] * 3
    assert world.known() == set()


def test_pods_of_others_are_left_alone(world: World) -> None:
    stranger = pod("x")
    stranger["metadata"]["annotations"] = {}
    world.store.changed("ADDED", stranger)
    world.store.replaced([stranger], 2)
    assert world.touched == []


# --- expectations ---


def test_a_pod_is_in_flight_until_the_watch_tells_of_it(world: World) -> None:
    world.store.replaced([], 10)
    world.store.expect(EXECUTION, "p1")
    assert world.in_flight() == {"p1"}
    world.store.created(EXECUTION, "p1", 12)
    assert world.in_flight() == {"p1"}
    world.store.changed("ADDED", pod("p1", version=12))
    assert world.in_flight() == set()
    assert world.known() == {"p1"}


def test_the_watch_may_be_faster_than_the_answer(world: World) -> None:
    world.store.expect(EXECUTION, "p1")
    world.store.changed("ADDED", pod("p1", version=12))
    world.store.created(EXECUTION, "p1", 12)
    assert world.in_flight() == set()


def test_a_stale_watch_does_not_end_the_wait(world: World) -> None:
    world.store.expect(EXECUTION, "p1")
    world.store.created(EXECUTION, "p1", 12)
    world.store.changed("ADDED", pod("other", version=11))
    world.store.advanced(11)
    world.store.replaced([pod("other", version=11)], 11)
    assert world.in_flight() == {"p1"}


def test_a_pod_without_an_answer_yet_outlives_every_bookmark_and_list(world: World) -> None:
    world.store.expect(EXECUTION, "p1")
    world.store.advanced(1_000)
    world.store.replaced([], 2_000)
    assert world.in_flight() == {"p1"}


@pytest.mark.parametrize("version", [12, 13])
def test_a_bookmark_past_its_creation_says_that_it_was_deleted_unseen(world: World, version: int) -> None:
    world.store.expect(EXECUTION, "p1")
    world.store.created(EXECUTION, "p1", 12)
    world.touched.clear()
    world.store.advanced(version)
    assert world.in_flight() == set()
    assert world.touched == [EXECUTION]


def test_a_list_past_its_creation_that_does_not_hold_it_says_so_too(world: World) -> None:
    world.store.expect(EXECUTION, "p1")
    world.store.expect(EXECUTION, "p2")
    world.store.created(EXECUTION, "p1", 12)
    world.store.created(EXECUTION, "p2", 13)
    world.store.replaced([pod("p2", version=13)], 20)
    assert world.in_flight() == set()
    assert world.known() == {"p2"}
    assert EXECUTION in world.touched


def test_seen_and_deleted_between_two_looks_it_is_lost_and_not_in_flight(world: World) -> None:
    world.store.expect(EXECUTION, "p1")
    world.store.changed("ADDED", pod("p1", version=12))
    world.store.changed("DELETED", pod("p1", version=13))
    world.store.created(EXECUTION, "p1", 12)
    assert world.in_flight() == set()
    assert world.known() == set()


def test_a_refused_pod_is_not_waited_for(world: World) -> None:
    world.store.expect(EXECUTION, "p1")
    world.store.unexpect(EXECUTION, "p1")
    assert world.in_flight() == set()


def test_asked_for_again_it_keeps_the_version_it_was_created_at(world: World) -> None:
    world.store.expect(EXECUTION, "p1")
    world.store.created(EXECUTION, "p1", 12)
    world.store.expect(EXECUTION, "p1")
    world.store.advanced(12)
    assert world.in_flight() == set()


def test_an_execution_that_is_gone_is_forgotten(world: World) -> None:
    world.store.changed("ADDED", pod("p1"))
    world.store.expect(EXECUTION, "p2")
    world.store.forget(EXECUTION)
    assert (world.known(), world.in_flight()) == (set(), set())


def test_why_pods_do_not_run_yet(world: World) -> None:
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "name": "main"}
    no_node = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    going = {**pod("going")}
    going["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z"
    pulls, stuck = pod("pulls"), pod("stuck", execution="uid-other")
    pulls["status"]["containerStatuses"] = [waiting]
    stuck["status"]["conditions"] = [no_node]
    world.store.replaced([pod("new"), pulls, stuck, going, pod("runs", phase="Running")], 5)
    assert sorted(world.store.pending()) == ["ImagePullBackOff", "Scheduling", "Unschedulable"]
