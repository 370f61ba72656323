"""Creating pods once each, whatever the API server answers: against a server that answers as it is told."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controllers.background import PATIENCE
from controllers.creation import EPOCH_POLICY, PodCreator
from controllers.settings import Settings
from controllers.transfers import KEPT, Transfers
from ossa.api.agent import AgentSpec
from ossa.api.artifact import JSON_MEDIA_TYPE, ArtifactRef
from ossa.api.contract import TaskIdentity
from ossa.api.workflow import WorkflowSpec
from ossa.engine.decision import LargeField, PodRequest
from ossa.engine.names import pod_name
from ossa.engine.revision import AgentSnapshot, CompiledRevision, Revision, compile_revision
from ossa.kube.client import ApiClient, ApiError, Conflict
from ossa.kube.config import KubeConfig
from ossa.kube.podstore import PodStore
from ossa.store.access import OPERATOR
from ossa.store.client import ArtifactClient
from ossa.store.signing import Signer
from tests.unit.store.running import KEY, running

RUN = "uid-run"
Answer = Callable[[web.Request, dict[str, Any]], Awaitable[web.Response]]


class Server:
    """The pods of one namespace, and how the next POSTs are answered besides."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.posts: list[str] = []
        self.version = 100
        self.next: list[Answer] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/api/v1/namespaces/lab/pods", self._post)
        app.router.add_get("/api/v1/namespaces/lab/pods/{name}", self._get)
        return app

    def store(self, pod: dict[str, Any]) -> dict[str, Any]:
        """The pod as the API server keeps it."""
        self.version += 1
        metadata = {
            **pod["metadata"],
            "uid": f"uid-{self.version}",
            "resourceVersion": str(self.version),
            "creationTimestamp": "2026-01-01T12:00:00Z",
        }
        held = self.pods[metadata["name"]] = {**pod, "metadata": metadata, "status": {"phase": "Pending"}}
        return held

    async def _post(self, request: web.Request) -> web.Response:
        pod = await request.json()
        self.posts.append(pod["metadata"]["name"])
        if self.next:
            return await self.next.pop(0)(request, pod)
        if pod["metadata"]["name"] in self.pods:
            return refusal(409, "AlreadyExists", "there already")
        return web.json_response(self.store(pod), status=201)

    async def _get(self, request: web.Request) -> web.Response:
        pod = self.pods.get(request.match_info["name"])
        return web.json_response(pod) if pod is not None else refusal(404, "NotFound", "not found")

    async def made_without_an_answer(self, request: web.Request, pod: dict[str, Any]) -> web.Response:
        """The connection breaks after the pod was made."""
        self.store(pod)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()


def refusal(code: int, reason: str, message: str) -> web.Response:
    """A Status object, as the API server answers."""
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code)


def answers(code: int, reason: str, message: str) -> Answer:
    async def answer(_: web.Request, __: dict[str, Any]) -> web.Response:
        return refusal(code, reason, message)

    return answer


class World:
    """A creator with its store of pods, and the server."""

    def __init__(self, api: ApiClient, server: Server, store: PodStore, artifacts: ArtifactClient) -> None:
        settings = Settings(
            worker_image="worker:1",
            artifacts_url="http://artifacts",
            artifacts_key=b"k" * 32,
            agents_path=Path("agents"),
            namespace="ossa-system",
            artifacts_token=Path("token"),
            artifacts_operator_url="http://artifacts",
        )
        self.server = server
        self.store = store
        self.woken = asyncio.Event()
        self.creator = PodCreator(api, settings, store, Transfers(artifacts, lambda _: self.woken.set()), epoch=7)
        self.revision = revision()

    def want(self, attempt: int = 1, **large: bytes) -> str:
        identity = TaskIdentity(namespace="lab", execution="run", uid=RUN, workflow="flow", task="a", attempt=attempt)
        name = pod_name(identity)
        request = PodRequest(
            name=name,
            task="a",
            attempt=attempt,
            input={"x": 1},
            identity=identity,
            large={field: LargeField(body, JSON_MEDIA_TYPE) for field, body in large.items()},
        )
        self.creator.want(RUN, [request])
        return name

    def input_of(self, name: str) -> dict[str, Any]:
        """What the pod was given."""
        found: dict[str, Any] = json.loads(self.server.pods[name]["metadata"]["annotations"]["ossa.dev/input"])
        return found

    async def create(self) -> None:
        await self.creator.create(RUN, self.revision)

    def tell(self, kind: str, name: str) -> None:
        """The watch tells of a pod."""
        self.store.changed(kind, json.loads(json.dumps(self.server.pods[name])))

    def in_flight(self) -> set[str]:
        return set(self.store.in_flight(RUN))


def revision() -> CompiledRevision:
    spec = AgentSpec.model_validate({"capabilities": [{"name": "work"}], "runtime": {"handler": "work:run"}})
    agent = AgentSnapshot(name="worker", uid="u", generation=1, image="worker:1", spec=spec)
    tasks = WorkflowSpec.model_validate({"tasks": [{"name": "a", "agent": "worker"}]})
    return compile_revision(Revision(workflow="flow", version="1", spec=tasks, agents={"worker": agent}))


@asynccontextmanager
async def served(artifacts: ArtifactClient) -> AsyncIterator[World]:
    """A world whose API server answers until the block ends."""
    server = Server()
    runner = web.AppRunner(server.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    config = KubeConfig(server=f"http://{host}:{port}", token=lambda: "token", namespace="lab")
    try:
        async with ApiClient(config) as api, artifacts:
            store = PodStore(lambda _: None)
            store.replaced([], 1)
            yield World(api, server, store, artifacts)
    finally:
        await runner.cleanup()


@pytest.fixture
async def world(token: Path) -> AsyncIterator[World]:
    async with served(ArtifactClient("http://127.0.0.1:9", token)) as made:
        yield made


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


async def test_what_is_too_large_is_stored_before_the_pod_is_made(tmp_path: Path, token: Path) -> None:
    async with running(tmp_path / "data") as service, served(ArtifactClient(service.url, token)) as world:
        name = world.want(rows=b"[1, 2, 3]", more=b"[4]")
        await world.create()
        given = world.input_of(name)
        assert (set(given), given["x"]) == ({"x", "rows", "more"}, 1)
        ref = ArtifactRef.model_validate(given["rows"])
        assert Signer(KEY).verify(ref, namespace="lab", execution_uid=RUN, pod_uid=OPERATOR)
        assert ref.describes(b"[1, 2, 3]")
        assert len(service.objects()) == 4


async def test_asked_for_again_the_pod_has_the_same_input(tmp_path: Path, token: Path) -> None:
    async with running(tmp_path / "data") as service, served(ArtifactClient(service.url, token)) as world:
        name = world.want(rows=b"[1]")
        given = list[str]()

        async def fails(_: web.Request, pod: dict[str, Any]) -> web.Response:
            given.append(pod["metadata"]["annotations"]["ossa.dev/input"])
            return refusal(500, "InternalError", "etcd is away")

        world.server.next = [fails]
        with pytest.raises(ApiError):
            await world.create()
        await world.create()
        assert json.loads(given[0]) == world.input_of(name)
        assert len(service.objects()) == 2


async def test_many_pods_that_are_given_the_same_value_share_it(tmp_path: Path, token: Path) -> None:
    async with running(tmp_path / "data") as service, served(ArtifactClient(service.url, token)) as world:
        names = [world.want(attempt, rows=b"[1]") for attempt in range(1, 21)]
        await world.create()
        names.append(world.want(21, rows=b"[1]"))
        await world.create()
        assert len({json.dumps(world.input_of(name)) for name in names}) == 1
        assert len(service.objects()) == 2
        world.creator.forget(RUN)
        world.want(22, rows=b"[1]")
        await world.create()
        assert len(service.objects()) == 4
        for attempt in range(100, 101 + KEPT):
            world.want(attempt, rows=str(attempt).encode())
        async with asyncio.timeout(30):
            while len(service.objects()) < 4 + 2 * (KEPT + 1):
                await world.create()  # what takes long is asked for again
        await world.create()
        world.want(1000, rows=b"[1]")
        await world.create()
        assert len(service.objects()) == 4 + 2 * (KEPT + 1) + 2


async def test_while_the_artifact_service_is_away_the_pod_waits_and_others_do_not(tmp_path: Path, token: Path) -> None:
    async with running(tmp_path / "data") as service:
        port = service.port
    async with served(ArtifactClient(f"http://127.0.0.1:{port}", token)) as world:
        waits, goes = world.want(1, rows=b"[1]"), world.want(2)
        await world.create()
        assert set(world.server.pods) == {goes}
        assert "has to be stored first: the artifact service at" in world.creator.held(RUN)[waits]
        assert world.creator.pending() == ["ArtifactService"]
        assert world.in_flight() == {waits, goes}
        assert world.creator.pause(RUN) > 0
        async with running(tmp_path / "data", port=port):
            await world.create()
        assert set(world.server.pods) == {waits, goes}
        assert world.creator.held(RUN) == {}


async def test_a_slow_artifact_service_holds_up_the_pod_alone(token: Path) -> None:
    """The upload goes on meanwhile, and its end is told."""
    answer, asked = asyncio.Event(), list[bytes]()
    ref = {"$artifact": "A" * 43, "size": 3, "sha256": hashlib.sha256(b"[1]").hexdigest()}

    async def slow(request: web.Request) -> web.Response:
        asked.append(await request.read())
        await answer.wait()
        return web.json_response(ref, status=201)

    app = web.Application()
    app.router.add_put("/v1/namespaces/lab/executions/{uid}/artifacts", slow)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with served(ArtifactClient(f"http://127.0.0.1:{runner.addresses[0][1]}", token)) as world:
            name = world.want(rows=b"[1]")
            for _ in range(2):
                async with asyncio.timeout(2 * PATIENCE + 1):
                    await world.create()
                assert "takes long" in world.creator.held(RUN)[name]
            assert (asked, world.woken.is_set()) == ([b"[1]"], False)
            answer.set()
            await asyncio.wait_for(world.woken.wait(), 5)
            await world.create()
            assert world.input_of(name)["rows"]["$artifact"] == ref["$artifact"]
            assert len(asked) == 1
    finally:
        await runner.cleanup()
