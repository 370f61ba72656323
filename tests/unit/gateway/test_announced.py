"""The audit trail has what is about to be changed before it is changed; what it cannot have is not done."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from ossa.bus.frames import Command
from ossa.gateway.events.commands import RestCommands
from ossa.gateway.problems import Unkept
from tests.unit.audit.running import entries, writing
from tests.unit.gateway.dying import Fuse, fused, kill_all, until_dead
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.rest.resources import APPROVALS, EDITOR, NAMESPACE, approval, execution, gateway, put
from tests.unit.servers import Postgres

ACTIONS = ("pause", "cancel", "approve")


def prepare(held: Lab) -> None:
    """Carl is no author, and may do everything."""
    held.people.add("carl", *EDITOR, groups=("ossa:board",))
    put(held, execution("x1"))
    held.cluster.create(APPROVALS.format("lab"), approval("a1"))


def command(action: str) -> Command:
    body = {"verdict": "Approved"} if action == "approve" else {}
    return Command.model_validate({"id": "1", "action": action, "namespace": "lab", "execution": "x1", "body": body})


def changed(held: Lab) -> bool:
    spec = held.cluster.executions()[0]["spec"]
    return bool(
        spec.get("suspend")
        or spec.get("cancel")
        or held.cluster.objects[f"{APPROVALS.format('lab')}/a1"].get("decisions")
    )


@pytest.mark.parametrize("action", ACTIONS)
async def test_whoever_dies_anywhere_has_written_down_what_they_did(records_url: str, action: str) -> None:
    for steps in itertools.count():
        async with gateway(records_url) as held:
            prepare(held)
            before, fuse = asyncio.all_tasks(), Fuse(steps)
            run = RestCommands(fused(held, fuse), held.acceptor)
            answer = await until_dead(fuse, run(held.people.tokens["carl"], "", command(action)))
            told = [(entry.verb, entry.outcome) for entry in held.book.entries]
            assert told == [(action, "asked"), (action, "allowed")][: len(told)]
            assert told or not changed(held)
            if answer is not None:
                assert (answer[0], len(told), changed(held)) == (200, 2, True)
                break
            await kill_all(before)
    assert steps >= 8  # permission, reading, the trail, the change, the trail: before and after each


async def test_over_rest_it_is_written_before_the_change(records_url: str) -> None:
    async with gateway(records_url) as held:
        prepare(held)
        seen: list[tuple[str, str, str, str, str, int]] = []
        patch = held.cluster._patch

        def patched(path: str, operations: Any) -> web.Response:
            last = held.book.entries[-1]
            seen.append((last.user, last.verb, last.resource, last.name, last.outcome, last.status))
            return patch(path, operations)

        held.cluster._patch = patched  # type: ignore[method-assign] # looked at on its way
        for action in ("pause", "resume", "cancel", "approve"):
            body: Any = {"verdict": "Rejected"} if action == "approve" else None
            answer = await held.post(f"{NAMESPACE}/executions/x1/{action}", body, who="carl")
            assert answer.status_code == 200
            asked, ended = held.book.entries[-2:]
            assert (asked.id, asked.trace_id, ended.outcome) == (ended.id, ended.trace_id, "allowed")
        assert seen == [
            ("ossa:carl", "pause", "executions", "x1", "asked", 0),
            ("ossa:carl", "resume", "executions", "x1", "asked", 0),
            ("ossa:carl", "cancel", "executions", "x1", "asked", 0),
            ("ossa:carl", "approve", "approvals", "a1", "asked", 0),
        ]
        # Nothing is to be changed: how it ended is enough.
        await held.post(f"{NAMESPACE}/executions/x1/cancel", who="carl")
        assert [entry.outcome for entry in held.book.entries[8:]] == ["allowed"]


async def test_where_the_trail_can_be_kept_nowhere_nothing_is_changed(records_url: str) -> None:
    async with gateway(records_url) as held:
        prepare(held)
        held.book.away = {"asked"}
        for action in ACTIONS:
            answer = await held.post(f"{NAMESPACE}/executions/x1/{action}", {}, who="carl")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), action
            with pytest.raises(Unkept):
                await RestCommands(held.collaborators, held.acceptor)(held.people.tokens["carl"], "", command(action))
        assert not changed(held)
        assert held.book.entries == []


async def test_with_postgresql_away_and_no_redis_nothing_is_changed(records_url: str, postgres: Postgres) -> None:
    """With the real trail."""
    async with gateway(records_url) as held, writing(records_url, None) as trail:
        prepare(held)
        run = RestCommands(replace(held.collaborators, trail=trail), held.acceptor)
        carl = held.people.tokens["carl"]
        postgres.kill()
        for action in ACTIONS:
            with pytest.raises(Unkept, match="nothing was done"):
                await run(carl, "", command(action))
        assert not changed(held)
        postgres.start()
        while not trail.available:  # noqa: ASYNC110 - what a client does
            await asyncio.sleep(0.1)
        await run(carl, "", command("pause"))
        assert changed(held)
    told = [(entry.verb, entry.outcome) for entry in await entries(records_url) if entry.outcome != "failed"]
    assert told[-3:-1] == [("pause", "asked"), ("pause", "allowed")]


async def test_a_run_whose_end_cannot_be_told_stays_open_until_it_can(records_url: str) -> None:
    async with gateway(records_url) as held:
        body = {"namespace": "lab", "workflow": "pipeline"}
        held.book.away = {"allowed"}
        assert (await held.post("/orchestrate", body)).status_code == 503
        await held.carried_out()  # in vain
        assert [row["state"] for row in await held.rows()] == ["open"]
        held.book.away = set()
        await held.carried_out()
        assert [row["state"] for row in await held.rows()] == ["done"]
        assert [entry.verb for entry in held.book.entries] == ["carry-out"]
        assert len(held.cluster.executions()) == 1
