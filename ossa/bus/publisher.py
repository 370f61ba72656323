"""Puts messages on streams and channels, many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from ossa.bus.connection import reaching
from ossa.bus.messages import ALERTS, AUDIT, EVENTS, METRICS, Message

# The field of a stream's entry that holds the message as JSON.
FIELD: Final = "message"
# Entries that a stream keeps at least; Redis trims whole blocks of about 100. Where nobody reads for that long, the
# oldest are lost to who comes after: docs/bus.md says what that means for each.
LENGTHS: Final[Mapping[str, int]] = MappingProxyType(
    {EVENTS: 100_000, METRICS: 50_000, AUDIT: 100_000, ALERTS: 10_000},
)
# Of any other stream.
LENGTH = 10_000
# Commands in one pipeline: what one answer has to wait for.
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Posting:
    """A message, and where it goes: on a stream, on channels, or both."""

    message: Message
    stream: str | None = None
    channels: tuple[str, ...] = ()


class Publisher:
    """Writes to the bus. Stateless: any number may write at once."""

    def __init__(self, client: Redis, *, lengths: Mapping[str, int] = LENGTHS) -> None:
        self._client = client
        self._lengths = lengths

    async def send(self, postings: Sequence[Posting]) -> None:
        """Sends all in their order; the streams have them when this returns.

        Raises:
            BusUnavailable: some may have arrived. Send all again: their ids tell readers what they know already.
        """
        for start in range(0, len(postings), CHUNK):
            pipeline = self._client.pipeline(transaction=False)
            for posting in postings[start : start + CHUNK]:
                self.put(pipeline, posting)
            with reaching("messages were not sent"):
                await pipeline.execute()

    def put(self, pipeline: Pipeline, posting: Posting) -> None:
        """Adds the commands of one posting to a pipeline, for who sends more along with it."""
        text = posting.message.model_dump_json(exclude_none=True)
        if posting.stream is not None:
            length = self._lengths.get(posting.stream, LENGTH)
            pipeline.xadd(posting.stream, {FIELD: text}, maxlen=length, approximate=True)
        for channel in posting.channels:
            pipeline.publish(channel, text)
