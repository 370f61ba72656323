"""The operator's client of the artifact service: what an Execution holds and what is too large for its status.

Nothing is tried again here: Unavailable says that the caller may.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from pydantic import ValidationError

from ossa.api.artifact import ArtifactRef
from ossa.api.contract import EXECUTION_ARTIFACTS_PATH
from ossa.api.problem import problem_detail
from ossa.store.errors import Damaged, NotFound, Problem, TooLarge, Unauthenticated, Unavailable, problem_of

CHUNK_SIZE = 1 << 18
# Seconds: a service that answers at all moves 16 MiB within a few.
TIMEOUT = aiohttp.ClientTimeout(total=60.0, sock_connect=5.0, sock_read=20.0)
# Uploads and downloads at once; more wait.
CONNECTIONS = 16


class ArtifactClient:
    """Stores and reads artifacts of Executions. Asynchronous context manager over one connection pool.

    `token` is the file of a token for the audience `ossa-artifacts`; it is read before every request, because the
    kubelet renews it. Methods raise Unavailable where the service does not answer, cannot now or has no space, and
    another `ossa.store.errors.Problem` where asking again gives the same: Unauthenticated, Forbidden, BadRequest.
    """

    def __init__(self, url: str, token: Path, *, timeout: aiohttp.ClientTimeout = TIMEOUT) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=30), timeout=self._timeout
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def put(self, namespace: str, uid: str, body: bytes, *, media_type: str = "application/json") -> ArtifactRef:
        """Store the bytes for the Execution with this UID; the reference to them. Stored twice, there are two.

        Raises also TooLarge; Damaged where the service says that something else arrived.
        """
        path = EXECUTION_ARTIFACTS_PATH.format(namespace=namespace, uid=uid)
        async with self._asked("PUT", path, body, media_type) as answer:
            text = await answer.read()
        try:
            ref = ArtifactRef.model_validate_json(text)
        except ValidationError as error:
            raise Unavailable(f"{self._url} answered something else than a reference") from error
        if not ref.describes(body):
            raise Damaged(f"the artifact {ref.id} was stored with another size or digest than what was sent")
        return ref

    async def get(self, namespace: str, uid: str, ref: ArtifactRef, *, max_size: int) -> bytes:
        """The bytes of an artifact that the Execution wrote or has taken over.

        Raises also NotFound; TooLarge where it has more than `max_size` bytes; Damaged where size or digest are not
        those of the reference.
        """
        if ref.size > max_size:
            raise TooLarge(f"the artifact {ref.id} has {ref.size} bytes, more than {max_size}")
        path = f"{EXECUTION_ARTIFACTS_PATH.format(namespace=namespace, uid=uid)}/{ref.id}"
        content = bytearray()
        async with self._asked("GET", path) as answer:
            async for chunk in answer.content.iter_chunked(CHUNK_SIZE):
                content += chunk
                if len(content) > ref.size:
                    break
        if not ref.describes(content):
            raise Damaged(f"the artifact {ref.id} is not what its reference says: another size or digest")
        return bytes(content)

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, body: bytes | None = None, media_type: str = ""
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise RuntimeError("ArtifactClient is used outside of `async with`")
        headers = {"Authorization": f"Bearer {self._read_token()}"}
        if body is not None:
            headers["Content-Type"] = media_type
        # Of a file aiohttp sends a piece at a time, and others have their turn.
        data = None if body is None else io.BytesIO(body)
        try:
            async with self._session.request(method, self._url + path, data=data, headers=headers) as answer:
                if answer.status >= 300:
                    raise self._refusal(answer.status, await answer.read())
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise Unavailable(f"the artifact service at {self._url} does not answer: {why}") from error

    def _read_token(self) -> str:
        try:
            return self._token.read_text(encoding="ascii").strip()
        except OSError as error:
            raise Unauthenticated(
                f"the token for the artifact service ({self._token}) cannot be read: {error.strerror}"
            ) from error

    def _refusal(self, status: int, body: bytes) -> Problem:
        detail = f"the artifact service: {problem_detail(body)}"
        # A proxy or another server at this address knows no such path, and says so in no problem object.
        if status == NotFound.status and not body.startswith(b"{"):
            return Unavailable(f"{self._url} answers, and is no artifact service")
        return problem_of(status, detail)
