"""WebSockets of one replica: how soon a status change reaches clients beside many idle ones, and what those take.

The replica is a process of its own; Redis and all clients share the machine with it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import cast

import uvloop
from redis.asyncio import Redis as Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Close, Frame, Opcode
from websockets.streams import StreamReader
from websockets.typing import Subprotocol

from ossa.api.gateway import EVENTS
from ossa.bus.connection import connect as connect_bus
from ossa.bus.frames import SUBPROTOCOL
from ossa.bus.messages import EVENTS as STREAM
from ossa.bus.publisher import Posting, Publisher
from tests.bench.errors import BenchError
from tests.ports import free_port
from tests.unit.gateway.events.serving import event, serving
from tests.unit.servers import Redis
from tests.unit.waiting import until

IDLE = 10_000
FOLLOWERS = 20  # of one Execution each
CHANGES, RATE = 1000, 50.0  # status changes, a second
AT_ONCE = 200  # handshakes
IDLE_SECONDS = 20.0  # over which the share of a CPU is taken
HOST = "127.0.0.1"
Figures = dict[str, float]
_LINE = 8192  # bytes of a header at most


class Idle(asyncio.Protocol):
    """A client that reads and answers pings, which each library does by itself, in as little memory as can be."""

    def __init__(self, port: int, query: str) -> None:
        self._head = (
            f"GET {EVENTS}?{query} HTTP/1.1\r\nHost: {HOST}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            "Authorization: Bearer root\r\n\r\n"
        ).encode()
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.told = 0  # events
        self.lost = ""  # why the replica ended it
        self.transport: asyncio.Transport | None = None
        self._reader = StreamReader()
        self._reading = self._read()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self.transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        self._reader.feed_data(data)
        next(self._reading)

    def _read(self) -> Generator[None]:
        """Goes on with each piece that has come, wherever that is cut."""
        while (yield from self._reader.read_line(_LINE)) != b"\r\n":
            pass
        while True:
            self._take((yield from Frame.parse(self._reader.read_exact, mask=False)))

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING and self.transport is not None:
            self.transport.write(Frame(Opcode.PONG, frame.data).serialize(mask=True))
        elif frame.opcode is Opcode.CLOSE:
            self.lost = f"closed: {Close.parse(frame.data)}"
        elif b'"type":"event"' in frame.data:
            self.told += 1
        elif b'"hello"' in frame.data:
            self.greeted.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = self.lost or f"cut: {exc}"
        if not self.greeted.done():
            self.greeted.set_exception(exc or ConnectionResetError("the replica closed a client that was idle"))


@contextlib.asynccontextmanager
async def replica() -> AsyncIterator[tuple[int, subprocess.Popen[bytes], Redis]]:
    """A Redis, and a replica in a process of its own: its port and the process."""
    redis, port = Redis(fsync="everysec"), free_port()
    await asyncio.to_thread(redis.start)
    command = [sys.executable, "-m", "tests.bench.gateway.sockets", "--serve", redis.url, str(port)]
    process = await asyncio.to_thread(subprocess.Popen, command)
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(HOST, port)
                    writer.close()
                    break
                await asyncio.sleep(0.1)
        yield port, process, redis
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
        redis.remove()


async def serve(redis_url: str, port: int) -> None:
    """The replica."""
    async with serving(redis_url, port=port, sockets_a_user=2 * IDLE, unstarted=2 * IDLE):
        await asyncio.Event().wait()


def resident_mb(process: subprocess.Popen[bytes]) -> float:
    """Of a process, in MB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def cpu_seconds(process: subprocess.Popen[bytes]) -> float:
    """That a process used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def idle_clients(port: int, number: int) -> list[Idle]:
    """So many clients of one Execution of which nothing is told."""
    loop, turn = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)

    async def one() -> Idle:
        async with turn:
            _, client = await loop.create_connection(lambda: Idle(port, "namespace=team&execution=idle"), HOST, port)
            await client.greeted
            return client

    return list(await asyncio.gather(*(one() for _ in range(number))))


async def latency(port: int, publisher: Publisher) -> Figures:
    """From before a change is sent to Redis until its follower has it."""
    url, headers = f"ws://{HOST}:{port}{EVENTS}", {"Authorization": "Bearer root"}
    sent: dict[str, float] = {}
    seconds: list[float] = []

    async def follow(socket: ClientConnection) -> None:
        async for text in socket:
            frame = json.loads(text)
            if frame["type"] == "event":
                seconds.append(time.perf_counter() - sent[frame["event"]["id"]])

    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for number in range(FOLLOWERS):
            query = f"?namespace=team&execution=run-{number}"
            socket = await stack.enter_async_context(
                connect(
                    url + query,
                    additional_headers=headers,
                    subprotocols=[Subprotocol(SUBPROTOCOL)],
                    compression=None,
                )
            )
            await socket.recv()  # hello
            tasks.append(asyncio.create_task(follow(socket)))
        began = time.perf_counter()
        for number in range(CHANGES):
            await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
            told = event(f"run-{number % FOLLOWERS}", progress="1/7", task="ingest", type="task", output={"rows": 178})
            sent[told.id] = time.perf_counter()
            await publisher.send([Posting(told, STREAM)])
        await until(lambda: len(seconds) == CHANGES, seconds=30)
        for task in tasks:
            task.cancel()
    seconds.sort()
    return {
        "change_to_client_p50_ms": round(1000 * seconds[len(seconds) // 2], 2),
        "change_to_client_p99_ms": round(1000 * seconds[int(0.99 * len(seconds))], 2),
    }


async def everybody(clients: list[Idle], publisher: Publisher, *, patience: float = 60) -> Figures:
    """One event that all follow: until the last one has it. Raises BenchError after `patience` seconds."""
    waiting = {client: client.told for client in clients}

    def told() -> bool:
        for client in [client for client, before in waiting.items() if client.told > before]:
            del waiting[client]
        return not waiting

    began = time.perf_counter()
    await publisher.send([Posting(event("idle"), STREAM)])
    try:
        await until(told, seconds=patience)
    except TimeoutError as error:
        causes = Counter(client.lost or "still open" for client in waiting)
        raise BenchError(f"{len(waiting)} clients were not told: {dict(causes)}") from error
    return {"change_to_all_clients_ms": round(1000 * (time.perf_counter() - began))}


async def run(idle: int = IDLE) -> Figures:
    """The figures, by name."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < idle + 1000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * idle), hard))
    async with replica() as (port, process, redis):
        bus: Client = connect_bus(redis.url, name="bench")
        publisher = Publisher(bus)
        figures = {f"alone_{name}": value for name, value in (await latency(port, publisher)).items()}
        before, began = resident_mb(process), time.perf_counter()
        clients = await idle_clients(port, idle)
        figures |= {
            "sockets": float(idle),
            "handshakes_per_second": round(idle / (time.perf_counter() - began)),
            "memory_mb": round(resident_mb(process)),
            "socket_kb": round(1000 * (resident_mb(process) - before) / idle, 1),
        }
        used, began = cpu_seconds(process), time.perf_counter()
        await asyncio.sleep(IDLE_SECONDS)
        figures["idle_cpu_share"] = round((cpu_seconds(process) - used) / (time.perf_counter() - began), 3)
        figures |= await latency(port, publisher)
        figures |= await everybody(clients, publisher)
        figures["memory_after_mb"] = round(resident_mb(process))
        figures["sockets_lost"] = float(sum(bool(client.lost) for client in clients))
        for client in clients:
            if client.transport is not None:
                client.transport.abort()
        await bus.aclose()
        return figures


def main() -> None:
    """Print the figures as JSON, or be the replica."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", nargs=2, metavar=("REDIS", "PORT"))
    parser.add_argument("--idle", type=int, default=IDLE)
    arguments = parser.parse_args()
    if arguments.serve:
        uvloop.run(serve(arguments.serve[0], int(arguments.serve[1])))
    else:
        print(json.dumps(uvloop.run(run(arguments.idle)), indent=2))


if __name__ == "__main__":
    main()
