"""A gateway that dies between any two of its steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from ossa.gateway.context import Collaborators
from tests.unit.gateway.lab import Lab


class Fuse:
    """Lets so many steps through, and then nothing: whoever comes there waits for ever, as a process that is dead."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.blown = asyncio.Event()

    async def step(self) -> None:
        """Before and after each thing that has an effect outside of the process."""
        if self.left == 0:
            self.blown.set()
            await asyncio.Event().wait()
        self.left -= 1


class Fused:
    """Something whose coroutines go by a fuse, before their effect and after it."""

    def __init__(self, target: Any, fuse: Fuse, names: tuple[str, ...]) -> None:
        self._target, self._fuse, self._names = target, fuse, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self._names:
            return found

        async def fused(*arguments: Any, **more: Any) -> Any:
            await self._fuse.step()
            result = await found(*arguments, **more)
            await self._fuse.step()
            return result

        return fused


class FusedRecords:
    """Records whose connections go by a fuse."""

    def __init__(self, lab_: Lab, fuse: Fuse) -> None:
        self._records, self._fuse = lab_.records, fuse

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        async with self._records.connection() as held:
            yield Fused(held, self._fuse, ("execute", "fetch", "fetchrow", "fetchval"))


def fused(gateway: Lab, fuse: Fuse) -> Collaborators:
    """The collaborators of a process that dies where the fuse blows."""
    return replace(
        gateway.collaborators,
        api=Fused(gateway.api, fuse, ("post", "get", "patch")),  # type: ignore[arg-type] # it has what is asked of it
        records=FusedRecords(gateway, fuse),
        trail=Fused(gateway.book, fuse, ("record",)),
        authorizer=Fused(gateway.people, fuse, ("require",)),
    )


async def until_dead(fuse: Fuse, work: Awaitable[Any]) -> Any:
    """What it gave; None where the process died before."""
    task, dead = asyncio.ensure_future(work), asyncio.create_task(fuse.blown.wait())
    await asyncio.wait({task, dead}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        dead.cancel()
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def kill_all(but: set[asyncio.Task[Any]]) -> None:
    """Ends what a dead process has left in this event loop."""
    left = asyncio.all_tasks() - but
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
