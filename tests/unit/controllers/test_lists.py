"""A forEach over a list in the artifact service: read by the real client from the real service."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from controllers.background import PATIENCE
from controllers.values import KEPT, JsonList, Values, parsed
from ossa.api.artifact import ArtifactRef
from ossa.api.contract import API_VERSION
from ossa.kube.client import ApiClient
from ossa.kube.pods import identity_of
from ossa.store.client import ArtifactClient
from ossa.store.errors import Unavailable
from ossa.store.signing import Signer
from tests.unit.controllers.apiserver import succeeded
from tests.unit.controllers.lives import EXECUTIONS, PODS, Cluster, life
from tests.unit.store.running import KEY, NAMESPACE, Running, running
from tests.unit.waiting import until

COUNT = 40
TASKS: list[dict[str, Any]] = [
    {"name": "make", "agent": "worker"},
    {
        "name": "each",
        "agent": "worker",
        "forEach": {"items": "${{ tasks.make.output.list }}", "parallelism": 10},
        "input": {"item": "${{ item }}"},
    },
]


class Kubelet(Cluster):
    """The task `make` uploads a list, when it is told to; items end at once."""

    def __init__(self) -> None:
        super().__init__(TASKS)
        self.making: dict[str, Any] | None = None
        self.given: list[Any] = []

    def _run(self, collection: str, item: dict[str, Any]) -> None:
        identity = identity_of(item)
        if collection != PODS or identity is None:
            return
        if identity.task == "make":
            self.making = item
        else:
            self.given.append(json.loads(item["metadata"]["annotations"]["ossa.dev/input"])["item"])
            self.end(item, {})

    def end(self, item: dict[str, Any], output: dict[str, Any]) -> None:
        self.put(PODS, succeeded(item, output))

    async def make(self, service: Running, content: bytes) -> None:
        """The pod of `make` uploads the content, and ends."""
        await until(lambda: self.making is not None)
        assert self.making is not None
        self.end(self.making, {"list": await uploaded(service, self.making, content), "run": "done"})


def token_of(service: Running, pod: dict[str, Any]) -> dict[str, str]:
    """Headers with the token of a pod, which the artifact service knows from now on."""
    identity, metadata = identity_of(pod), pod["metadata"]
    assert identity is not None
    token = service.cluster.add_pod(
        metadata["uid"].removeprefix("uid-"),
        execution_uid=identity.uid,
        lineage=identity.lineage,
        task_input=json.loads(metadata["annotations"]["ossa.dev/input"]),
    )
    return {"Authorization": f"Bearer {token}"}


async def uploaded(service: Running, pod: dict[str, Any], content: bytes) -> dict[str, Any]:
    """The reference to what a pod stores."""
    headers = {**token_of(service, pod), "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as http,
        http.put(f"{service.url}/v1/artifacts", data=content, headers=headers) as answer,
    ):
        found: dict[str, Any] = await answer.json()
        return found


@asynccontextmanager
async def world(tmp_path: Path) -> AsyncIterator[tuple[Kubelet, Any, Running]]:
    cluster = Kubelet()
    async with running(tmp_path / "data") as service, cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        yield cluster, config, service


ITEMS = [{"number": number, "text": "x" * 100} for number in range(COUNT)]


@pytest.mark.parametrize("at", [None, 4, 20, 43], ids=str)
async def test_each_item_is_given_once_whenever_the_reconciler_dies(
    at: int | None, tmp_path: Path, token: Path
) -> None:
    async with world(tmp_path) as (cluster, config, service):
        if at is not None:
            async with life(config, service.url, token, at=at, after=True) as mortal:
                await cluster.make(service, json.dumps(ITEMS).encode())
                await until(mortal.dead.is_set)
        async with life(config, service.url, token):
            if at is None:
                await cluster.make(service, json.dumps(ITEMS).encode())
            await until(lambda: cluster.status().phase == "Completed")
        assert sorted(item["number"] for item in cluster.given) == list(range(COUNT))
        assert all(item in ITEMS for item in cluster.given)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a": 1}', "forEach.items: the artifact is JSON, and no list"),
        (b"hello", "forEach.items: the artifact is no JSON that can be kept: "),
        (b"[1e999]", "inf is not a JSON number"),
        (b"[" + b"1," * 10_000 + b"1]", "has 10001 items; at most 10000 are taken"),
    ],
    ids=["object", "text", "infinite", "many"],
)
async def test_what_is_no_list_fails_the_task(content: bytes, why: str, tmp_path: Path, token: Path) -> None:
    async with world(tmp_path) as (cluster, config, service), life(config, service.url, token):
        await cluster.make(service, content)
        await until(lambda: cluster.status().phase == "Failed")
        task = cluster.status().tasks["each"]
        assert task.reason == "InvalidInput"
        assert why in (task.message or "")


async def test_while_the_service_is_away_it_waits_and_others_go_on(tmp_path: Path, token: Path) -> None:
    async with world(tmp_path) as (cluster, config, service):
        async with life(config, "http://127.0.0.1:9", token):
            await cluster.make(service, json.dumps(ITEMS).encode())
            await until(lambda: "cannot be read yet" in (cluster.status().tasks["each"].message or ""))
            first, cluster.making = cluster.making, None
            kind = {"apiVersion": API_VERSION, "kind": "Execution", "spec": {"workflow": "flow"}}
            cluster.create(EXECUTIONS, {**kind, "metadata": {"namespace": "lab", "name": "other"}})
            await until(lambda: cluster.making is not None)
            assert cluster.making is not first
            assert (cluster.status().phase, cluster.given) == ("Running", [])
        async with life(config, service.url, token):
            await until(lambda: cluster.status().phase == "Completed")


class Slow(ArtifactClient):
    """Reads what it is told to, when it is told to."""

    def __init__(self, read: Callable[[ArtifactRef], Awaitable[bytes]]) -> None:
        super().__init__("http://127.0.0.1:9", Path("token"))
        self._read = read
        self.asked: list[str] = []

    async def get(self, namespace: str, uid: str, ref: ArtifactRef, *, max_size: int) -> bytes:  # noqa: ARG002
        self.asked.append(ref.id)
        return await self._read(ref)


def ref(name: str = "a", size: int = 3) -> ArtifactRef:
    return ArtifactRef(id=name, size=size, sha256="0" * 64)


async def test_a_slow_one_is_waited_for_a_moment_and_told_when_it_is_there() -> None:
    answer, woken = asyncio.Event(), asyncio.Event()

    async def read(_: ArtifactRef) -> bytes:
        await answer.wait()
        return b"[1]"

    client = Slow(read)
    values = Values(client, Signer(KEY), lambda _: woken.set())
    began = time.monotonic()
    for _ in range(3):
        found = await values.read(NAMESPACE, ["u"], [ref()])
        assert "takes long" in (found["a"].waits or "")
    assert PATIENCE <= time.monotonic() - began < 2 * PATIENCE
    assert (values.of("u"), client.asked, woken.is_set()) == ({}, ["a"], False)
    answer.set()
    await asyncio.wait_for(woken.wait(), 5)
    assert list(values.of("u")["a"].items) == [1]
    values.forget("u")
    assert values.of("u") == {}


async def test_one_that_could_not_be_read_is_left_alone_for_a_while() -> None:
    async def read(_: ArtifactRef) -> bytes:
        raise Unavailable("away")

    values = Values(Slow(read), Signer(KEY), lambda _: None)
    assert (await values.read(NAMESPACE, ["u"], [ref()]))["a"].waits == "away"
    assert values.of("u")["a"].waits == "away"


async def test_an_execution_that_goes_meanwhile_ends_the_turn_in_order() -> None:
    begun = asyncio.Event()

    async def read(_: ArtifactRef) -> bytes:
        begun.set()
        await asyncio.sleep(60)
        return b""

    values = Values(Slow(read), Signer(KEY), lambda _: None)
    turn = asyncio.create_task(values.read(NAMESPACE, ["u"], [ref()]))
    await begun.wait()
    values.forget("u")
    assert (await turn)["a"].waits is not None
    assert values.of("u") == {}


async def test_those_that_were_not_looked_at_for_longest_make_room() -> None:
    async def read(held: ArtifactRef) -> bytes:
        return f'["{held.id}"]'.encode()

    client = Slow(read)
    values = Values(client, Signer(KEY), lambda _: None)
    for name in ("a", "b", "c"):
        await values.read(NAMESPACE, [name], [ref(name, KEPT // 3)])
    values.of("a")
    await values.read(NAMESPACE, ["d"], [ref("d", KEPT // 3)])
    assert {name for name in "abcd" if values.of(name)} == {"a", "c", "d"}
    assert (await values.read(NAMESPACE, ["b"], [ref("b", KEPT // 3)]))["b"].items[0] == "b"
    assert client.asked == ["a", "b", "c", "d", "b"]


def test_items_are_as_they_would_be_in_a_status() -> None:
    items = parsed(b'[2.0, 0.5, 123456789012345678901, "\\u00fc", {"a": [null, true]}]', live=False).items
    assert isinstance(items, JsonList)
    assert list(items) == [2, 0.5, 1.2345678901234568e20, "ü", {"a": [None, True]}]
    assert (items[1], items[-1], items[1:3]) == (0.5, {"a": [None, True]}, [0.5, 1.2345678901234568e20])
