"""Waits: no fixed sleeps, and an explanation where the time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ossa.kube.errors import ApiError

T = TypeVar("T")

# Seconds. A pod may take long to start where many tests run side by side on two cores.
PATIENCE = 180.0
PAUSE = 0.25


class NotYet(AssertionError):
    """What was waited for did not happen; the text says how things stand."""


async def nothing_to_add() -> str:
    """For waits that have no more to tell."""
    return ""


async def wait_for(
    look: Callable[[], Awaitable[T | None]],
    what: str,
    *,
    timeout: float = PATIENCE,  # noqa: ASYNC109 - the deadline of a poll, not of one await
    explain: Callable[[], Awaitable[str]] = nothing_to_add,
) -> T:
    """What `look` gives once it is truthy. An API server that is away for a moment is asked again.

    Raises:
        NotYet: after `timeout` seconds, with what `explain` has to say.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    last: object = None
    while loop.time() < deadline:
        try:
            found = await look()
        except ApiError as error:
            if not error.transient:
                raise
            last = error
        else:
            if found:
                return found
            last = found
        await asyncio.sleep(PAUSE)
    raise NotYet(f"waited {timeout:g} s in vain for {what} (last look: {last!r})\n{await explain()}")
