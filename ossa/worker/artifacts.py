"""The SDK's client of the artifact service.

The service may be away for a while: a task waits for it, however long that is (its timeout does not run
meanwhile). What the service refuses is final.
"""

from __future__ import annotations

import hashlib
import io
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import httpx
from pydantic import ValidationError

from ossa.api.artifact import ArtifactRef
from ossa.api.contract import ARTIFACTS_PATH
from ossa.api.problem import problem_detail
from ossa.worker.errors import ArtifactRefused
from ossa.worker.task import File

CHUNK_SIZE = 1 << 20
_UNAVAILABLE = frozenset({502, 503, 504})
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_T = TypeVar("_T")
_log = logging.getLogger("ossa.worker.artifacts")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between two tries: doubles from `first` to `longest`, less up to half of it by chance."""

    first: float = 0.25
    longest: float = 5.0  # the timeout of the task runs again as soon as the service is back

    def delay(self, tries: int) -> float:
        """How long to wait after so many failed tries (from 1)."""
        full = min(self.longest, self.first * 2.0 ** min(tries - 1, 16))
        return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


class _Unavailable(Exception):
    """The service did not answer, or said that it cannot now."""


class ArtifactClient:
    """Uploads and downloads, with the pod's own token. To be closed.

    `token_path` is read before every request: the kubelet renews the file.
    """

    def __init__(self, url: str, token_path: Path, *, backoff: Backoff | None = None) -> None:
        self._url = url.rstrip("/") + ARTIFACTS_PATH
        self._token_path = token_path
        self._backoff = backoff or Backoff()
        self._http = httpx.Client(timeout=_TIMEOUT)

    def close(self) -> None:
        """Give the connections up."""
        self._http.close()

    def upload(self, content: File) -> ArtifactRef:
        """Store the content; the reference to it. Raises ArtifactRefused; OSError for an unreadable file."""
        size = content.size
        headers = {"Content-Type": content.media_type, "Content-Length": str(size)}

        def send() -> ArtifactRef:
            answer = self._http.put(self._url, content=_chunks(content), headers=self._headers(headers))
            if answer.status_code != httpx.codes.CREATED:
                raise _problem(answer.status_code, answer.content, "upload an artifact")
            try:
                return ArtifactRef.model_validate_json(answer.content)
            except ValidationError as error:
                raise ArtifactRefused(f"{self._url} answered something else than a reference") from error

        return self._patiently(send)

    def download(self, ref: ArtifactRef) -> bytes:
        """The whole artifact. Raises ArtifactRefused, also where it is not what `ref` says."""

        def fetch() -> bytes:
            whole = io.BytesIO()
            self._fetch(ref, whole)
            return whole.getvalue()

        return self._patiently(fetch)

    def download_to(self, path: Path, ref: ArtifactRef) -> None:
        """As `download`, into a file."""

        def fetch() -> None:
            with path.open("wb") as file:
                self._fetch(ref, file)

        self._patiently(fetch)

    def _fetch(self, ref: ArtifactRef, file: BinaryIO) -> None:
        digest, size = hashlib.sha256(), 0
        with self._http.stream("GET", f"{self._url}/{ref.id}", headers=self._headers({})) as answer:
            if answer.status_code != httpx.codes.OK:
                raise _problem(answer.status_code, answer.read(), f"open artifact {ref.id}")
            for chunk in answer.iter_raw(CHUNK_SIZE):
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        if (size, digest.hexdigest()) != (ref.size, ref.sha256):
            raise ArtifactRefused(f"artifact {ref.id} is damaged: its digest or size is not what its reference says")

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        try:
            token = self._token_path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise ArtifactRefused(
                f"the token for the artifact service ({self._token_path}): {error.strerror}"
            ) from error
        return {"Authorization": f"Bearer {token}", **more}

    def _patiently(self, call: Callable[[], _T]) -> _T:
        tries = 0
        while True:
            try:
                return call()
            except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
                # Ours, not the service's: a file that changed while it was sent, an address that is none.
                raise ArtifactRefused(f"{self._url} cannot be asked: {error}") from error
            except (httpx.TransportError, _Unavailable) as error:
                tries += 1
                delay = self._backoff.delay(tries)
                _log.warning(
                    "the artifact service at %s is away (%s); the task waits, try %d in %.1f s",
                    self._url, error or type(error).__name__, tries + 1, delay,
                )  # fmt: skip
                time.sleep(delay)


def _problem(status: int, body: bytes, wanted: str) -> Exception:
    """What to raise for an answer that is not the wanted one."""
    detail = problem_detail(body)
    if status in _UNAVAILABLE:
        return _Unavailable(f"{status}: {detail}")
    return ArtifactRefused(f"the artifact service refused to {wanted} ({status}): {detail}")


def _chunks(content: File) -> Iterator[bytes]:
    """The content in pieces, from the start at every try."""
    if content.path is None:
        whole = memoryview(content.read())
        for start in range(0, len(whole), CHUNK_SIZE):
            yield bytes(whole[start : start + CHUNK_SIZE])
        return
    with content.path.open("rb") as file:
        while chunk := file.read(CHUNK_SIZE):
            yield chunk
