"""Room in Redis: what all groups have handled goes first, before the server refuses what is new.

Full, it refuses even the XADD that would trim. So monitors look at its memory now and then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ossa.bus.connection import reaching
from ossa.bus.reader import place

# Share of `maxmemory` from which on room is made.
FULL = 0.75


async def make_room(client: Redis, streams: Iterable[str], *, full: float = FULL) -> int:
    """Trims streams of what every group of theirs has acknowledged, where the memory is nearly used up.

    What somebody has still to handle stays, whatever that means for what is new: who writes it keeps it meanwhile.

    Returns:
        How many entries went.

    Raises:
        BusUnavailable
    """
    with reaching("the bus' memory cannot be looked at"):
        memory: dict[str, Any] = await client.info("memory")
        most = int(memory.get("maxmemory") or 0)
        if not most or int(memory["used_memory"]) < full * most:
            return 0
        return sum([await _trim(client, stream) for stream in streams])


async def _trim(client: Redis, stream: str) -> int:
    try:
        groups: list[dict[str, Any]] = await client.xinfo_groups(stream)
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return 0
    handled: list[str] = []
    for group in groups:
        first = group["last-delivered-id"]
        if group["pending"]:
            first = (await client.xpending(stream, group["name"]))["min"] or first
        handled.append(first.decode())
    if not handled:
        return 0
    return int(await client.xtrim(stream, minid=min(handled, key=place), approximate=False))
