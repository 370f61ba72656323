"""docs/client.md: its examples run at the process ossa-gateway, and its tables name all that there is."""

from __future__ import annotations

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import httpx

import ossa.client
from ossa.api.gateway import USERS, ProblemDocument
from ossa.bus.connection import connect
from ossa.bus.messages import EVENTS, Event
from ossa.bus.publisher import Posting, Publisher
from ossa.client import AsyncGateway, FixedToken, Gateway, GatewayError, Invalid, errors
from ossa.client.errors import refusal
from tests.pages import blocks, text_of
from tests.unit.gateway.events.serving import event
from tests.unit.gateway.installed import UNLIMITED, Installed, installed
from tests.unit.gateway.lab import EXECUTIONS

PAGE = text_of("client.md")
PASSWORD = "a password of theirs"
TEAM = EXECUTIONS.format("team")


class Enough(Exception):
    """Ends an example that goes on for ever."""


async def test_the_examples_do_what_they_say(tmp_path: Path, records_url: str, redis_url: str) -> None:
    runs, follows = blocks(PAGE, "python")
    async with installed(tmp_path, records=records_url, bus=redis_url, **UNLIMITED) as held:
        async with httpx.AsyncClient(base_url=held.gateway.url, headers=held.authorization) as client:
            answer = await client.post(USERS, json={"name": "alice", "password": PASSWORD})
            assert answer.status_code == httpx.codes.CREATED, answer.text
        said: list[Any] = []
        there = runs.replace("https://ossa.example.com", held.gateway.url)
        assert there != runs
        ending = asyncio.create_task(end_the_first(held, redis_url))
        await asyncio.to_thread(exec, there, {"password": PASSWORD, "print": lambda *words: said.append(words)})
        await ending
        assert said == [("Completed", {"score": 1})]
        (item,) = held.cluster.executions("team")
        asked = {name: item["spec"][name] for name in ("workflow", "inputs")}
        assert asked == {"workflow": "data-pipeline", "inputs": {"dataset": "wine"}}
        assert await follow(held, follows, redis_url) == ("run-1", "ingest", "Running")


async def end_the_first(held: Installed, redis_url: str) -> None:
    """The Execution that is asked for ends, once it is there, and that is told."""
    async with asyncio.timeout(60):
        while not held.cluster.executions("team"):  # noqa: ASYNC110 - the example tells nobody
            await asyncio.sleep(0.05)
    (item,) = held.cluster.executions("team")
    finished = [{"type": "Finished", "status": "True", "reason": "Completed"}]
    status = {"phase": "Completed", "outputs": {"score": 1}, "conditions": finished}
    held.cluster.put(TEAM, {**item, "status": status})
    await publish(redis_url, event(item["metadata"]["name"], namespace="team", phase="Completed"))


async def publish(redis_url: str, told: Event) -> None:
    """As the monitor does."""
    bus = connect(redis_url, name="test")
    await Publisher(bus).send([Posting(told, EVENTS)])
    await bus.aclose()


async def follow(held: Installed, example: str, redis_url: str) -> tuple[str, ...]:
    """What the example prints of the first thing that happens after it has been told how things stand."""
    said, begun = list[tuple[str, ...]](), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Names(dict[str, Any]):
        """Says when the example has set `state`."""

        def __setitem__(self, name: str, value: object) -> None:
            super().__setitem__(name, value)
            if name == "state":
                loop.call_soon_threadsafe(begun.set)

    def told(*words: str) -> None:
        said.append(words)
        raise Enough

    def run() -> dict[str, Any]:
        with Gateway(held.gateway.url, FixedToken(held.gateway.token)) as gateway:
            names = Names({"gateway": gateway, "print": told})
            try:
                exec(example, {}, names)  # noqa: S102 - the page itself
            except Enough:
                return names
        raise AssertionError("it has ended by itself")

    running = asyncio.create_task(asyncio.to_thread(run))
    async with asyncio.timeout(60):
        await asyncio.wait({asyncio.create_task(begun.wait()), running}, return_when=asyncio.FIRST_COMPLETED)
        await publish(redis_url, event("run-1", namespace="team", type="task", task="ingest"))
        names = await running
    (item,) = held.cluster.executions("team")
    assert [one.name for one in names["state"].values()] == [item["metadata"]["name"]]
    return said[0]


def test_each_method_is_told_of_and_is_there_in_both() -> None:
    table = PAGE.split("## Who signs in")[0]
    told = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    for kind in (Gateway, AsyncGateway):
        there = {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}
        assert there - {"close"} == told


def test_each_error_is_told_of() -> None:
    told = PAGE.split("## Errors")[1].split("A `Refused`")[0]
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GatewayError)]
    assert set(re.findall(r"`(\w+)`", told)) == {kind.__name__ for kind in kinds} <= set(ossa.client.__all__)
    (codes,) = re.findall(r"`Invalid` \(([\d, ]+)\)", told)
    assert {type(refusal(int(code), ProblemDocument())) for code in codes.split(", ")} == {Invalid}
