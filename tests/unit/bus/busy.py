"""What tests of the bus share: messages, and an observer that counts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from ossa.bus.connection import connect
from ossa.bus.consumer import Consumer
from ossa.bus.messages import Metric
from ossa.bus.publisher import Posting

STREAM, GROUP = "test:stream", "workers"
TRACE = "0af7651916cd43dd8448eb211c80319c"
WAIT_SECONDS = 30.0


def metric(number: int) -> Metric:
    """A message that knows its number."""
    return Metric(
        id=f"m-{number}",
        time=datetime.now(UTC),
        source="monitor",
        trace_id=TRACE,
        name="number",
        value=number,
        execution_uid=f"uid-{number}",
    )


def postings(start: int, end: int, stream: str = STREAM) -> list[Posting]:
    """Of messages by number."""
    return [Posting(metric(number), stream=stream) for number in range(start, end)]


class Counted:
    """Observer that counts messages by what became of them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def handled(self, stream: str, group: str, *, messages: int, seconds: float) -> None:  # noqa: ARG002
        self.counts["handled"] += messages
        self.counts["batches"] += 1

    def failed(self, stream: str, group: str) -> None:  # noqa: ARG002
        self.counts["failed"] += 1

    def claimed(self, stream: str, group: str, messages: int) -> None:  # noqa: ARG002
        self.counts["claimed"] += messages

    def parked(self, stream: str, group: str) -> None:  # noqa: ARG002
        self.counts["parked"] += 1

    def lost(self, stream: str, group: str, messages: int) -> None:  # noqa: ARG002
        self.counts["lost"] += messages


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Redis]:
    """A client that is closed in the end."""
    client = connect(url, name="test")
    try:
        yield client
    finally:
        await client.aclose()


@asynccontextmanager
async def running(consumer: Consumer[Any]) -> AsyncIterator[None]:
    """Runs a consumer, and stops it in order in the end."""
    task = asyncio.create_task(consumer.run())
    try:
        yield
    finally:
        consumer.stop()
        await asyncio.wait_for(task, WAIT_SECONDS)
