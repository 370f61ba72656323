"""A creator of pods, and an API server that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from controllers.creation import PodCreator
from controllers.transfers import Transfers
from ossa.api.agent import AgentSpec
from ossa.api.artifact import JSON_MEDIA_TYPE
from ossa.api.contract import TaskIdentity
from ossa.api.workflow import WorkflowSpec
from ossa.engine.decision import LargeField, PodRequest
from ossa.engine.names import pod_name
from ossa.engine.revision import AgentSnapshot, CompiledRevision, Revision, compile_revision
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.kube.podstore import PodStore
from ossa.store.client import ArtifactClient
from tests.unit.controllers.lives import SETTINGS

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
        self.server = server
        self.store = store
        self.woken = asyncio.Event()
        self.creator = PodCreator(api, SETTINGS, store, Transfers(artifacts, lambda _: self.woken.set()), epoch=7)
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
