"""What is too large for the status of an execution: stored in the artifact service, and read after a restart."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from controllers.working import Working
from ossa.api.artifact import ArtifactRef, value_media_type
from ossa.api.execution import ArchivedPart, ExecutionStatus
from ossa.engine.packing import Part, is_large, large_outputs, new_part, packed, phases_alone, unpacked, whole_tasks
from ossa.kube.client import ApiError
from ossa.store.client import ArtifactClient
from ossa.store.errors import Damaged, NotFound, Problem

JSONObject = dict[str, Any]
# Bytes: 10,000 outputs of 4 KiB and what JSON adds.
MAX_SIZE = 64 * 1024 * 1024
_TRY_AGAIN = "ArtifactsUnavailable"


class ArchiveLost(Exception):
    """What an execution has in the artifact service is not there any more, or is something else."""


class Archive:
    """One for all executions."""

    def __init__(self, artifacts: ArtifactClient) -> None:
        self._artifacts = artifacts

    async def pack(self, held: Working, status: ExecutionStatus) -> ExecutionStatus:
        """The status as it may be written, once what it leaves out is stored.

        Raises ApiError where the artifact service does not take it now: nothing is lost as long as nothing is written.
        """
        # More is stored before it is written: what a crash in between leaves behind goes with the execution.
        new = new_part(status, held.parts)
        if new is not None:
            ref = await self._store(held, new.content)
            held.parts = (*new.kept, Part(ref, new.keys))
        made = await self._with_references(held, packed(status, held.parts))
        return phases_alone(made, await self._store(held, whole_tasks(made))) if is_large(made) else made

    async def unpack(
        self, namespace: str, uid: str, status: ExecutionStatus
    ) -> tuple[ExecutionStatus, tuple[Part, ...]]:
        """The whole of a status that was read, and the parts that it has.

        Raises ApiError where the artifact service does not answer now, ArchiveLost where it has not got them.
        """
        archive = status.archive
        if archive is None:
            return unpacked(status, (), None), ()
        contents = await asyncio.gather(*(self._load(namespace, uid, ref) for ref in archive.outputs))
        tasks = await self._load(namespace, uid, archive.tasks) if archive.tasks is not None else None
        parts = tuple(
            Part(ref, frozenset((name, index) for name, outputs in content.items() for index in outputs))
            for ref, content in zip(archive.outputs, contents, strict=True)
        )
        return unpacked(status, contents, tasks), parts

    async def _with_references(self, held: Working, status: ExecutionStatus) -> ExecutionStatus:
        large = large_outputs(status)
        if not large or status.outputs is None:
            return status
        if held.outputs is None:
            fields = [status.outputs[name] for name in large]
            refs = await asyncio.gather(*(self._put(held, field, value_media_type(field)) for field in fields))
            moved = {name: ref.to_json() for name, ref in zip(large, refs, strict=True)}
            held.outputs = {**status.outputs, **moved}
        return status.model_copy(update={"outputs": held.outputs})

    async def _store(self, held: Working, content: JSONObject) -> ArchivedPart:
        ref = await self._put(held, content)
        return ArchivedPart(id=ref.id, size=ref.size, sha256=ref.sha256)

    async def _put(self, held: Working, content: object, media_type: str = "application/json") -> ArtifactRef:
        # In a thread: a large one would keep all others waiting.
        body = await asyncio.to_thread(orjson.dumps, content)
        try:
            return await self._artifacts.put(held.namespace, held.uid, body, media_type=media_type)
        except Problem as error:
            raise ApiError(error.status, _TRY_AGAIN, f"the status cannot be written yet: {error}") from error

    async def _load(self, namespace: str, uid: str, part: ArchivedPart) -> JSONObject:
        ref = ArtifactRef(id=part.id, size=part.size, sha256=part.sha256)
        try:
            body = await self._artifacts.get(namespace, uid, ref, max_size=MAX_SIZE)
        except (NotFound, Damaged) as error:
            raise ArchiveLost(f"what status.archive refers to cannot be read: {error}") from error
        except Problem as error:
            raise ApiError(
                error.status, _TRY_AGAIN, f"what status.archive refers to cannot be read yet: {error}"
            ) from error
        content: JSONObject = await asyncio.to_thread(orjson.loads, body)
        return content
