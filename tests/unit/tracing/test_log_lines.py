"""Every line about an Execution says which, and its trace, whichever process says it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from starlette.types import Receive, Scope, Send

from ossa.api.trace import trace_of
from ossa.gateway.tracing import Traced
from ossa.kube.client import ApiClient
from ossa.logs import JSONLines
from tests.unit.controllers.apiserver import failure
from tests.unit.controllers.lives import PODS, Cluster, reconciler
from tests.unit.controllers.test_judges import until_failed
from tests.unit.store.running import EXECUTION_UID, RECONCILER, running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Lines:
    """What the process logs."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def of(self, message: str) -> list[dict[str, Any]]:
        """The lines whose message begins so."""
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in lines if line["message"].startswith(message)]


@pytest.fixture
def lines() -> Iterator[Lines]:
    made = Lines()
    handler = logging.StreamHandler(made.stream)
    handler.setFormatter(JSONLines())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield made
    root.removeHandler(handler)
    root.setLevel(level)


class Refusing(Cluster):
    """Takes no pod."""

    def _post(self, path: str, item: dict[str, Any]) -> web.Response:
        return failure(422, "Invalid", "no such pods here") if path == PODS else super()._post(path, item)


async def test_of_the_reconciler(lines: Lines) -> None:
    cluster = Refusing()
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await cluster.prepare(api)
        async with reconciler(config):
            await until_failed(cluster)
    (line,) = lines.of("pod refused")
    uid = next(item["metadata"]["uid"] for item in cluster.of("/apis/ossa.dev/v1alpha1/namespaces/lab/executions"))
    expected = {"namespace": "lab", "execution": "run", "uid": uid, "traceId": trace_of({}, uid).trace_id}
    assert {key: line[key] for key in expected} == expected
    assert cluster.status().trace_id == line["traceId"]


async def test_of_the_artifact_service(lines: Lines, tmp_path: Path) -> None:
    async with running(tmp_path / "data") as served, httpx.AsyncClient(base_url=served.url) as client:
        token = served.cluster.add_pod("p")
        identity = served.cluster.pods["lab", "p"]["metadata"]["annotations"]
        held = json.loads(identity["ossa.dev/identity"])
        identity["ossa.dev/identity"] = json.dumps({**held, "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
        for where, by in (
            ("/v1/artifacts", token),
            (f"/v1/namespaces/lab/executions/{EXECUTION_UID}/artifacts", RECONCILER),
        ):
            # One connection: what one request was about is not said of the next.
            answer = await client.put(where, content=b"{}", headers={"Authorization": f"Bearer {by}"})
            assert answer.status_code == 201
        refused = await client.put("/v1/artifacts", content=b"{}")
        assert refused.status_code == 401
    task, operator = lines.of("stored")
    expected = {"namespace": "lab", "execution": "run", "uid": EXECUTION_UID, "traceId": TRACE, "task": "task-p"}
    assert {key: task[key] for key in expected} == expected
    assert (operator["namespace"], operator["uid"], "traceId" in operator) == ("lab", EXECUTION_UID, False)
    (last,) = lines.of("PUT /v1/artifacts 401")
    assert "uid" not in last


async def test_of_the_gateway(lines: Lines) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - of the interface
        logging.getLogger("ossa.gateway").info("asked")
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b""})

    async with httpx.AsyncClient(transport=httpx.ASGITransport(Traced(app, None)), base_url="http://gateway") as client:
        await client.get("/", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    assert [line["traceId"] for line in lines.of("asked")] == [TRACE]
