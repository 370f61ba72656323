"""The artifact service: bodies as they come, outages, what it says of itself."""

from __future__ import annotations

import asyncio
import hashlib
import io
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from ossa.api.artifact import ArtifactRef
from tests.unit.store.asking import bearer, fetch, store
from tests.unit.store.running import Running, running


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
