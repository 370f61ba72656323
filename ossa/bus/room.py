"""Room in Redis: what all groups have handled goes first, before the server refuses what is new.

Full, it refuses even the XADD that would trim. So monitors look at its memory now and then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.asyncio import Redis

from ossa.bus.connection import reaching
from ossa.bus.group import groups_of
from ossa.bus.position import Position

# Share of `maxmemory` from which on room is made.
FULL = 0.75
# Seconds after which a consumer that asked for nothing meanwhile is not expected back.
GONE = 86400.0
# In one script: a consumer that comes back just then does not lose what it is given.
_DROP = """
local dropped = 0
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local name = group[2]
  for _, held in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], name)) do
    local consumer = {}
    for place = 1, #held, 2 do consumer[held[place]] = held[place + 1] end
    if consumer.pending == 0 and consumer.idle > tonumber(ARGV[1]) then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], name, consumer.name)
      dropped = dropped + 1
    end
  end
end
return dropped
"""


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


async def drop_gone_consumers(client: Redis, stream: str, *, idle: float = GONE) -> int:
    """Takes consumers off all groups of a stream that nothing is pending with and nobody has heard of for so long.

    Replicas that were killed do not leave their groups, and those after them have other names.

    Returns:
        How many there were.

    Raises:
        BusUnavailable
    """
    with reaching(f"consumers of {stream}"):
        if not await client.exists(stream):
            return 0
        return int(await client.eval(_DROP, 1, stream, int(idle * 1000)))


async def _trim(client: Redis, stream: str) -> int:
    handled: list[str] = []
    for group in await groups_of(client, stream):
        first = group["last-delivered-id"]
        if group["pending"]:
            first = (await client.xpending(stream, group["name"]))["min"] or first
        handled.append(first.decode())
    if not handled:
        return 0
    return int(await client.xtrim(stream, minid=min(handled, key=Position.of), approximate=False))
