"""The process ossa-gateway as it is installed, with an API server of tests in which everybody may do everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from ossa.gateway.signin.agents import TOKEN_REVIEWS
from ossa.gateway.signin.tokens import AUDIENCE
from tests.bench.gateway.running import Gateway, serving_with
from tests.unit.gateway.lab import Cluster
from tests.unit.gateway.test_process import kubeconfig

# One test stands for many clients.
UNLIMITED = {
    f"OSSA_GATEWAY_{name}_{kind}": "1000000"
    for name in ("USER", "ADDRESS", "LOGIN_ADDRESS", "LOGIN_ACCOUNT")
    for kind in ("RATE", "BURST")
}


class Permissive(Cluster):
    """Lets everybody do everything, and knows tokens of agents. While `answering` is not set it says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = lambda _, __: True
        self.agents: set[str] = set()  # their tokens
        self.answering = asyncio.Event()
        self.answering.set()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await self.answering.wait()
        return await super()._answer(request)

    def _post(self, path: str, item: dict[str, Any]) -> web.Response:
        if path == TOKEN_REVIEWS:
            user = {"username": "system:serviceaccount:lab:worker", "groups": []}
            known = {"authenticated": True, "audiences": [AUDIENCE], "user": user}
            status = known if item["spec"]["token"] in self.agents else {"error": "unknown"}
            return web.json_response({"status": status}, status=201)
        return super()._post(path, item)


@dataclass(frozen=True, slots=True)
class Installed:
    """The process, its API server, and where its log is."""

    gateway: Gateway
    cluster: Permissive
    log: Path

    @property
    def authorization(self) -> dict[str, str]:
        """The header of its first user."""
        return {"Authorization": f"Bearer {self.gateway.token}"}


@asynccontextmanager
async def installed(folder: Path, *, records: str, bus: str, **more: str) -> AsyncIterator[Installed]:
    """Runs with these servers until the block ends. more: variables of its environment."""
    cluster = Permissive()
    async with cluster.served() as config:
        path = kubeconfig(folder, config.server)
        async with serving_with(folder, records, bus, **{"KUBECONFIG": str(path), **more}) as gateway:
            yield Installed(gateway, cluster, folder / "log")
