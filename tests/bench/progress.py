"""What is told on stderr while it runs; stdout is for the figures."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

_BEGAN = time.monotonic()
EVERY = 5.0  # seconds


def say(text: str) -> None:
    """A line with the time since the start."""
    print(f"[{time.monotonic() - _BEGAN:5.0f}s] {text}", file=sys.stderr, flush=True)


@asynccontextmanager
async def told(text: Callable[[], str]) -> AsyncIterator[None]:
    """Says a text every few seconds while the block runs."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(EVERY)
            say(text())

    task = asyncio.create_task(tell())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
