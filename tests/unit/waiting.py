"""Waiting for what tells nobody that it has come."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def until(true: Callable[[], object | Awaitable[object]], seconds: float = 30.0) -> None:
    """Looks again and again until it, or what it promises, is true. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.01)
