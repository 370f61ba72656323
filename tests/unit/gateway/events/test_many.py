"""Ten thousand clients of one replica, which is a process of its own."""

from __future__ import annotations

import resource

from ossa.bus.connection import connect
from ossa.bus.publisher import Publisher
from tests.bench.gateway.sockets import everybody, idle_clients, replica, resident_mb

CLIENTS = 10_000
# A replica takes a third of it; a task or a buffer more for each client would not go unseen.
MOST_MB = 1000


async def test_ten_thousand_idle_clients_stay_and_are_told() -> None:
    """Fewer where the machine allows fewer files."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = CLIENTS if hard == resource.RLIM_INFINITY else min(CLIENTS, hard - 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + 500, hard))
    async with replica() as (port, process, redis):
        clients = await idle_clients(port, number)
        try:
            assert resident_mb(process) < MOST_MB
            bus = connect(redis.url, name="test")
            for _ in range(2):
                await everybody(clients, Publisher(bus), patience=180)
            await bus.aclose()
            assert not any(client.transport is None or client.transport.is_closing() for client in clients)
        finally:
            for client in clients:
                if client.transport is not None:
                    client.transport.abort()
