"""Follows one Execution until it ends, through closed watches and an API server that is away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp

from ossa.api.execution import Execution
from ossa.cli.outcome import Exit, Stop
from ossa.cli.session import Session, get_execution, parse_execution
from ossa.cli.view import is_finished
from ossa.kube.errors import ApiError

PAUSE = 1.0  # seconds between tries
GONE = 410  # the watch's place in history is no longer kept: read again


async def follow(session: Session, name: str) -> AsyncIterator[Execution]:
    """The Execution now and at every change, the last one finished. Raises Stop where it is gone."""
    execution = await get_execution(session, name)
    uid = execution.metadata.uid
    yield execution
    while not is_finished(execution):
        try:
            async for changed in _watch(session, execution):
                yield changed
                if is_finished(changed):
                    return
            await asyncio.sleep(PAUSE)
            execution = await get_execution(session, name)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            if isinstance(error, ApiError) and not error.transient and error.status != GONE:
                raise
            await asyncio.sleep(PAUSE)
            continue
        if execution.metadata.uid != uid:
            raise _deleted(name)
        yield execution


async def _watch(session: Session, since: Execution) -> AsyncIterator[Execution]:
    """Every change after `since`, until the API server closes the watch."""
    name = since.metadata.name
    params = {"fieldSelector": f"metadata.name={name}", "resourceVersion": since.metadata.resource_version}
    async for kind, found in session.api.watch(session.path("Execution"), params):
        if kind == "DELETED":
            raise _deleted(name)
        if kind in ("ADDED", "MODIFIED"):
            yield parse_execution(found)


def _deleted(name: str) -> Stop:
    return Stop(f"Execution '{name}' was deleted before it ended", Exit.FAILED)
