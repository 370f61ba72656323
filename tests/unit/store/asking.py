"""Requests to the artifact service."""

from __future__ import annotations

import io

import aiohttp

from ossa.api.artifact import ArtifactRef
from tests.unit.store.running import Running


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
