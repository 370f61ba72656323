"""The gateway dies at any line of a request: there is exactly one Execution afterwards, or none that was promised."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ossa.api.gateway import Accepted
from ossa.audit.entry import Entry, Outcome
from ossa.gateway.context import Call, Collaborators, utc_now
from ossa.gateway.orchestrate.accepting import Acceptor
from ossa.gateway.orchestrate.carrier import Carrier
from ossa.gateway.problems import Problem
from tests.unit.controllers.apiserver import failure
from tests.unit.gateway.dying import Fuse, fused, kill_all, until_dead
from tests.unit.gateway.lab import Lab, lab

SPEC = {"workflow": "pipeline"}


def call(gateway: Lab, number: int) -> Call:
    id_ = f"0194f000-0000-7000-8000-{number:012x}"
    return Call(
        id=id_,
        identity=gateway.people.tokens["alice"],
        address="",
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
        ask=lambda asking: gateway.book.record(entry_of(asking, "asked")),
    )


def entry_of(asking: Call, outcome: Outcome) -> Entry:
    return Entry(
        id=asking.id,
        time=utc_now(),
        user=asking.identity.user,
        verb="orchestrate",
        resource="executions",
        outcome=outcome,
        status=0,
    )


async def crash_everywhere(gateway: Lab, run: Callable[[Collaborators, int], Awaitable[Any]]) -> int:
    """Runs it again and again, dying one step later each time, until it comes through; how many times it died."""
    for steps in itertools.count():
        before = asyncio.all_tasks()
        fuse = Fuse(steps)
        answer = await until_dead(fuse, run(fused(gateway, fuse), steps))
        if answer is not None:
            await asyncio.sleep(0.1)  # what is written after the answer
            if not fuse.blown.is_set():
                return steps
        await kill_all(before)
        await gateway.carried_out()
    raise AssertionError("it never comes through")


def made(gateway: Lab) -> int:
    return len(gateway.cluster.executions())


async def accept(c: Collaborators, asking: Call, key: str | None) -> Accepted:
    acceptor = Acceptor(c)
    answer = await acceptor.accept(asking, "lab", SPEC, key=key)
    await c.trail.record(entry_of(asking, "allowed"))
    asking.settle()
    await acceptor.drained()
    return answer


async def test_with_a_key_the_client_asks_again(records_url: str) -> None:
    """Whatever the first one came to, the second answer is about the only Execution."""
    async with lab(records_url) as gateway:
        asked = itertools.count()

        async def run(c: Collaborators, number: int) -> Accepted:
            return await accept(c, call(gateway, next(asked)), f"key-{number}")

        died = await crash_everywhere(gateway, run)
        assert died >= 6
        for number in range(died):
            answer = await accept(gateway.collaborators, call(gateway, next(asked)), f"key-{number}")
            assert answer.state == "Created"
        assert made(gateway) == died + 1
        await gateway.acceptor.drained()
        assert {row["state"] for row in await gateway.rows()} == {"done"}


async def test_without_a_key_what_was_written_down_is_carried_out_once(records_url: str) -> None:
    async with lab(records_url) as gateway:
        died = await crash_everywhere(gateway, lambda c, number: accept(c, call(gateway, number), None))
        rows = await gateway.rows()
        # Before the row is committed nothing has happened, and nobody was answered; afterwards all goes on.
        assert 0 < len(rows) <= died + 1
        assert made(gateway) == len(rows)
        assert {row["state"] for row in rows} == {"done"}
        # By whoever carried it out, too.
        assert {str(row["id"]) for row in rows} <= {entry.id.removesuffix(":carried") for entry in gateway.book.entries}


async def test_a_request_that_is_refused(records_url: str) -> None:
    """Who was told of the refusal finds no Execution later; who was not may."""
    async with lab(records_url) as gateway:
        refused = True
        gateway.cluster.admit = lambda _: failure(403, "Forbidden", "not now") if refused else None
        told: list[int] = []

        async def run(c: Collaborators, number: int) -> int:
            nonlocal refused
            refused = True
            try:
                await accept(c, call(gateway, number), None)
            except Problem as problem:
                told.append(number)
                return int(problem.status)
            finally:
                refused = False
            raise AssertionError("it was not refused")

        died = await crash_everywhere(gateway, run)
        assert told == [died]
        names = {item["metadata"]["annotations"]["ossa.dev/request-id"] for item in gateway.cluster.executions()}
        assert not {call(gateway, number).id for number in told} & names
        assert {row["state"] for row in await gateway.rows()} <= {"done", "refused"}


async def test_a_carrier_dies(records_url: str) -> None:
    async with lab(records_url) as gateway:
        gateway.people.seen.add(("ossa:alice", "create", "executions", "lab"))

        async def run(c: Collaborators, number: int) -> bool:
            gateway.people.cluster_away = True
            await accept(gateway.collaborators, call(gateway, number), None)
            gateway.people.cluster_away = False
            await Carrier(c).turn()
            return True

        died = await crash_everywhere(gateway, run)
        assert died >= 8
        rows = await gateway.rows()
        assert made(gateway) == len(rows) == died + 1
        assert {row["state"] for row in rows} == {"done"}


@pytest.mark.parametrize("key", ["k", None])
async def test_many_at_once_and_carriers_beside_them(records_url: str, key: str | None) -> None:
    """Handlers and carriers of three replicas carry out the same rows at the same time."""
    async with lab(records_url) as gateway:
        acceptors = [Acceptor(gateway.collaborators) for _ in range(3)]
        calls = [call(gateway, number) for number in range(30)]
        asking = [
            acceptor.accept(one, "lab", SPEC, key=key) for one, acceptor in zip(calls, acceptors * 10, strict=True)
        ]
        carrying = [gateway.carried_out() for _ in range(5)]
        answers = [answer for answer in await asyncio.gather(*asking, *carrying) if answer is not None]
        for one in calls:
            one.settle()
        for acceptor in acceptors:
            await acceptor.drained()
        assert {answer.state for answer in answers} == {"Created"}
        assert made(gateway) == (1 if key else 30)
        assert {row["state"] for row in await gateway.rows()} == {"done"}
