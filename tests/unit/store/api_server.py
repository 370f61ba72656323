"""The few calls of an API server that the artifact service makes, on a local port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from ossa.api.base import JSONObject
from tests.unit.store.running import Cluster


@dataclass
class ApiServer:
    """Answers from `cluster`; keeps what it was asked in `asked`."""

    cluster: Cluster
    url: str = ""
    asked: list[tuple[str, JSONObject]] = field(default_factory=list)
    failing: bool = False
    audiences: tuple[str, ...] = ("ossa-artifacts",)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._review)
        app.router.add_post("/apis/authorization.k8s.io/v1/subjectaccessreviews", self._access)
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{name}", self._pod)
        app.router.add_get("/apis/ossa.dev/v1alpha1/namespaces/{namespace}/executions", self._executions)
        return app

    async def _body(self, request: web.Request) -> JSONObject:
        body: JSONObject = await request.json() if request.can_read_body else dict(request.query)
        self.asked.append((request.path, body))
        if self.failing:
            raise web.HTTPServiceUnavailable(text="not now")
        return body

    async def _review(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        caller = await self.cluster.review(body["spec"]["token"])
        if caller is None:
            return web.json_response({"status": {"error": "unknown"}}, status=201)
        extra = {}
        if caller.pod_uid:
            extra = {
                "authentication.kubernetes.io/pod-name": [caller.pod_name],
                "authentication.kubernetes.io/pod-uid": [caller.pod_uid],
            }
        user = {"username": caller.username, "uid": "u-1", "groups": ["g"], "extra": extra}
        status = {"authenticated": True, "user": user, "audiences": list(self.audiences)}
        return web.json_response({"status": status}, status=201)

    async def _access(self, request: web.Request) -> web.Response:
        spec = (await self._body(request))["spec"]
        asked = spec["resourceAttributes"]
        allowed = self.cluster.allows(spec["user"], asked["verb"], asked["namespace"])
        return web.json_response({"status": {"allowed": allowed}}, status=201)

    async def _pod(self, request: web.Request) -> web.Response:
        await self._body(request)
        pod = await self.cluster.pod(request.match_info["namespace"], request.match_info["name"])
        return web.json_response(pod) if pod else _failure(404)

    async def _executions(self, request: web.Request) -> web.Response:
        """One execution a page."""
        query = await self._body(request)
        uids = sorted(self.cluster.executions.get(request.match_info["namespace"], frozenset()))
        start = int(query.get("continue", "0"))
        more = {"continue": str(start + 1)} if start + 1 < len(uids) else {}
        items = [{"metadata": {"uid": uid}} for uid in uids[start : start + 1]]
        return web.json_response({"metadata": more, "items": items})


def _failure(code: int) -> web.Response:
    status = {"kind": "Status", "reason": "Failed", "message": "no", "code": code}
    return web.json_response(status, status=code)


@asynccontextmanager
async def api_server(cluster: Cluster) -> AsyncIterator[ApiServer]:
    """Until the block ends."""
    server = ApiServer(cluster)
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
