"""How a process is told to stop, and ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def told_to_stop(stopped: asyncio.Event | None = None) -> asyncio.Event:
    """An event, or the one that is given, that SIGTERM and SIGINT set; no other handler of these is left."""
    stopped = stopped or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


async def unless(stopped: asyncio.Event, wanted: Coroutine[Any, Any, T]) -> T | None:
    """What `wanted` gives; None where it was broken off, because `stopped` came first."""
    waiting, stopping = asyncio.create_task(wanted), asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait({waiting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return waiting.result() if waiting.done() else None
    finally:
        waiting.cancel()
        stopping.cancel()


def leave(code: int) -> NoReturn:
    """Ends a process that has ended its work, and writes its last log lines.

    For who uses the object store: its own threads may still hold references to Python objects, and abort the process
    (SIGABRT) where the interpreter is taken down under them.
    """
    logging.shutdown()
    sys.stderr.flush()
    os._exit(code)
