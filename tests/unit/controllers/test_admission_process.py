"""The process ossa-admission as the API server meets it."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509

from controllers.admission import authors, rights
from controllers.admission.handlers import PATHS
from ossa.api import crds
from tests.unit.controllers.admissionserver import (
    Cluster,
    Process,
    admission_review,
    make_certificate,
    patch_of,
    running,
)
from tests.unit.controllers.reviews import BAD, FIELD, GOOD

OSSA = "/apis/ossa.dev/v1alpha1"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path, "first")


async def every_author_is_recorded(process: Process) -> None:
    """Every path that records authors does, and touches nothing but the annotations, whatever the object."""
    for kind in authors.KINDS:
        path = f"/{authors.PREFIX}{kind}"
        for spec in (GOOD[kind], BAD[kind]):
            _, answer = await process.post(path, admission_review(kind, spec))
            names = {"ossa.dev/created-by": "someone", "ossa.dev/spec-changed-by": "someone"}
            assert patch_of(answer) == [{"op": "add", "path": "/metadata/annotations", "value": names}]
        robot = {"username": "robot"}
        _, answer = await process.post(path, admission_review(kind, GOOD[kind], userInfo=robot))
        assert patch_of(answer) == []  # a delegate that names nobody
        hero = {"username": "hero", "groups": ["emergency"]}
        _, answer = await process.post(path, admission_review(kind, GOOD[kind], userInfo=hero))
        ((*_, written),) = ((*patch.values(),) for patch in patch_of(answer))
        assert written.get("ossa.dev/break-glass") == ("hero" if kind == "executions" else None)


async def a_renewed_certificate_is_served_without_a_gap(process: Process, certificate: tuple[Path, Path]) -> None:
    """No connection is refused meanwhile: the API server would refuse requests, or let them pass unjudged."""
    await the_end_is_told(process, certificate)
    make_certificate(certificate[0].parent, "second", days=9)
    wanted = ssl.PEM_cert_to_DER_cert(certificate[0].read_text())
    for _ in range(400):
        await asyncio.sleep(0.05)
        served = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", process.ports.webhook))
        if ssl.PEM_cert_to_DER_cert(served) == wanted:
            return await the_end_is_told(process, certificate)
    raise AssertionError("the old certificate is still served")


async def the_end_is_told(process: Process, certificate: tuple[Path, Path]) -> None:
    wanted = x509.load_pem_x509_certificate(certificate[0].read_bytes()).not_valid_after_utc.timestamp()
    samples = dict(line.split() for line in (await process.metrics()).splitlines() if line.count(" ") == 1)
    assert float(samples["ossa_admission_certificate_expiration_timestamp_seconds"]) == wanted


async def connections_are_handed_over(process: Process) -> None:
    """One that ends still answers for a while, and closes each connection after its answer."""
    context = ssl.create_default_context(cafile=str(process.ca))
    url = f"https://127.0.0.1:{process.ports.webhook}/agents"
    review = admission_review("agents", GOOD["agents"])
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            async with session.post(url, json=review, ssl=context) as answer:
                assert (await answer.json())["response"]["allowed"] is True
                if answer.headers.get("Connection") == "close":
                    return
            await asyncio.sleep(0.02)
    raise AssertionError("connections are kept though the process ends")


async def test_the_process(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """One process for many claims, because it takes seconds to start."""
    cluster = Cluster()
    cluster.rights = {("someone", "govern", "x"), ("someone", "except", "a-policy")}
    async with cluster.served() as config, running(config, certificate, tmp_path) as process:
        # It waits for the kinds, and opens its port once they are there.
        await cluster.first.wait()
        assert not await process.listening()
        cluster.kinds = [kind.plural for kind in crds.KINDS]
        await process.wait_until_listening()

        # Every path that checks refuses a bad object, with the field, and lets a good one pass.
        for path, kind in PATHS.items():
            status, answer = await process.post(f"/{path}", admission_review(kind, BAD[kind]))
            assert status == 200
            assert answer["response"]["uid"] == "review-1"
            assert answer["response"]["allowed"] is False
            assert answer["response"]["status"]["code"] == 422
            assert answer["response"]["status"]["message"].startswith(FIELD[kind])
            _, answer = await process.post(f"/{path}", admission_review(kind, GOOD[kind]))
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
            ("/agentpolicies", admission_review("agentpolicyexceptions", GOOD["agentpolicyexceptions"])),
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

        # It is alive, and asks for no more than it may: it changes nothing in the cluster.
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{process.ports.health}/healthz") as answer_,
        ):
            assert answer_.status == 200
        asked = {tuple(line.split(" ")) for line in cluster.asked}
        watched = (
            *(f"{OSSA}/{kind}" for kind in ("agents", "workflows", "agentpolicies", "agentpolicyexceptions")),
            *("/api/v1/namespaces", "/api/v1/namespaces/ossa-system/configmaps"),
        )
        assert {path for verb, path in asked if verb == "WATCH"} == set(watched)
        assert {path for verb, path in asked if verb == "POST"} == {rights.PATH}
        assert {path for verb, path in asked if verb == "GET"} <= {
            *watched,
            *("/api", "/api/v1", "/apis", OSSA, "/version"),
        }
        assert {verb for verb, _ in asked} == {"GET", "WATCH", "POST"}

        await a_renewed_certificate_is_served_without_a_gap(process, certificate)

        # It ends when it is told to, and says what it says as JSON.
        process.child.send_signal(signal.SIGTERM)
        await connections_are_handed_over(process)
        assert await asyncio.to_thread(process.child.wait, 20) == 0
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert any(
            "waiting for the CRDs of agentpolicies, agentpolicyexceptions, agents" in line["message"] for line in lines
        )


async def test_it_ends_while_it_waits(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cluster = Cluster()
    async with cluster.served() as config, running(config, certificate, tmp_path) as process:
        await cluster.first.wait()
        process.child.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.child.wait, 10) == 0
