"""What still works while something is away: the table of docs/api.md, cell by cell, by the process itself.

Each server is killed, and in a second round it hangs: connections stay, and nobody answers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx

from ossa.api.gateway import EVENTS
from ossa.bus.connection import connect
from ossa.bus.frames import SUBPROTOCOL, Close
from ossa.bus.messages import EVENTS as STREAM
from ossa.bus.publisher import Posting, Publisher
from ossa.gateway.authorization import ALLOWED_TTL
from tests.bench.processes import REPO
from tests.ports import free_port
from tests.unit.gateway.events.serving import event
from tests.unit.gateway.installed import UNLIMITED, Installed, installed
from tests.unit.gateway.outages import OPENED, REQUEST_SECONDS, Stage
from tests.unit.servers import Postgres, Redis

POSTGRESQL, REDIS, API = "PostgreSQL away", "Redis away", "the API server away"
RUN, CHANGE = "POST /orchestrate, retry, rerun", "pause, resume, cancel, approve"
LISTS, ONE, LOGS = "lists of executions", "one execution, its tasks", "logs, lists of approvals"
CATALOGUE, KNOWN, OWN = "agents, workflows", "being recognized", "sign-in, refresh, own sessions, own password"
REQUEST, USERS, AUDIT = "what became of a request", "users", "audit events of the API server"
SOCKETS, COMMANDS, HEALTH = "WebSockets: events", "WebSockets: commands", "health, readiness, metrics"
# Requests of each row, and how they are answered with nothing away. Commands are tried by tests of their own.
WORKS: dict[str, dict[str, int]] = {
    KNOWN: {"person": 200, "agent, seen": 200},
    OWN: {"sign-in": 200, "refresh": 200, "own sessions": 200, "own password": 204},
    RUN: {"orchestrate": 202, "retry": 202, "rerun": 202},
    REQUEST: {"request": 200},
    CHANGE: {"pause": 200, "resume": 200, "cancel": 200, "approve": 200},
    LISTS: {"list": 200, "list all": 200},
    ONE: {"one": 200, "its tasks": 200, "one that is gone": 200},
    LOGS: {"logs": 200, "approvals": 200},
    CATALOGUE: {"agents": 200, "agent": 200, "workflows": 200, "workflow": 200},
    USERS: {"users": 200},
    SOCKETS: {"socket": OPENED},
    COMMANDS: {},
    AUDIT: {"audit events": 200},
    HEALTH: {"health": 200, "readiness": 200, "metrics": 200},
}


def refused(row: str) -> dict[str, int]:
    """503 to all."""
    return dict.fromkeys(WORKS[row], 503)


# What a cell says, and how requests are answered then; what is not told of here works, and says so.
CELLS: dict[tuple[str, str], tuple[str, dict[str, int]]] = {
    (KNOWN, POSTGRESQL): ("who was seen lately, until their token expires; agents", WORKS[KNOWN]),
    (KNOWN, API): ("persons; agents that were seen in the last minute", {**WORKS[KNOWN], "agent, not seen": 503}),
    (OWN, POSTGRESQL): ("503", refused(OWN)),
    (RUN, POSTGRESQL): ("503: nothing is written down, so nothing is accepted", refused(RUN)),
    (RUN, API): (
        "202 `Accepted` for who was seen to be allowed within the last 10 minutes, up to 1000 open requests in all; "
        "else 503. Carried out once it is back, if it is still allowed. retry and rerun: 503",
        {**refused(RUN), "orchestrate": 202, "orchestrate, not seen": 503},
    ),
    (REQUEST, POSTGRESQL): ("503", refused(REQUEST)),
    (CHANGE, POSTGRESQL): ("work while Redis keeps the audit trail; else 503, and nothing is changed", WORKS[CHANGE]),
    (CHANGE, API): ("503", refused(CHANGE)),
    (LISTS, POSTGRESQL): ("from the cluster: what is there now, by name", WORKS[LISTS]),
    (LISTS, API): (
        "from the records, for who was seen to be allowed within the last 10 minutes",
        {**WORKS[LISTS], "list, not seen": 503},
    ),
    (ONE, POSTGRESQL): ("work while it is in the cluster; else 503", {**WORKS[ONE], "one that is gone": 503}),
    (ONE, API): ("as recorded last, likewise", {**WORKS[ONE], "one, not seen": 503}),
    (LOGS, API): ("503", refused(LOGS)),
    (CATALOGUE, API): ("as they were last seen, likewise", {**WORKS[CATALOGUE], "agents, not seen": 503}),
    (USERS, POSTGRESQL): ("503", refused(USERS)),
    (USERS, API): ("503", refused(USERS)),
    (SOCKETS, REDIS): (
        "open ones stay and are told nothing until it is back; new ones too, but at a replica that has started "
        "meanwhile: 1013",
        WORKS[SOCKETS],
    ),
    (SOCKETS, API): (
        "open ones go on for five minutes, with what is told; new ones: 1013",
        {"socket": Close.TRY_LATER},
    ),
    (COMMANDS, POSTGRESQL): ("as the requests of their names", {}),
    (COMMANDS, REDIS): ("likewise", {}),
    (COMMANDS, API): ("likewise", {}),
    (AUDIT, POSTGRESQL): ("503: it sends them again", refused(AUDIT)),
    (AUDIT, API): ("503", refused(AUDIT)),
    (HEALTH, POSTGRESQL): ("work: no replica becomes unready", WORKS[HEALTH]),
}


def in_document() -> dict[tuple[str, str], str]:
    """The table's cells by row and column."""
    text = (REPO / "docs" / "api.md").read_text().split("## What still works")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    (_, *columns), _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {(row, column): cell for row, *cells in rows for column, cell in zip(columns, cells, strict=True)}


def answers_of(row: str, column: str) -> dict[str, int]:
    """How requests are answered then."""
    return CELLS.get((row, column), ("", WORKS[row]))[1]


def test_the_table_says_what_is_tried() -> None:
    told = in_document()
    assert {row for row, _ in told} == set(WORKS)
    assert {column for _, column in told} == {POSTGRESQL, REDIS, API}
    for cell, says in told.items():
        expected = {CELLS[cell][0]} if cell in CELLS else {"work", "works", "taken"}
        assert says in expected, cell


@dataclass(frozen=True, slots=True)
class Outage:
    """How something goes away and comes back, and within how many seconds everything is answered meanwhile."""

    name: str
    column: str
    begin: Callable[[], object]
    end: Callable[[], object]
    bound: float
    wait: float = 0.0  # seconds before anything is asked for

    async def do(self, what: Callable[[], object]) -> None:
        """Servers block until they are away or there; the API server is in this event loop."""
        if self.column == API:
            what()
        else:
            await asyncio.to_thread(what)


def outages(postgres: Postgres, redis: Redis, held: Installed) -> list[Outage]:
    """All there are."""
    cluster = held.cluster

    def stop(stopped: bool) -> None:
        cluster.stopped = stopped

    return [
        Outage("redis-killed", REDIS, redis.kill, redis.start, 3),
        Outage("redis-hangs", REDIS, redis.hang, redis.wake, 3),
        Outage("postgresql-killed", POSTGRESQL, postgres.kill, postgres.start, 3),
        Outage("postgresql-hangs", POSTGRESQL, postgres.hang, postgres.wake, 15),
        # Until what was seen lately is all that is known.
        Outage("api-breaks", API, lambda: stop(True), lambda: stop(False), 8, wait=ALLOWED_TTL),
        Outage("api-hangs", API, cluster.answering.clear, cluster.answering.set, 18, wait=ALLOWED_TTL),
    ]


async def test_the_process_does_as_the_table_says(
    tmp_path: Path, records_url: str, postgres: Postgres, redis: Redis
) -> None:
    port = free_port()
    more = {**UNLIMITED, "OSSA_METRICS_PORT": str(port)}
    async with (
        installed(tmp_path, records=records_url, bus=redis.url, **more) as held,
        httpx.AsyncClient(base_url=held.gateway.url, headers=held.authorization, timeout=REQUEST_SECONDS) as client,
        aiohttp.ClientSession(held.gateway.url, headers=held.authorization) as session,
        session.ws_connect(f"{EVENTS}?namespace=lab", protocols=[SUBPROTOCOL]) as socket,
    ):
        hearing = asyncio.create_task(hears(socket, "told"))
        stage = Stage(held, client, records_url, f"http://127.0.0.1:{port}/metrics")
        planned = outages(postgres, redis, held)
        await stage.furnish([*(outage.name for outage in planned), "first", "both"])
        await stage.until_well()
        seen = await stage.ask([name for row in WORKS.values() for name in row], "first")
        assert {name: one.status for name, one in seen.items()} == {
            name: status for row in WORKS.values() for name, status in row.items()
        }
        for outage in planned:
            await endured(stage, outage)
        await without_trail(stage, postgres, redis)
        await nothing_is_lost(stage)
        assert not hearing.done(), "the socket that was there before all outages is there"
        await tell(redis, "told")
        await asyncio.wait_for(hearing, 30)
        assert held.gateway.process.poll() is None


async def endured(stage: Stage, outage: Outage) -> None:
    """Everything is answered in time and as the table says, and works again afterwards."""
    assert (await stage.ask(["agent, seen"], outage.name))["agent, seen"].status == 200
    await outage.do(outage.begin)
    await asyncio.sleep(outage.wait)
    expected = {row: answers_of(row, outage.column) for row in WORKS}
    seen = await stage.ask([name for row in expected.values() for name in row], outage.name)
    await outage.do(outage.end)
    found = {row: {name: seen[name].status for name in answers} for row, answers in expected.items()}
    assert found == expected, outage.name
    late = {name: one.seconds for name, one in seen.items() if one.seconds > outage.bound}
    assert late == {}, outage.name
    if outage.column == API:
        assert seen["orchestrate"].body["state"] == "Accepted"
    await stage.until_well()


async def without_trail(stage: Stage, postgres: Postgres, redis: Redis) -> None:
    """With both away nothing is changed."""
    await asyncio.gather(asyncio.to_thread(postgres.kill), asyncio.to_thread(redis.kill))
    before = dict(stage.held.cluster.objects)
    changes = WORKS[CHANGE]
    seen = await stage.ask(changes, "both")
    assert {name: one.status for name, one in seen.items()} == dict.fromkeys(changes, 503)
    assert stage.held.cluster.objects == before
    await asyncio.gather(asyncio.to_thread(postgres.start), asyncio.to_thread(redis.start))
    await stage.until_well()
    # Of those that hung, too: what came late is done once.


async def nothing_is_lost(stage: Stage) -> None:
    """What was answered 202 has led to one Execution each."""
    states = await stage.closed()
    executions = stage.held.cluster.executions()
    assert {states[one["id"]] for one in stage.accepted} == {"done"}
    made = [item["metadata"]["annotations"].get("ossa.dev/request-id", "") for item in executions]
    assert {one["id"]: made.count(one["id"]) for one in stage.accepted} == {one["id"]: 1 for one in stage.accepted}


async def hears(socket: aiohttp.ClientWebSocketResponse, execution: str) -> None:
    """Until an event of the Execution comes."""
    async for message in socket:
        frame = json.loads(message.data)
        if frame["type"] == "event" and frame["event"]["execution"] == execution:
            return
    raise AssertionError(f"the socket was closed: {socket.close_code}")


async def tell(redis: Redis, execution: str) -> None:
    """An event, as the monitor tells it."""
    async with connect(redis.url, name="test") as client:
        await Publisher(client).send([Posting(event(execution, namespace="lab"), STREAM)])
