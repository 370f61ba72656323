"""Follows one Execution until it ends, through closed watches and an API server that is away for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import aiohttp

from ossa.api.execution import Execution
from ossa.cli.outcome import Exit, Stop
from ossa.cli.session import Session, get_execution, parse_execution
from ossa.cli.view import is_finished
from ossa.kube.errors import ApiError

PAUSE = 1.0  # seconds between tries
WATCH_SECONDS = 60  # then the server closes the watch
SILENCE_SECONDS = 75  # a watch that is silent for longer is dead, whatever the connection says
GONE = 410  # the watch's place in history is no longer kept: read again


async def follow(session: Session, name: str) -> AsyncIterator[Execution]:
    """The Execution now and at every change, the last one finished. Raises Stop where it is gone."""
    execution = await get_execution(session, name)
    uid = execution.metadata.uid
    yield execution
    while not is_finished(execution):
        try:
            async with aclosing(_watch(session, execution)) as watch:
                async for changed in watch:
                    execution = changed
                    yield execution
                    if is_finished(execution):
                        return
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            _raise_if_final(error)
        await asyncio.sleep(PAUSE)
        # Read again, whatever ended the watch: from an old place in history there may be no way on.
        try:
            execution = await get_execution(session, name)
        except (ApiError, aiohttp.ClientError, TimeoutError) as error:
            _raise_if_final(error)
            continue
        if execution.metadata.uid != uid:
            raise _deleted(name)
        yield execution


async def _watch(session: Session, since: Execution) -> AsyncGenerator[Execution, None]:
    """Every change after `since`, until the API server closes the watch. Raises TimeoutError where it is dead."""
    name = since.metadata.name
    params = {
        "fieldSelector": f"metadata.name={name}",
        "resourceVersion": since.metadata.resource_version,
        "timeoutSeconds": str(WATCH_SECONDS),
    }
    events = aiter(session.api.watch(session.path("Execution"), params))
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                kind, found = await anext(events)
        except StopAsyncIteration:
            return
        if kind == "DELETED":
            raise _deleted(name)
        if kind in ("ADDED", "MODIFIED"):
            yield parse_execution(found)


def _raise_if_final(error: ApiError | aiohttp.ClientError | TimeoutError) -> None:
    """Goes on after what passes by itself; raises what does not."""
    if isinstance(error, ApiError) and not error.transient and error.status != GONE:
        raise error


def _deleted(name: str) -> Stop:
    return Stop(f"Execution '{name}' was deleted before it ended", Exit.FAILED)
