"""The process ossa-admission as the API server meets it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiohttp import web

from controllers import authors
from controllers.admission import REVIEWS
from ossa.api import crds
from ossa.api.contract import GROUP, VERSION
from tests.unit.controllers.reviews import BAD, FIELD, GOOD, body

REPO = Path(__file__).parents[3]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path, "first")


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    crt, key = folder / "tls.crt", folder / "tls.key"
    options = f"-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name}"
    command = ["openssl", "req", *options.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-out", crt, "-keyout", key], check=True, capture_output=True)
    return crt, key


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Discovery:
    """The part of an API server that says which kinds there are, and notes what it is asked for."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.asked: list[str] = []
        self.first = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        self.first.set()
        version = {"groupVersion": "ossa.dev/v1alpha1", "version": "v1alpha1"}
        answers: dict[str, Any] = {
            "/api": {"versions": ["v1"]},
            "/api/v1": {"groupVersion": "v1", "resources": []},
            "/apis": {"groups": [{"name": "ossa.dev", "versions": [version], "preferredVersion": version}]},
            "/apis/ossa.dev/v1alpha1": {"groupVersion": "ossa.dev/v1alpha1", "resources": self.resources()},
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        }
        if request.path not in answers:
            return web.json_response({"kind": "Status", "code": 404, "message": "not here"}, status=404)
        return web.json_response(answers[request.path])

    def resources(self) -> list[dict[str, Any]]:
        return [
            {
                "name": kind.plural,
                "singularName": kind.name.lower(),
                "kind": kind.name,
                "namespaced": True,
                "verbs": ["get", "list", "watch", "patch"],
            }
            for kind in crds.KINDS
            if kind.plural in self.kinds
        ]


@asynccontextmanager
async def serving(discovery: Discovery) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", discovery.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


class Process:
    """`python operator/admission.py`, and the API server's side of the conversation with it."""

    def __init__(self, child: subprocess.Popen[bytes], port: int, health_port: int, ca: Path) -> None:
        self.child, self.port, self.health_port, self.ca = child, port, health_port, ca

    async def post(self, path: str, review: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        context = ssl.create_default_context(cafile=str(self.ca))
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"https://127.0.0.1:{self.port}{path}", json=review, ssl=context) as answer,
        ):
            text = await answer.text()
            return answer.status, json.loads(text) if answer.status == 200 else {}

    async def listening(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except ConnectionRefusedError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def wait_until_listening(self) -> None:
        for _ in range(300):
            assert self.child.poll() is None, "the process ended before it listened"
            if await self.listening():
                return
            await asyncio.sleep(0.1)
        raise AssertionError("the process did not listen within 30 s")


@asynccontextmanager
async def running(server: str, certificate: tuple[Path, Path], tmp_path: Path) -> AsyncIterator[Process]:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    port, health_port = free_port(), free_port()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("KUBERNETES_", "OSSA_"))},
        "PYTHONPATH": str(REPO),
        "KUBECONFIG": str(kubeconfig),
        "OSSA_ADMISSION_PORT": str(port),
        "OSSA_HEALTH_PORT": str(health_port),
        "OSSA_ADMISSION_CERT_FILE": str(certificate[0]),
        "OSSA_ADMISSION_KEY_FILE": str(certificate[1]),
        "OSSA_DELEGATES": '["robot"]',
        "OSSA_OPERATORS": '["operator"]',
    }
    with (tmp_path / "log").open("wb") as output:
        child = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond, and the test has nothing else to do
            [sys.executable, REPO / "operator/admission.py"], env=environment, stdout=output, stderr=output
        )
    try:
        yield Process(child, port, health_port, certificate[0])
    finally:
        child.kill()
        child.wait()


def admission_review(kind: str, spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    version = f"{GROUP}/{VERSION}"
    made = {"apiVersion": version, "kind": kind, **body(spec)}
    request = {
        "uid": "review-1",
        "resource": {"group": GROUP, "version": VERSION, "resource": kind},
        "operation": "CREATE",
        "userInfo": {"username": "someone"},
        "object": made,
        "oldObject": None,
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def webhook_paths(prefix: str = "") -> Iterator[str]:
    text = (REPO / "charts/ossa/templates/webhook.yaml").read_text()
    assert f"path: /{prefix}{{{{ $kind }}}}\n" in text
    for kind in ("agents", "workflows", "executions"):
        assert f'"{kind}"' in text
        yield f"/{prefix}{kind}"


def patch_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The JSON patch of an answer that allows."""
    assert answer["response"]["allowed"] is True, answer
    patch: list[dict[str, Any]] = json.loads(base64.b64decode(answer["response"].get("patch", "W10=")))
    return patch


async def every_author_is_recorded(process: Process) -> None:
    """Every path that records authors does, and touches nothing but the annotations, whatever the object."""
    for path in webhook_paths(authors.PREFIX):
        kind = path.removeprefix(f"/{authors.PREFIX}")
        for spec in (GOOD[kind], BAD[kind]):
            _, answer = await process.post(path, admission_review(kind, spec))
            names = {"ossa.dev/created-by": "someone", "ossa.dev/spec-changed-by": "someone"}
            assert patch_of(answer) == [{"op": "add", "path": "/metadata/annotations", "value": names}]
        robot = {"username": "robot"}
        _, answer = await process.post(path, admission_review(kind, GOOD[kind], userInfo=robot))
        assert patch_of(answer) == []  # a delegate that names nobody


async def test_the_process(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """One process for many claims, because it takes seconds to start."""
    discovery = Discovery()
    async with serving(discovery) as server, running(server, certificate, tmp_path) as process:
        # It waits for the kinds, and opens its port once they are there.
        await discovery.first.wait()
        assert not await process.listening()
        discovery.kinds = list(REVIEWS)
        await process.wait_until_listening()

        # Every path of the chart refuses a bad object, with the field, and lets a good one pass.
        paths = list(webhook_paths())
        assert sorted(paths) == sorted(f"/{kind}" for kind in REVIEWS)
        for path in paths:
            kind = path.removeprefix("/")
            status, answer = await process.post(path, admission_review(kind, BAD[kind]))
            assert status == 200
            assert answer["response"]["uid"] == "review-1"
            assert answer["response"]["allowed"] is False
            assert answer["response"]["status"]["code"] == 422
            assert answer["response"]["status"]["message"].startswith(FIELD[kind])
            _, answer = await process.post(path, admission_review(kind, GOOD[kind]))
            assert answer["response"]["allowed"] is True, answer

        # The operator alone passes artifacts on to a child.
        for user, allowed in (("operator", True), ("robot", False)):
            review_ = admission_review("executions", BAD["executions"], userInfo={"username": user})
            assert (await process.post("/executions", review_))[1]["response"]["allowed"] is allowed

        await every_author_is_recorded(process)

        # What comes to the wrong place does not pass.
        for path, review_ in [
            ("/nothing", admission_review("agents", GOOD["agents"])),
            ("/", admission_review("agents", GOOD["agents"])),
            ("/agents/", admission_review("agents", GOOD["agents"])),
            ("/agents", admission_review("workflows", BAD["workflows"])),
            ("/authors-agents", admission_review("workflows", GOOD["workflows"])),
            ("/authors-nothing", admission_review("agents", GOOD["agents"])),
            ("/agents", admission_review("agents", BAD["agents"], operation="DELETE")),
            ("/agents", admission_review("agents", BAD["agents"], subResource="status")),
        ]:
            _, answer = await process.post(path, review_)
            assert answer["response"]["allowed"] is False, path
            assert "correct the webhook configuration ossa-admission" in answer["response"]["status"]["message"]
        foreign = {"group": "foreign.example", "version": "v1", "resource": "agents"}
        _, answer = await process.post("/agents", admission_review("agents", GOOD["agents"], resource=foreign))
        assert answer["response"]["allowed"] is False

        # An update is compared with what was.
        old = admission_review("executions", GOOD["executions"])["request"]["object"]
        update = admission_review("executions", {"workflow": "other"}, operation="UPDATE", oldObject=old)
        _, answer = await process.post("/executions", update)
        assert answer["response"]["status"]["message"].startswith("2 problems:\n- spec.inputs: an Execution may not")

        # It is alive, and nothing but discovery was asked for: no watch, no peering, no configuration.
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{process.health_port}/healthz") as answer_,
        ):
            assert answer_.status == 200
        assert {line.split(" ")[0] for line in discovery.asked} == {"GET"}
        assert {line.split(" ")[1] for line in discovery.asked} <= {
            *("/api", "/api/v1", "/apis", "/apis/ossa.dev/v1alpha1", "/version"),
        }

        # A renewed certificate is served without a restart.
        make_certificate(certificate[0].parent, "second")
        for _ in range(40):
            await asyncio.sleep(0.5)
            try:
                served = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", process.port))
            except ConnectionRefusedError:
                continue  # kopf closes its port and opens it again with the new pair
            if ssl.PEM_cert_to_DER_cert(served) == ssl.PEM_cert_to_DER_cert(certificate[0].read_text()):
                break
        else:
            raise AssertionError("the old certificate is still served")

        # It ends when it is told to, and says what it says as JSON.
        process.child.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.child.wait, 20) == 0
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert any("waiting for the CRDs of agents, executions, workflows" in line["message"] for line in lines)


async def test_it_ends_while_it_waits(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    discovery = Discovery()
    async with serving(discovery) as server, running(server, certificate, tmp_path) as process:
        await discovery.first.wait()
        process.child.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.child.wait, 10) == 0
