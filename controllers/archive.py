"""What is too large for the status of an execution: stored in the artifact service, and read after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import orjson

from controllers.background import Background, Late
from controllers.transfers import Transfers
from controllers.working import Working
from ossa.api.artifact import value_media_type
from ossa.api.base import JSONObject
from ossa.api.execution import ArchivedPart, ExecutionStatus
from ossa.engine.decision import LargeField
from ossa.engine.packing import (
    NewPart,
    Part,
    is_large,
    large_outputs,
    new_part,
    packed,
    phases_alone,
    unpacked,
    whole_tasks,
)
from ossa.kube.client import ApiError
from ossa.store.client import ArtifactClient
from ossa.store.errors import Damaged, NotFound, Problem

# Bytes: 10,000 outputs of 4 KiB and what JSON adds.
MAX_SIZE = 64 * 1024 * 1024
# Seconds that a turn waits until all of the tasks are stored.
TASKS_PATIENCE = 5.0
_TRY_AGAIN = "ArtifactsUnavailable"


class ArchiveLost(Exception):
    """What an execution has in the artifact service is not there any more, or is something else."""


class Archive:
    """One for all executions. `wake` is told of one for which something is stored that took long."""

    def __init__(self, artifacts: ArtifactClient, transfers: Transfers, wake: Callable[[str], None]) -> None:
        self._artifacts = artifacts
        self._transfers = transfers
        self._parts: Background[tuple[Part, ...]] = Background(wake)

    def forget(self, uid: str) -> None:
        """The execution has ended or is gone."""
        self._parts.forget(uid)

    def close(self) -> None:
        """The process ends."""
        self._parts.close()

    async def pack(self, held: Working, status: ExecutionStatus) -> ExecutionStatus:
        """The status as it may be written, once what it leaves out is stored.

        Raises ApiError where the artifact service does not take it now: nothing is lost as long as nothing is written.
        """
        # More is stored before it is written: what a crash in between leaves behind goes with the execution.
        while (new := new_part(status, held.parts)) is not None:
            # What comes back may have been begun in an earlier turn, when less had ended.
            with _stored():
                held.parts = await self._parts.result(held.uid, "outputs", partial(self._store_part, held, new))
        made = packed(status, held.parts)
        if large := large_outputs(status):
            made = made.model_copy(update={"outputs": await self._with_references(held, status, large)})
        return phases_alone(made, await self._store_tasks(held, made)) if is_large(made) else made

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

    async def _with_references(self, held: Working, status: ExecutionStatus, large: Sequence[str]) -> JSONObject:
        """The execution's own outputs with references in place of large fields."""
        outputs = status.outputs or {}
        fields = {
            name: LargeField(await asyncio.to_thread(orjson.dumps, outputs[name]), value_media_type(outputs[name]))
            for name in large
        }
        with _stored():
            return {**outputs, **await self._transfers.references(held.namespace, held.uid, fields)}

    async def _store_part(self, held: Working, new: NewPart) -> tuple[Part, ...]:
        return (*new.kept, Part(await self._put(held, new.content), new.keys))

    async def _store_tasks(self, held: Working, made: ExecutionStatus) -> ArchivedPart:
        """Not in the background: by the next turn the tasks are others."""
        with _stored():
            async with asyncio.timeout(TASKS_PATIENCE):
                return await self._put(held, whole_tasks(made))

    async def _put(self, held: Working, content: JSONObject) -> ArchivedPart:
        # In a thread: a large one would keep all others waiting.
        body = await asyncio.to_thread(orjson.dumps, content)
        return ArchivedPart.of(await self._artifacts.put(held.namespace, held.uid, body))

    async def _load(self, namespace: str, uid: str, part: ArchivedPart) -> JSONObject:
        try:
            body = await self._artifacts.get(namespace, uid, part.reference, max_size=MAX_SIZE)
        except (NotFound, Damaged) as error:
            raise ArchiveLost(f"what status.archive refers to cannot be read: {error}") from error
        except Problem as error:
            raise ApiError(
                error.status, _TRY_AGAIN, f"what status.archive refers to cannot be read yet: {error}"
            ) from error
        content: JSONObject = await asyncio.to_thread(orjson.loads, body)
        return content


@contextmanager
def _stored() -> Iterator[None]:
    """Whatever keeps something from being stored now is a reason to write the status later."""
    try:
        yield
    except (Late, TimeoutError) as error:
        raise _not_now("the artifact service takes long to answer") from error
    except Problem as error:
        raise _not_now(str(error)) from error


def _not_now(why: str) -> ApiError:
    return ApiError(0, _TRY_AGAIN, f"the status cannot be written yet: {why}")
