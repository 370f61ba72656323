"""The artifact service over HTTP: who stores, who reads, and what is refused."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ossa.api.artifact import ArtifactRef
from ossa.store.signing import Signer
from tests.unit.store.running import EXECUTION_UID, KEY, NAMESPACE, Running, running


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "data") as found:
        yield found


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def store(
    http: aiohttp.ClientSession,
    served: Running,
    token: str,
    body: bytes,
    media_type: str = "application/json",
) -> ArtifactRef:
    headers = {**bearer(token), "Content-Type": media_type}
    async with http.put(f"{served.url}/v1/artifacts", data=io.BytesIO(body), headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        return ArtifactRef.model_validate(await answer.json())


async def fetch(
    http: aiohttp.ClientSession, served: Running, token: str | None, artifact_id: str
) -> tuple[int, bytes, str]:
    headers = {} if token is None else bearer(token)
    async with http.get(f"{served.url}/v1/artifacts/{artifact_id}", headers=headers) as answer:
        return answer.status, await answer.read(), answer.content_type


async def test_a_pod_stores_and_another_that_was_given_the_reference_reads(
    served: Running, http: aiohttp.ClientSession
) -> None:
    writer = served.cluster.add_pod("writer")
    ref = await store(http, served, writer, b'{"a": 1}')
    assert (ref.size, ref.sha256) == (8, hashlib.sha256(b'{"a": 1}').hexdigest())
    issued = {"namespace": NAMESPACE, "execution_uid": EXECUTION_UID, "pod_uid": "uid-writer"}
    assert Signer(KEY).verify(ref, **issued)
    reader = served.cluster.add_pod("reader", task_input={"deep": [{"records": ref.to_json()}]})
    assert await fetch(http, served, reader, ref.id) == (200, b'{"a": 1}', "application/json")
    assert await fetch(http, served, writer, ref.id) == (200, b'{"a": 1}', "application/json")


async def test_a_pod_that_was_not_given_the_reference_is_refused(served: Running, http: aiohttp.ClientSession) -> None:
    ref = await store(http, served, served.cluster.add_pod("writer"), b"1")
    status, body, kind = await fetch(http, served, served.cluster.add_pod("other"), ref.id)
    assert (status, kind) == (403, "application/problem+json")
    assert "neither wrote the artifact" in json.loads(body)["detail"]


async def test_the_same_id_means_nothing_in_another_execution(served: Running, http: aiohttp.ClientSession) -> None:
    ref = await store(http, served, served.cluster.add_pod("writer"), b"1")
    elsewhere: list[tuple[str, dict[str, Any]]] = [
        ("foreign", {"namespace": "elsewhere"}),
        ("later", {"execution_uid": "another-execution"}),
    ]
    for name, where in elsewhere:
        token = served.cluster.add_pod(name, task_input={"x": ref.to_json()}, **where)
        status, body, _ = await fetch(http, served, token, ref.id)
        assert status == 404, body


async def test_a_forged_id_is_refused(served: Running, http: aiohttp.ClientSession) -> None:
    ref = await store(http, served, served.cluster.add_pod("writer"), b"1")
    forged = ref.id[:22] + ("B" if ref.id[22] == "A" else "A") + ref.id[23:]
    reader = served.cluster.add_pod("reader", task_input={"x": {"$artifact": forged}})
    status, body, _ = await fetch(http, served, reader, forged)
    assert status == 403
    assert "not issued" in json.loads(body)["detail"]
    assert (await fetch(http, served, reader, "nonsense"))[0] == 400


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
async def test_nothing_is_written_over(served: Running, http: aiohttp.ClientSession, method: str) -> None:
    token = served.cluster.add_pod("writer")
    ref = await store(http, served, token, b"1")
    url = f"{served.url}/v1/artifacts/{ref.id}"
    async with http.request(method, url, data=b"2", headers=bearer(token)) as answer:
        assert answer.status == 405
        assert "never written over" in (await answer.json())["detail"]
    assert (await fetch(http, served, token, ref.id))[1] == b"1"


async def test_who_is_no_running_pod_of_a_task_is_refused(served: Running, http: aiohttp.ClientSession) -> None:
    cluster = served.cluster
    cluster.persons["jane"] = frozenset({NAMESPACE})
    finished = cluster.add_pod("finished")
    cluster.pods[NAMESPACE, "finished"]["status"]["phase"] = "Succeeded"
    ordinary = cluster.add_pod("ordinary")
    cluster.pods[NAMESPACE, "ordinary"]["metadata"]["labels"] = {}
    replaced = cluster.add_pod("replaced")
    cluster.pods[NAMESPACE, "replaced"]["metadata"]["uid"] = "a-new-pod"
    foreign = cluster.add_pod("foreign")
    identity = json.loads(cluster.pods[NAMESPACE, "foreign"]["metadata"]["annotations"]["ossa.dev/identity"])
    cluster.pods[NAMESPACE, "foreign"]["metadata"]["annotations"]["ossa.dev/identity"] = json.dumps(
        {**identity, "uid": "../../other"}
    )
    expected = {
        None: (401, "no token"),
        "lab/nobody": (401, "does not know this token"),
        "jane": (403, "a person reads artifacts at"),
        finished: (403, "has finished"),
        ordinary: (403, "no pod of a task"),
        replaced: (403, "is gone"),
        foreign: (403, "for no execution"),
    }
    for token, (status, detail) in expected.items():
        headers = {} if token is None else bearer(token)
        async with http.put(f"{served.url}/v1/artifacts", data=b"1", headers=headers) as answer:
            assert (answer.status, detail in (await answer.json())["detail"]) == (status, True), token
    assert served.objects() == []


async def test_a_resumed_execution_reads_what_it_has_taken_over(served: Running, http: aiohttp.ClientSession) -> None:
    ref = await store(http, served, served.cluster.add_pod("writer"), b"rows", "text/csv")
    given, uid = {"rows": ref.to_json()}, "0e7c2f9e-1111-4a4a-9e9e-000000000002"
    heir = served.cluster.add_pod("heir", task_input=given, execution_uid=uid, lineage=(EXECUTION_UID,))
    stranger = served.cluster.add_pod("stranger", task_input=given, execution_uid=uid)
    careless = served.cluster.add_pod("careless", execution_uid=uid, lineage=(EXECUTION_UID,))
    url = f"{served.url}/v1/artifacts/{ref.id}"
    async with http.get(url, headers=bearer(heir)) as answer:
        assert (answer.status, await answer.read()) == (200, b"rows")
    for token, status in ((stranger, 404), (careless, 403)):
        async with http.get(url, headers=bearer(token)) as answer:
            assert answer.status == status
    served.cluster.persons.update(jane=frozenset({NAMESPACE}))
    served.cluster.executions[NAMESPACE] = frozenset({uid})
    of_heir = f"{served.url}/v1/namespaces/{NAMESPACE}/executions/{uid}/artifacts/{ref.id}"
    async with http.get(of_heir, headers=bearer("jane")) as answer:
        assert answer.status == 404
    served.cluster.taken_over[uid] = (EXECUTION_UID,)
    async with http.get(of_heir, headers=bearer("jane")) as answer:
        assert (answer.status, await answer.read()) == (200, b"rows")


async def test_a_person_reads_where_the_cluster_allows_it(served: Running, http: aiohttp.ClientSession) -> None:
    served.cluster.persons.update(jane=frozenset({NAMESPACE}), joe=frozenset())
    ref = await store(http, served, served.cluster.add_pod("writer"), b"<html>", "text/html")
    url = f"{served.url}/v1/namespaces/{NAMESPACE}/executions/{EXECUTION_UID}/artifacts/{ref.id}"
    async with http.get(url, headers={"X-Ossa-Token": "jane"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"<html>")
        assert answer.headers["Content-Disposition"] == "attachment"
    async with http.get(url, headers=bearer("joe")) as answer:
        assert answer.status == 403
        assert "executions/artifacts" in (await answer.json())["detail"]
    async with http.get(url.replace(EXECUTION_UID, "other"), headers=bearer("jane")) as answer:
        assert answer.status == 404
    async with http.get(url.replace(EXECUTION_UID, ".."), headers=bearer("jane")) as answer:
        assert answer.status in (400, 404)


async def test_large_bodies_go_in_and_out_whole(served: Running, http: aiohttp.ClientSession) -> None:
    token = served.cluster.add_pod("writer")
    body = bytes(range(256)) * (80 * 1024)  # 20 MiB
    ref = await store(http, served, token, body, "application/octet-stream")
    assert ref.sha256 == hashlib.sha256(body).hexdigest()
    assert (await fetch(http, served, token, ref.id))[1] == body


async def test_an_empty_body_is_an_artifact(served: Running, http: aiohttp.ClientSession) -> None:
    token = served.cluster.add_pod("writer")
    ref = await store(http, served, token, b"", "text/plain")
    assert await fetch(http, served, token, ref.id) == (200, b"", "text/plain")


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_a_body_leaves_nothing(tmp_path: Path, http: aiohttp.ClientSession, chunked: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * (1 << 20)

    async with running(tmp_path / "data", max_size=6 << 20) as served:
        headers = bearer(served.cluster.add_pod("writer"))
        data = pieces() if chunked else io.BytesIO(b"x" * (8 << 20))
        async with http.put(f"{served.url}/v1/artifacts", data=data, headers=headers) as answer:
            assert answer.status == 413
            assert "6291456 bytes" in (await answer.json())["detail"]
        assert served.objects() == []


@pytest.mark.parametrize("sent", [1000, 7 << 20])
@pytest.mark.parametrize("chunked", [False, True])
async def test_half_an_upload_is_never_seen(served: Running, sent: int, chunked: bool) -> None:
    token = served.cluster.add_pod("writer")
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {20 << 20}"
    writer.write(f"PUT /v1/artifacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{length}\r\n\r\n".encode())
    writer.write((f"{sent:x}\r\n".encode() if chunked else b"") + b"x" * sent + (b"\r\n" if chunked else b""))
    await writer.drain()
    await asyncio.sleep(0.3)
    assert not [name for name in served.objects() if name.endswith(".json")]
    writer.close()
    await writer.wait_closed()
    for _ in range(100):
        if served.objects() == []:
            break
        await asyncio.sleep(0.05)
    assert served.objects() == []
    assert reader.at_eof() or await reader.read() == b""


async def test_a_caller_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    async with running(tmp_path / "data", body_timeout=0.2) as served:
        token = served.cluster.add_pod("writer")
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        head = f"PUT /v1/artifacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        writer.write(f"{head}Content-Length: 9\r\n\r\nx".encode())
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        assert served.objects() == []


async def test_any_http_client_stores_what_it_is_told_to(served: Running, tmp_path: Path) -> None:
    """A file sent by the standard library, with Expect and chunks left to it: no SDK, no aiohttp."""
    token = served.cluster.add_pod("writer")
    (tmp_path / "plot.png").write_bytes(b"\x89PNG" * (1 << 20))

    def put() -> bytes:
        with (tmp_path / "plot.png").open("rb") as body:
            request = urllib.request.Request(  # noqa: S310 - a local server of this test
                f"{served.url}/v1/artifacts",
                data=body,
                method="PUT",
                headers={"Authorization": f"Bearer {token}", "Content-Type": "image/png"},
            )
            with urllib.request.urlopen(request) as answer:  # noqa: S310
                held: bytes = answer.read()
                return held

    ref = ArtifactRef.model_validate_json(await asyncio.to_thread(put))
    assert (ref.size, ref.media_type) == (4 << 20, "image/png")


async def test_media_types(served: Running, http: aiohttp.ClientSession) -> None:
    token = served.cluster.add_pod("writer")
    url, headers = f"{served.url}/v1/artifacts", bearer(token)
    for said, kept in {
        "application/x-www-form-urlencoded": "application/octet-stream",
        "text/csv; charset=utf-8": "text/csv; charset=utf-8",
    }.items():
        async with http.put(url, data=b"1", headers={**headers, "Content-Type": said}) as answer:
            assert (await answer.json())["mediaType"] == kept
    async with http.put(url, data=b"1", headers={**headers, "Content-Type": "no type"}) as answer:
        assert answer.status == 400


async def test_with_the_api_server_away_the_caller_is_told_to_wait(
    served: Running, http: aiohttp.ClientSession
) -> None:
    token = served.cluster.add_pod("writer")
    served.cluster.down = True
    async with http.put(f"{served.url}/v1/artifacts", data=b"1", headers=bearer(token)) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    served.cluster.down = False
    ref = await store(http, served, token, b"1")
    served.cluster.down = True  # who was known stays known for a moment
    assert (await fetch(http, served, token, ref.id))[0] == 200
    assert served.cluster.reviews == 1


async def test_while_it_stops_or_without_storage_the_service_is_not_ready(
    served: Running, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"{served.url}/readyz") as answer:
        assert answer.status == 200
    away = served.data.rename(served.data.with_name("away"))
    async with http.get(f"{served.url}/readyz") as answer:
        assert answer.status == 503
        assert "no folder that can be written to" in (await answer.json())["detail"]
    away.rename(served.data)
    served.service.draining = True
    async with http.get(f"{served.url}/readyz") as answer:
        assert answer.status == 503
    async with http.get(f"{served.url}/healthz") as answer:
        assert answer.status == 200


async def test_requests_and_bytes_are_counted(served: Running, http: aiohttp.ClientSession) -> None:
    token = served.cluster.add_pod("writer")
    ref = await store(http, served, token, b"12345")
    await fetch(http, served, token, ref.id)
    await fetch(http, served, None, ref.id)
    async with http.get(f"{served.url}/metrics") as answer:
        text = await answer.text()
    assert 'ossa_artifacts_requests_total{code="201",method="PUT"} 1.0' in text
    assert 'ossa_artifacts_requests_total{code="401",method="GET"} 1.0' in text
    assert 'ossa_artifacts_bytes_total{direction="in"} 5.0' in text
    assert 'ossa_artifacts_bytes_total{direction="out"} 5.0' in text
