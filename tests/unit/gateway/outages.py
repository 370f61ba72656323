"""Requests of all kinds to the process ossa-gateway, sent at once while something that it works with is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
import httpx
import jwt

from ossa.api.base import JSONObject
from ossa.api.gateway import AUDIT_EVENTS, EVENTS, IDEMPOTENCY_KEY, REFRESH, SIGN_IN, WHO_AM_I
from ossa.bus.frames import SUBPROTOCOL
from ossa.store.records.pool import Records
from ossa.store.records.write import Write, write
from tests.unit.gateway.installed import Installed
from tests.unit.gateway.lab import EXECUTIONS
from tests.unit.gateway.rest.resources import APPROVALS, approval, execution

NAMESPACE = "/api/v1/namespaces/lab"
UNSEEN = "/api/v1/namespaces/unseen"  # where nobody was seen to be allowed anything
GONE = "gone"  # an Execution that is in the records alone
USER = "ossa:admin"
# What each outage has one of, to change it.
CHANGED = ("pause", "resume", "cancel", "approve")
REQUEST_SECONDS = 60.0
PASSWORD = "a password of theirs"
# As the cluster signs them, which alone can tell.
SEEN_AGENT, OTHER_AGENT = (jwt.encode({"sub": name}, "the cluster's own key, of which" * 2) for name in "ab")
OPENED = 101  # as a status: the WebSocket is open


@dataclass(frozen=True, slots=True)
class Probe:
    """One request; `path` may be a URL of its own, and `token` somebody else's. Method WS: a WebSocket."""

    method: str
    path: str
    body: JSONObject | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What came back, and after how many seconds."""

    status: int
    seconds: float
    body: Any


@dataclass
class Stage:
    """A process, the things that requests are about, and a client."""

    held: Installed
    client: httpx.AsyncClient
    records_url: str
    metrics_url: str
    accepted: list[JSONObject] = field(default_factory=list)
    # Of users of their own, by outage: what a sign-in gave.
    sessions: dict[str, JSONObject] = field(default_factory=dict)

    async def furnish(self, outages: Iterable[str]) -> None:
        """Makes what requests are about, for each outage, and has each right seen."""
        cluster = self.held.cluster
        cluster.agents |= {SEEN_AGENT, OTHER_AGENT}
        cluster.objects["/api/v1/namespaces/lab/pods/p1/log"] = {"line": 1}
        running = {"ingest": {"phase": "Running", "attempt": 1, "pod": "p1"}}
        made = [execution("x1", tasks=running), execution("ended", phase="Completed")]
        made.append(execution("failed", phase="Failed", revision="pipeline-1"))
        for outage in outages:
            for change in CHANGED:
                item = execution(f"{change}-{outage}")
                item["spec"]["suspend"] = change == "resume"
                made.append(item)
            waiting = approval(f"a-{outage}")
            waiting["metadata"]["labels"]["ossa.dev/execution"] = f"approve-{outage}"
            waiting["spec"].update(execution={"name": f"approve-{outage}", "uid": "u"}, approverUsers=[USER])
            cluster.create(APPROVALS.format("lab"), waiting)
            for user in (f"u-{outage}", f"p-{outage}"):
                await self._add_user(user)
        for item in made:
            cluster.create(EXECUTIONS.format("lab"), item)
        for kind, name in (("Agent", "rules"), ("Workflow", "pipeline")):
            metadata = {"name": name, "namespace": "lab"}
            item = {"apiVersion": "ossa.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {}}
            cluster.create(f"/apis/ossa.dev/v1alpha1/namespaces/lab/{kind.lower()}s", item)
        await self._record(execution("x1", tasks=running), execution(GONE, phase="Completed"))

    async def _add_user(self, name: str) -> None:
        answer = await self.client.post("/api/v1/users", json={"name": name, "password": PASSWORD, "groups": []})
        assert answer.status_code == httpx.codes.CREATED, answer.text
        answer = await self.client.post(SIGN_IN, json={"name": name, "password": PASSWORD})
        assert answer.status_code == httpx.codes.OK, answer.text
        self.sessions[name] = answer.json()

    async def _record(self, *items: dict[str, Any]) -> None:
        async with Records(self.records_url, application="test") as records, records.connection() as connection:
            for number, item in enumerate(items, start=1):
                uid = f"00000000-0000-0000-0000-{number:012d}"
                times = {"creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": str(number), "uid": uid}
                whole = {**item, "metadata": {**item["metadata"], **times}}
                await write(connection, [Write("executions", uid, number, None, whole)])

    def probe(self, name: str, outage: str) -> Probe:
        """The request of that name; what is changed is the outage's own."""
        if name in CHANGED:
            body = {"verdict": "Approved"} if name == "approve" else None
            return Probe("POST", f"{NAMESPACE}/executions/{name}-{outage}/{name}", body)
        run = {"namespace": "lab", "workflow": "pipeline"}
        own, theirs = self.sessions.get(f"u-{outage}", {}), self.sessions.get(f"p-{outage}", {})
        return {
            "orchestrate": Probe("POST", "/orchestrate", run),
            "orchestrate, not seen": Probe("POST", "/orchestrate", {**run, "namespace": "unseen"}),
            "retry": Probe("POST", f"{NAMESPACE}/executions/failed/retry"),
            "rerun": Probe("POST", f"{NAMESPACE}/executions/ended/rerun"),
            "person": Probe("GET", WHO_AM_I),
            "agent, seen": Probe("GET", WHO_AM_I, token=SEEN_AGENT),
            "agent, not seen": Probe("GET", WHO_AM_I, token=OTHER_AGENT),
            "sign-in": Probe("POST", SIGN_IN, {"name": f"u-{outage}", "password": PASSWORD}),
            "refresh": Probe("POST", REFRESH, {"refresh_token": own.get("refresh_token")}),
            "own sessions": Probe("GET", "/api/v1/auth/sessions"),
            "own password": Probe(
                "POST", "/api/v1/auth/password", {"old": PASSWORD, "new": PASSWORD[::-1]}, theirs.get("access_token")
            ),
            "users": Probe("GET", "/api/v1/users"),
            "audit events": Probe("POST", AUDIT_EVENTS, noted(outage)),
            "socket": Probe("WS", f"{EVENTS}?namespace=lab"),
            "list": Probe("GET", f"{NAMESPACE}/executions"),
            "list all": Probe("GET", "/api/v1/executions"),
            "list, not seen": Probe("GET", f"{UNSEEN}/executions"),
            "one": Probe("GET", f"{NAMESPACE}/executions/x1"),
            "its tasks": Probe("GET", f"{NAMESPACE}/executions/x1/tasks"),
            "one that is gone": Probe("GET", f"{NAMESPACE}/executions/{GONE}"),
            "one, not seen": Probe("GET", f"{UNSEEN}/executions/x1"),
            "logs": Probe("GET", f"{NAMESPACE}/executions/x1/logs"),
            "approvals": Probe("GET", f"{NAMESPACE}/executions/x1/approvals"),
            "agents": Probe("GET", f"{NAMESPACE}/agents"),
            "agent": Probe("GET", f"{NAMESPACE}/agents/rules"),
            "workflows": Probe("GET", "/api/v1/workflows"),
            "workflow": Probe("GET", f"{NAMESPACE}/workflows/pipeline"),
            "agents, not seen": Probe("GET", f"{UNSEEN}/agents"),
            "request": Probe("GET", f"/api/v1/requests/{self.accepted[0]['id'] if self.accepted else ''}"),
            "health": Probe("GET", "/healthz"),
            "readiness": Probe("GET", "/readyz"),
            "metrics": Probe("GET", self.metrics_url),
        }[name]

    async def ask(self, names: Iterable[str], outage: str) -> dict[str, Seen]:
        """All at once."""
        wanted = list(names)
        seen = await asyncio.gather(*(self._one(self.probe(name, outage)) for name in wanted))
        return dict(zip(wanted, seen, strict=True))

    async def _one(self, probe: Probe) -> Seen:
        began = time.monotonic()
        if probe.method == "WS":
            return Seen(await self._opened(probe.path), time.monotonic() - began, None)
        headers = {IDEMPOTENCY_KEY: f"{probe.path}-{began}"[-100:]} if probe.method == "POST" else {}
        if probe.token is not None:
            headers["Authorization"] = f"Bearer {probe.token}"
        answer = await self.client.request(probe.method, probe.path, json=probe.body, headers=headers)
        kind = answer.headers.get("content-type", "").partition(";")[0]
        body = answer.json() if kind.endswith("json") else answer.text
        if answer.status_code == httpx.codes.ACCEPTED and isinstance(body, dict):
            self.accepted.append(body)
        return Seen(answer.status_code, time.monotonic() - began, body)

    async def _opened(self, path: str) -> int:
        """101, or the code that it was closed with."""
        async with (
            aiohttp.ClientSession(self.held.gateway.url, headers=self.held.authorization) as session,
            session.ws_connect(path, protocols=[SUBPROTOCOL]) as socket,
        ):
            message = await socket.receive(timeout=REQUEST_SECONDS)
            return OPENED if message.type is aiohttp.WSMsgType.TEXT else int(socket.close_code or 0)

    async def until_well(self) -> None:
        """Until a request is carried out at once again, what became of it can be asked for, and Redis is believed."""
        async with asyncio.timeout(30):
            while True:
                seen = await self.ask(["orchestrate"], "")
                if seen["orchestrate"].status == 202 and seen["orchestrate"].body["state"] == "Created":
                    asked = await self.ask(["request", "list"], "")
                    if {one.status for one in asked.values()} == {200} and await asyncio.to_thread(self._redis_answers):
                        return
                await asyncio.sleep(0.2)

    def _redis_answers(self) -> bool:
        """Whether each use that was given up for a while goes on, as the log tells."""
        said = self.held.log.read_text()
        return said.count('"Redis does not answer"') == said.count('"Redis answers again"')

    async def closed(self) -> dict[str, str]:
        """States of all requests by id, as PostgreSQL has them, once none is open."""
        async with asyncio.timeout(60):
            while True:
                states = await self._states()
                if "open" not in states.values():
                    return states
                await asyncio.sleep(0.2)

    async def _states(self) -> dict[str, str]:
        connection = await asyncpg.connect(self.records_url)
        try:
            return {str(row["id"]): row["state"] for row in await connection.fetch("SELECT id, state FROM requests")}
        finally:
            await connection.close()


def noted(outage: str) -> JSONObject:
    """What the API server posts of its audit log: a refusal."""
    event = {
        "level": "Metadata",
        "auditID": f"audit-{outage}",
        "stage": "ResponseComplete",
        "requestURI": "/apis/ossa.dev/v1alpha1/namespaces/lab/executions",
        "verb": "create",
        "user": {"username": "eve", "groups": ["system:authenticated"]},
        "objectRef": {"resource": "executions", "namespace": "lab", "apiGroup": "ossa.dev"},
        "responseStatus": {"status": "Failure", "message": "no", "reason": "Forbidden", "code": 403},
        "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
        "stageTimestamp": "2026-01-01T00:00:00.100000Z",
    }
    return {"apiVersion": "audit.k8s.io/v1", "kind": "EventList", "items": [event]}
