"""Creating pods once each, whatever the API server answers."""

from __future__ import annotations

import pytest

from controllers.creation import EPOCH_POLICY
from ossa.kube.client import ApiError, Conflict
from tests.unit.controllers.creation.world import RUN, World, answers


async def test_a_pod_is_asked_for_once_and_waited_for(world: World) -> None:
    name = world.want()
    assert world.in_flight() == {name}
    await world.create()
    await world.create()
    assert world.server.posts == [name]
    assert world.server.pods[name]["metadata"]["annotations"]["ossa.dev/epoch"] == "7"
    assert world.in_flight() == {name}  # until the watch tells of it
    world.tell("ADDED", name)
    assert world.in_flight() == set()


async def test_without_an_answer_it_is_asked_for_again_and_adopted(world: World) -> None:
    name = world.want()
    world.server.next = [world.server.made_without_an_answer]
    with pytest.raises(ApiError) as raised:
        await world.create()
    assert raised.value.transient
    await world.create()
    assert world.server.posts == [name, name]
    assert len(world.server.pods) == 1
    assert world.creator.refused(RUN) == {}
    await world.create()
    assert len(world.server.posts) == 2


async def test_without_an_answer_and_told_of_by_the_watch_it_is_not_asked_for_again(world: World) -> None:
    name = world.want()
    world.server.next = [world.server.made_without_an_answer]
    with pytest.raises(ApiError):
        await world.create()
    world.tell("ADDED", name)
    world.tell("DELETED", name)
    del world.server.pods[name]
    await world.create()
    assert world.server.posts == [name]  # a name is never used twice
    assert world.in_flight() == set()  # so that the attempt counts as lost


async def test_gone_before_it_could_be_adopted_its_name_is_used_up(world: World) -> None:
    name = world.want()
    world.server.next = [answers(409, "AlreadyExists", "there already")]
    with pytest.raises(ApiError, match="is gone"):  # so that its execution is looked at again
        await world.create()
    await world.create()
    assert world.server.posts == [name]
    assert world.in_flight() == set()
    assert world.creator.refused(RUN) == {}


async def test_a_conflict_about_a_quota_loses_no_attempt(world: World) -> None:
    name = world.want()
    words = 'Operation cannot be fulfilled on resourcequotas "small": the object has been modified'
    world.server.next = [answers(409, "Conflict", words)]
    with pytest.raises(Conflict):  # so that it is asked for again in a moment
        await world.create()
    assert world.in_flight() == {name}
    await world.create()
    assert world.server.posts == [name, name]
    assert set(world.server.pods) == {name}


async def test_a_name_that_something_else_has_is_refused(world: World) -> None:
    name = world.want()
    world.server.pods[name] = {"metadata": {"name": name, "annotations": {}}}
    await world.create()
    assert "is taken by another pod" in world.creator.refused(RUN)[name]
    assert world.in_flight() == set()


@pytest.mark.parametrize("code", [403, 422])
async def test_what_the_api_server_refuses_is_told_and_not_asked_for_again(world: World, code: int) -> None:
    name = world.want()
    world.server.next = [answers(code, "Refused", "no privileged containers here")]
    await world.create()
    await world.create()
    assert world.server.posts == [name]
    assert world.creator.refused(RUN) == {name: "no privileged containers here"}
    assert world.in_flight() == set()


async def test_a_quota_is_waited_for(world: World) -> None:
    name = world.want()
    world.server.next = [answers(403, "Forbidden", "pods is forbidden: exceeded quota: small")]
    await world.create()
    assert world.creator.held(RUN) == {name: "pods is forbidden: exceeded quota: small"}
    assert world.creator.pending() == ["Quota"]
    assert world.creator.refused(RUN) == {}
    assert world.in_flight() == {name}
    await world.create()
    assert world.creator.held(RUN) == {}
    assert set(world.server.pods) == {name}


async def test_a_right_that_the_operator_lacks_is_no_task_s_fault(world: World) -> None:
    """An API server that has just started has not read the cluster's roles, and permits nothing."""
    name = world.want()
    words = 'pods is forbidden: User "a:b" cannot create resource "pods" in API group "" in the namespace "n"'
    world.server.next = [answers(403, "Forbidden", words)]
    await world.create()
    assert world.creator.held(RUN) == {name: words}
    assert world.creator.pending() == ["Permission"]
    assert (world.creator.refused(RUN), world.in_flight()) == ({}, {name})
    await world.create()
    assert (world.creator.held(RUN), set(world.server.pods)) == ({}, {name})


async def test_an_epoch_that_is_refused_is_no_task_s_fault(world: World) -> None:
    """The API server is behind, or this process is about to end: its word may not fail the task."""
    name = world.want()
    words = f"pods \"{name}\" is forbidden: {EPOCH_POLICY} with binding 'ossa-epoch' denied request: no params found"
    world.server.next = [answers(403, "Forbidden", words), answers(422, "Invalid", words)]
    for _ in range(2):
        await world.create()
        assert world.creator.refused(RUN) == {}
        assert world.in_flight() == {name}
    await world.create()
    assert set(world.server.pods) == {name}


async def test_one_that_fails_does_not_hold_up_another(world: World) -> None:
    first, second = world.want(1), world.want(2)
    world.server.next = [answers(500, "InternalError", "etcd is away")]
    with pytest.raises(ApiError):
        await world.create()
    assert len(world.server.pods) == 1
    await world.create()
    assert set(world.server.pods) == {first, second}
