"""SubjectAccessReviews: how often they are asked, and what becomes of their answers."""

from __future__ import annotations

import asyncio

import pytest

from ossa.gateway.authorization import ALLOWED_TTL, DENIED_TTL, SEEN_TTL, SubjectAccess
from ossa.gateway.identity import Access, Identity
from ossa.gateway.problems import Problem
from tests.unit.gateway.kubernetes import kubernetes

ALICE = Identity(user="ossa:alice", groups=("ossa:team",))
CREATE = Access("create", "executions", "lab")
MAY = ("ossa:alice", "create", "executions", "lab")


async def test_a_right_of_a_group_counts_and_the_question_names_user_and_groups() -> None:
    async with kubernetes() as (server, api):
        server.allowed = {("ossa:team", "create", "executions", "lab")}
        await SubjectAccess(api).require(ALICE, CREATE)
    [asked] = server.asked
    assert asked == {
        "user": "ossa:alice",
        "groups": ["ossa:team"],
        "resourceAttributes": {
            "group": "ossa.dev",
            "verb": "create",
            "resource": "executions",
            "subresource": "",
            "namespace": "lab",
            "name": "",
        },
    }


async def test_a_refusal_says_what_is_missing() -> None:
    async with kubernetes() as (_, api):
        with pytest.raises(Problem) as refusal:
            await SubjectAccess(api).require(ALICE, Access("get", "executions", "lab", "run-1", "artifacts"))
    assert refusal.value.status == 403
    assert refusal.value.document() == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "ossa:alice may not get executions/artifacts (ossa.dev) 'run-1' in namespace 'lab'; an administrator "
        "can bind a Role with this verb to them or to one of their groups",
        "verb": "get",
        "resource": "executions/artifacts",
        "group": "ossa.dev",
        "namespace": "lab",
        "name": "run-1",
    }


ONE, OTHER = (Access("get", "executions", "lab", name) for name in ("run-1", "run-2"))


async def test_a_right_to_all_is_asked_once_for_all_names() -> None:
    now = 0.0
    async with kubernetes() as (server, api):
        server.allowed = {("ossa:alice", "get", "executions", "lab")}
        access = SubjectAccess(api, clock=lambda: now)
        await access.require(ALICE, ONE)
        await access.require(ALICE, OTHER)
        assert [asked["resourceAttributes"]["name"] for asked in server.asked] == [""]
        assert access.seen_lately(ALICE, OTHER)
        server.allowed, now = set(), ALLOWED_TTL
        with pytest.raises(Problem):
            await access.require(ALICE, ONE)
        assert not access.seen_lately(ALICE, ONE)
        assert not access.seen_lately(ALICE, OTHER)


async def test_a_right_to_one_is_asked_by_its_name() -> None:
    now = 0.0
    async with kubernetes() as (server, api):
        server.named = {("ossa:alice", "get", "executions", "lab", "run-1")}
        access = SubjectAccess(api, clock=lambda: now)
        for _ in range(2):
            await access.require(ALICE, ONE)
            with pytest.raises(Problem) as refusal:
                await access.require(ALICE, OTHER)
            assert (refusal.value.status, "'run-2'" in refusal.value.detail) == (403, True)
        assert [asked["resourceAttributes"]["name"] for asked in server.asked] == ["", "run-1", "run-2"]
        now += DENIED_TTL
        await access.require(ALICE, ONE)  # as it was remembered
        assert len(server.asked) == 3
        server.failing, now = True, ALLOWED_TTL
        with pytest.raises(Problem) as refusal:
            await access.require(ALICE, ONE)
        assert refusal.value.status == 503
        assert access.seen_lately(ALICE, ONE)
        assert not access.seen_lately(ALICE, OTHER)


async def test_yes_and_no_are_remembered_each_for_their_time() -> None:
    now = 0.0
    async with kubernetes() as (server, api):
        access = SubjectAccess(api, clock=lambda: now)
        with pytest.raises(Problem):
            await access.require(ALICE, CREATE)
        server.allowed = {MAY}
        with pytest.raises(Problem):
            await access.require(ALICE, CREATE)
        assert len(server.asked) == 1
        now += DENIED_TTL
        await access.require(ALICE, CREATE)
        server.allowed = set()
        now += ALLOWED_TTL - 0.1
        await access.require(ALICE, CREATE)
        assert len(server.asked) == 2
        now += 0.2
        with pytest.raises(Problem):
            await access.require(ALICE, CREATE)


async def test_other_groups_are_another_question() -> None:
    async with kubernetes() as (server, api):
        server.allowed = {("ossa:team", "create", "executions", "lab")}
        access = SubjectAccess(api)
        await access.require(ALICE, CREATE)
        with pytest.raises(Problem):
            await access.require(Identity(user="ossa:alice"), CREATE)


async def test_many_that_ask_the_same_at_once_ask_once() -> None:
    async with kubernetes() as (server, api):
        server.allowed, server.delay = {MAY}, 0.1
        access = SubjectAccess(api)
        several = [asyncio.create_task(access.require(ALICE, CREATE)) for _ in range(50)]
        await asyncio.sleep(0.02)
        several[0].cancel()  # who asked first has gone
        await asyncio.gather(*several[1:])
        assert len(server.asked) == 1


async def test_with_the_api_server_away_nothing_is_allowed_and_what_was_seen_is_known_for_a_while() -> None:
    now = 0.0
    async with kubernetes() as (server, api):
        server.allowed = {MAY}
        access = SubjectAccess(api, clock=lambda: now)
        assert not access.seen_lately(ALICE, CREATE)
        await access.require(ALICE, CREATE)
        server.failing = True
        now = ALLOWED_TTL
        with pytest.raises(Problem) as refusal:
            await access.require(ALICE, CREATE)
        assert (refusal.value.status, refusal.value.headers["Retry-After"]) == (503, "2")
        assert access.seen_lately(ALICE, CREATE)
        assert not access.seen_lately(ALICE, Access("create", "executions", "other"))
        now = SEEN_TTL
        assert not access.seen_lately(ALICE, CREATE)


async def test_a_no_ends_what_was_seen() -> None:
    now = 0.0
    async with kubernetes() as (server, api):
        server.allowed = {MAY}
        access = SubjectAccess(api, clock=lambda: now)
        await access.require(ALICE, CREATE)
        server.allowed, now = set(), ALLOWED_TTL
        with pytest.raises(Problem):
            await access.require(ALICE, CREATE)
        assert not access.seen_lately(ALICE, CREATE)


async def test_memory_is_bounded() -> None:
    async with kubernetes() as (server, api):
        access = SubjectAccess(api, size=5)
        server.allowed = {("ossa:alice", "create", "executions", f"n{number}") for number in range(20)}
        for number in range(20):
            await access.require(ALICE, Access("create", "executions", f"n{number}"))
        assert access.seen_lately(ALICE, Access("create", "executions", "n19"))
        assert not access.seen_lately(ALICE, Access("create", "executions", "n0"))
        await access.require(ALICE, Access("create", "executions", "n19"))
        assert len(server.asked) == 20


async def test_what_one_that_has_just_started_denies_does_not_count() -> None:
    """It has not read the cluster's roles yet: whoever may do it is told to come again, and is not forgotten."""
    now = 0.0
    async with kubernetes() as (server, api):
        server.allowed, server.ready = {MAY}, True
        access = SubjectAccess(api, clock=lambda: now)
        await access.require(ALICE, CREATE)
        server.allowed, server.ready, now = set(), False, ALLOWED_TTL
        with pytest.raises(Problem) as refusal:
            await access.require(ALICE, CREATE)
        assert refusal.value.status == 503
        assert access.seen_lately(ALICE, CREATE)
        server.allowed, server.ready = {MAY}, True
        await access.require(ALICE, CREATE)


async def test_what_one_that_is_ready_denies_is_asked_again_for_it_may_have_become_so_meanwhile() -> None:
    now = 10.0
    async with kubernetes() as (server, api):
        server.ready = True
        access = SubjectAccess(api, clock=lambda: now)
        for access_, asked in ((CREATE, 2), (Access("list", "executions", "lab"), 3)):  # it was ready just now
            with pytest.raises(Problem) as refusal:
                await access.require(ALICE, access_)
            assert (refusal.value.status, len(server.asked)) == (403, asked)
