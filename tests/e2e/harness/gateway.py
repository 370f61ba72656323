"""The gateway as a client has it: users that sign in, requests, and the events of an execution over a WebSocket."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from ossa.api.gateway import EVENTS, IDEMPOTENCY_KEY, ORCHESTRATE, SIGN_IN
from ossa.bus.frames import SUBPROTOCOL
from ossa.gateway.identity import PREFIX
from tests.e2e.harness.namespace import Namespace
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.rights import grant
from tests.e2e.harness.services import secret

ADMIN, ADMIN_SECRET = "admin", "ossa-gateway-admin"
USERS = "/api/v1/users"
TIMEOUT = 30.0  # seconds an answer may take where pods are killed meanwhile


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who has signed in. `name` is without the prefix that the cluster knows them by."""

    name: str
    url: str  # of the gateway
    token: str = field(repr=False)

    @property
    def identity(self) -> str:
        """What the cluster knows them by."""
        return f"{PREFIX}{self.name}"

    @property
    def headers(self) -> Mapping[str, str]:
        """What makes a request theirs."""
        return {"Authorization": f"Bearer {self.token}"}

    async def request(
        self, method: str, path: str, body: JSONObject | None = None, *, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """One request, on a connection of its own: whichever replica is ready answers."""
        async with httpx.AsyncClient(base_url=self.url, timeout=TIMEOUT) as client:
            return await client.request(method, path, json=body, headers={**self.headers, **(headers or {})})

    async def orchestrate(self, body: JSONObject, *, key: str | None = None) -> httpx.Response:
        """POST /orchestrate, as one that may be repeated."""
        return await self.request("POST", ORCHESTRATE, body, headers={IDEMPOTENCY_KEY: key or secrets.token_hex(16)})

    @asynccontextmanager
    async def events(self, namespace: str, *, after: str | None = None) -> AsyncIterator[AsyncIterator[JSONObject]]:
        """The frames of a WebSocket, as they come; the first one, `hello`, has come when the block begins."""
        query = httpx.QueryParams({"namespace": namespace, **({"after": after} if after else {})})
        url = f"ws{self.url.removeprefix('http')}{EVENTS}?{query}"
        async with connect(url, additional_headers=self.headers, subprotocols=[Subprotocol(SUBPROTOCOL)]) as socket:
            hello = json.loads(await socket.recv())
            assert hello["type"] == "hello", hello

            async def frames() -> AsyncIterator[JSONObject]:
                async for text in socket:
                    yield json.loads(text)

            yield frames()


@dataclass(frozen=True, slots=True)
class Account:
    """A local user, who may do nothing yet."""

    name: str
    password: str = field(repr=False)


def make_accounts(url: str, count: int) -> list[Account]:
    """New ones, made by the first user of the installation."""
    admin = sign_in(url, Account(ADMIN, secret(ADMIN_SECRET)["password"]))
    made = [Account(f"e2e-{secrets.token_hex(6)}", secrets.token_urlsafe(24)) for _ in range(count)]
    for account in made:
        body = {"name": account.name, "password": account.password, "groups": []}
        answer = httpx.post(f"{url}{USERS}", json=body, headers=admin.headers, timeout=TIMEOUT)
        assert answer.status_code == httpx.codes.CREATED, answer.text
    return made


def sign_in(url: str, account: Account) -> User:
    """A fresh session: access tokens last for minutes. Waits where too many signed in before."""
    body = {"name": account.name, "password": account.password}
    answer = httpx.post(f"{url}{SIGN_IN}", json=body, timeout=TIMEOUT)
    while answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        time.sleep(float(answer.headers["Retry-After"]))
        answer = httpx.post(f"{url}{SIGN_IN}", json=body, timeout=TIMEOUT)
    assert answer.status_code == httpx.codes.OK, answer.text
    return User(account.name, url, str(answer.json()["access_token"]))


async def allow(namespace: Namespace, user: User, role: str = "ossa-edit") -> None:
    """Binds a ClusterRole to the user in the namespace."""
    await grant(namespace, role, user=user.identity)


async def until_finished(frames: AsyncIterator[JSONObject], execution: str) -> list[JSONObject]:
    """The events of an execution up to its end; what a snapshot tells of it counts as one event of its phase."""
    seen: list[JSONObject] = []
    async for frame in frames:
        seen += [event for event in events_in(frame) if event["execution"] == execution]
        if any(event["type"] == "execution" and event["phase"] in ("Completed", "Failed") for event in seen):
            return seen
    raise AssertionError(f"the socket was closed before {execution} ended; seen: {seen}")


def events_in(frame: JSONObject) -> list[dict[str, Any]]:
    """What a frame tells of executions and tasks."""
    if frame["type"] == "event":
        return [frame["event"]]
    if frame["type"] != "snapshot":
        return []
    standing = [item["execution"] for item in frame["executions"]]
    return [{"type": "execution", "execution": item["name"], "phase": item["phase"]} for item in standing]
