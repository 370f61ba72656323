"""The process ossa-admission for tests, with an API server for it to ask, and the reviews that one sends."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import yaml
from aiohttp import web

from controllers.admission import rights
from ossa.api import crds
from ossa.api.contract import GROUP, VERSION
from ossa.kube.config import KubeConfig
from tests.ports import free_port
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.reviews import body

REPO = Path(__file__).parents[3]


def make_certificate(folder: Path, name: str, *, days: int = 2) -> tuple[Path, Path]:
    crt, key = folder / "tls.crt", folder / "tls.key"
    options = f"-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days {days} -subj /CN={name}"
    command = ["openssl", "req", *options.split(), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-out", crt, "-keyout", key], check=True, capture_output=True)
    return crt, key


class Cluster(ApiServer):
    """An API server that also says which kinds there are and who has which right, and notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []
        self.rights: set[tuple[str, str, str]] = set()  # user, verb, name of a policy
        self.asked: list[str] = []
        self.first = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{'WATCH' if request.query.get('watch') else request.method} {request.path}")
        self.first.set()
        if request.path in self._discovery():
            return web.json_response(self._discovery()[request.path])
        if request.path == rights.PATH:
            spec = (await request.json())["spec"]
            wanted = spec["resourceAttributes"]
            held = (spec["user"], wanted["verb"], wanted["name"])
            return web.json_response({"status": {"allowed": held in self.rights}})
        return await super()._answer(request)

    def _discovery(self) -> dict[str, Any]:
        version = {"groupVersion": "ossa.dev/v1alpha1", "version": "v1alpha1"}
        return {
            "/api": {"versions": ["v1"]},
            "/api/v1": {"groupVersion": "v1", "resources": []},
            "/apis": {"groups": [{"name": "ossa.dev", "versions": [version], "preferredVersion": version}]},
            "/apis/ossa.dev/v1alpha1": {"groupVersion": "ossa.dev/v1alpha1", "resources": self._resources()},
            "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"},
        }

    def _resources(self) -> list[dict[str, Any]]:
        return [
            {
                "name": kind.plural,
                "singularName": kind.name.lower(),
                "kind": kind.name,
                "namespaced": kind.scope == "Namespaced",
                "verbs": ["get", "list", "watch", "patch"],
            }
            for kind in crds.KINDS
            if kind.plural in self.kinds
        ]


class Ports(NamedTuple):
    """Where a process listens."""

    webhook: int
    health: int
    metrics: int


class Process:
    """`python operator/admission.py`, and the API server's side of the conversation with it."""

    def __init__(self, child: subprocess.Popen[bytes], ports: Ports, ca: Path) -> None:
        self.child, self.ports, self.ca = child, ports, ca

    async def post(self, path: str, review: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        context = ssl.create_default_context(cafile=str(self.ca))
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"https://127.0.0.1:{self.ports.webhook}{path}",
                data=io.BytesIO(json.dumps(review).encode()),
                ssl=context,
            ) as answer,
        ):
            text = await answer.text()
            return answer.status, json.loads(text) if answer.status == 200 else {}

    async def metrics(self) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.ports.metrics}/metrics") as answer,
        ):
            return await answer.text()

    async def listening(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.ports.webhook)
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
async def running(config: KubeConfig, certificate: tuple[Path, Path], tmp_path: Path) -> AsyncIterator[Process]:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": config.server}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    port, health_port, metrics_port = free_port(), free_port(), free_port()
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
        "OSSA_BREAK_GLASS_GROUPS": '["emergency"]',
        "OSSA_PARAMS_NAMESPACES": '["ossa-system"]',
        "OSSA_METRICS_PORT": str(metrics_port),
    }
    with (tmp_path / "log").open("wb") as output:
        child = subprocess.Popen(  # noqa: ASYNC220 - it takes a millisecond, and the test has nothing else to do
            [sys.executable, REPO / "operator/admission.py"], env=environment, stdout=output, stderr=output
        )
    try:
        yield Process(child, Ports(port, health_port, metrics_port), certificate[0])
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


def patch_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The JSON patch of an answer that allows."""
    assert answer["response"]["allowed"] is True, answer
    patch: list[dict[str, Any]] = json.loads(base64.b64decode(answer["response"].get("patch", "W10=")))
    return patch
