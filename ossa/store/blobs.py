"""Artifacts in object storage: a folder on a volume, S3, GCS or Azure.

An artifact is two objects, ``NAMESPACE/EXECUTION_UID/NONCE`` and the record ``…/NONCE.json`` beside it.
The record is written last and everything goes by it, so an artifact that was written by half is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.store import ObjectStore
from pydantic import BaseModel, ConfigDict

from ossa.store.access import is_safe_name
from ossa.store.errors import NotFound, TooLarge, Unavailable
from ossa.store.objects import open_store, translated

# Up to this size an artifact is one request to the storage; above, parts of this size.
PART_SIZE = 5 * 1024 * 1024
_PARTS_AT_ONCE = 4
_RECORD = ".json"


class Record(BaseModel):
    """What is known of a stored artifact: who wrote it, and what."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pod_uid: str
    pod: str
    task: str
    size: int
    sha256: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the artifacts of one execution lie."""

    namespace: str
    execution_uid: str

    def path(self, nonce: bytes | None = None) -> str:
        """Path of the folder, or of the artifact in it."""
        base = f"{self.namespace}/{self.execution_uid}"
        return base if nonce is None else f"{base}/{nonce.hex()}"


@dataclass(frozen=True, slots=True)
class Written:
    """What came in: bytes, and their digest in hex."""

    size: int
    sha256: str


class Blobs:
    """The storage. Every method raises Unavailable where it does not answer, StorageFull where it is full."""

    def __init__(self, store: ObjectStore, *, local: Path | None = None) -> None:
        """`local` is the folder of a store on a volume: there, folders and left-overs are removed too."""
        self._store = store
        self._local = local

    @classmethod
    def open(cls, url: str) -> Blobs:
        """The storage of a URL: ``file:///data``, ``s3://bucket/prefix``.

        Credentials come from the environment, as each provider has it (AWS_*, …). Raises StoreUnusable.
        """
        store, local = open_store(url, what="the artifact store")
        return cls(store, local=local)

    async def check(self) -> None:
        """Raises Unavailable where the storage does not answer. A full one still hands out what it has."""
        if self._local is not None and not await asyncio.to_thread(os.access, self._local / ".", os.W_OK | os.X_OK):
            raise Unavailable(f"{self._local} is no folder that can be written to")
        with translated("artifacts"):
            await obstore.list_with_delimiter_async(self._store)

    async def write(self, folder: Folder, nonce: bytes, body: AsyncIterator[bytes], *, max_size: int) -> Written:
        """Store the bytes. Nobody sees them before `commit`. Raises TooLarge, and what `body` raises."""
        counted = _Counted(body, max_size)
        first = await counted.upto(PART_SIZE)
        with translated("artifacts"):
            if counted.ended:
                await obstore.put_async(self._store, folder.path(nonce), first)
            else:
                await obstore.put_async(
                    self._store,
                    folder.path(nonce),
                    counted.after(first),
                    chunk_size=PART_SIZE,
                    max_concurrency=_PARTS_AT_ONCE,
                )
        return counted.written

    async def commit(self, folder: Folder, nonce: bytes, record: Record) -> None:
        """From now on the artifact is there."""
        with translated("artifacts"):
            await obstore.put_async(self._store, folder.path(nonce) + _RECORD, record.model_dump_json().encode())

    async def record(self, folder: Folder, nonce: bytes) -> Record | None:
        """What is known of an artifact; None where there is none."""
        with translated("artifacts"):
            try:
                found = await obstore.get_async(self._store, folder.path(nonce) + _RECORD)
                return Record.model_validate_json(bytes(await found.bytes_async()))
            except FileNotFoundError:
                return None

    async def read(self, folder: Folder, nonce: bytes) -> AsyncIterator[bytes]:
        """The bytes in pieces of about 1 MiB. An error after the first piece goes through as it is."""
        try:
            with translated("artifacts"):
                found = await obstore.get_async(self._store, folder.path(nonce))
        except FileNotFoundError as error:
            raise NotFound("the record of the artifact is there and its bytes are not") from error
        async for chunk in found.stream(min_chunk_size=1 << 20):
            yield bytes(chunk)

    async def folders(self) -> list[Folder]:
        """The folders of all executions that have artifacts."""
        with translated("artifacts"):
            return [
                Folder(namespace, uid)
                for namespace in await self._names("")
                for uid in await self._names(f"{namespace}/")
                if is_safe_name(namespace) and is_safe_name(uid)
            ]

    async def delete(self, folder: Folder) -> None:
        """Remove all that an execution wrote."""
        with translated("artifacts"):
            async for batch in obstore.list(self._store, folder.path() + "/"):
                # Another replica may have been here first.
                with contextlib.suppress(FileNotFoundError):
                    await obstore.delete_async(self._store, [item["path"] for item in batch])
        if self._local is not None:
            # What the listing does not show: uploads that a killed process left, and the folder itself.
            await asyncio.to_thread(shutil.rmtree, self._local / folder.path(), ignore_errors=True)

    async def _names(self, prefix: str) -> list[str]:
        listed = await obstore.list_with_delimiter_async(self._store, prefix)
        return [path.rstrip("/").rpartition("/")[2] for path in listed["common_prefixes"]]


class _Counted:
    """A body with its size and digest, which ends with TooLarge when it is too long."""

    def __init__(self, body: AsyncIterator[bytes], max_size: int) -> None:
        self._body = body
        self._max_size = max_size
        self._size = 0
        self._digest = hashlib.sha256()
        self.ended = False

    @property
    def written(self) -> Written:
        return Written(self._size, self._digest.hexdigest())

    async def upto(self, size: int) -> bytes:
        """At least `size` bytes, or all there are."""
        start = bytearray()
        async for chunk in self._body:
            self._count(chunk)
            start += chunk
            if len(start) >= size:
                return bytes(start)
        self.ended = True
        return bytes(start)

    async def after(self, first: bytes) -> AsyncIterator[bytes]:
        """`first` again, and the rest."""
        yield first
        async for chunk in self._body:
            self._count(chunk)
            yield chunk

    def _count(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._digest.update(chunk)
        if self._size > self._max_size:
            raise TooLarge(f"an artifact may have {self._max_size} bytes, and this one has more")
