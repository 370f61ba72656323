"""A terminal for tests: `ossa` in a process of its own, and an API server of ours that it speaks to."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

REPO = Path(__file__).resolve().parents[3]
OSSA = "/apis/ossa.dev/v1alpha1"
PLOT = b"\x89PNG and so on"
REFERENCE = {
    "$artifact": "abc",
    "size": len(PLOT),
    "sha256": hashlib.sha256(PLOT).hexdigest(),
    "mediaType": "image/png",
}


def execution(version: int, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "ossa.dev/v1alpha1",
        "kind": "Execution",
        "metadata": {"name": "x1", "namespace": "default", "uid": "u1", "resourceVersion": str(version)},
        "spec": {"workflow": "w"},
        "status": status,
    }


RUNNING = execution(1, phase="Running", progress="0/1", tasks={"t": {"phase": "Running", "attempt": 1, "pod": "p"}})
RUNNING_STILL = {**RUNNING, "metadata": {**RUNNING["metadata"], "resourceVersion": "7"}}
COMPLETED = execution(
    2,
    phase="Completed",
    progress="1/1",
    duration="3s",
    outputs={"report": {"plot": REFERENCE}},
    tasks={"t": {"phase": "Completed", "attempt": 1, "pod": "p"}},
)
FAILED = execution(
    2,
    phase="Failed",
    progress="0/1",
    tasks={"t": {"phase": "Failed", "attempt": 1, "pod": "p", "reason": "Error", "message": "exit code 1"}},
    error={"task": "t", "attempt": 1, "reason": "Error", "exitCode": 1, "message": "see its log", "logTail": "boom"},
    conditions=[{"type": "Finished", "status": "True", "reason": "Failed"}],
)
WORKFLOW = {
    "metadata": {"name": "w", "namespace": "default"},
    "spec": {"tasks": [{"name": "t"}], "inputs": {"properties": {"n": {"type": "string"}}}},
}
Event = tuple[str, dict[str, Any]]


@dataclass
class Cluster:
    """What the API server has, and what it was asked for."""

    executions: dict[str, dict[str, Any]] = field(default_factory=lambda: {"x1": deepcopy(RUNNING)})
    watches: list[list[Event]] = field(default_factory=list)  # one list of events for each watch; then none ends
    content: bytes = PLOT
    contents: dict[str, bytes] = field(default_factory=dict)  # of other artifacts, by ID
    posted: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    watched_from: list[str] = field(default_factory=list)
    watching: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(f"{OSSA}/namespaces/default/executions/{{name}}", self.get)
        app.router.add_get(f"{OSSA}/namespaces/default/executions", self.watch)
        app.router.add_post(f"{OSSA}/namespaces/default/executions", self.create)
        app.router.add_get(f"{OSSA}/executions", self.list)
        app.router.add_get(f"{OSSA}/namespaces/default/workflows/w", self.workflow)
        app.router.add_post("/api/v1/namespaces/default/serviceaccounts/report-reader/token", self.token)
        proxied = "/api/v1/namespaces/ossa-system/services/http:ossa-artifacts:8080/proxy"
        app.router.add_get(f"{proxied}/v1/namespaces/default/executions/u1/artifacts/{{id}}", self.artifact)
        return app

    async def get(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.executions:
            said = {"kind": "Status", "reason": "NotFound", "message": f'executions.ossa.dev "{name}" not found'}
            return web.json_response(said, status=404)
        return web.json_response(self.executions[name])

    async def list(self, _: web.Request) -> web.Response:
        return web.json_response({"items": list(self.executions.values())})

    async def workflow(self, _: web.Request) -> web.Response:
        return web.json_response(WORKFLOW)

    async def create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.posted.append(body)
        name = body["metadata"].get("name") or "x1"
        made = {**deepcopy(self.executions["x1"]), "spec": body["spec"]}
        made["metadata"]["name"] = name
        self.executions[name] = made
        return web.json_response(made, status=201)

    async def watch(self, request: web.Request) -> web.StreamResponse:
        self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        self.watching.set()
        if not self.watches:
            await asyncio.sleep(60)
        for kind, found in self.watches.pop(0):
            self.executions["x1"] = found if kind == "MODIFIED" else self.executions["x1"]
            await response.write(json.dumps({"type": kind, "object": found}).encode() + b"\n")
        return response

    async def token(self, request: web.Request) -> web.Response:
        self.posted.append(await request.json())
        return web.json_response({"status": {"token": "a-token"}}, status=201)

    async def artifact(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("X-Ossa-Token"))
        if self.content == b"refused":
            problem = {"title": "Forbidden", "detail": "report-reader may not read it"}
            return web.json_response(problem, status=403, content_type="application/problem+json")
        return web.Response(body=self.contents.get(request.match_info["id"], self.content), content_type="image/png")


@dataclass(frozen=True, slots=True)
class Ended:
    code: int | None
    out: str
    err: str


class Terminal:
    """Types commands, and has the API server that they speak to."""

    server: TestServer

    def __init__(self, kubeconfig: Path, cluster: Cluster) -> None:
        self.cluster = cluster
        self.env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), "KUBECONFIG": str(kubeconfig)}

    async def start(self, port: int = 0) -> None:
        self.server = TestServer(self.cluster.app(), port=port)
        await self.server.start_server(shutdown_timeout=0.1)

    async def restart(self, *, away: float) -> None:
        """The API server dies, and comes back after so many seconds."""
        port = self.server.port
        await self.server.close()
        await asyncio.sleep(away)
        await self.start(int(port or 0))

    async def ossa(self, *arguments: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ossa.cli", *arguments),
            env=self.env,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert "Traceback" not in err.decode(), err.decode()
        return Ended(process.returncode, out.decode(), err.decode())


def kubeconfig(server: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "default"}}],
            "current-context": "here",
        }
    )
