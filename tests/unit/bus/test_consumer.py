"""Consumer groups on a real server: every message is handled, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import pytest
from redis.asyncio import Redis as Client

from ossa.bus.connection import BusUnavailable, Pauses
from ossa.bus.consumer import Consumer, Handler, Pace, TryAgain
from ossa.bus.group import Group, parked_count, standings
from ossa.bus.messages import BEGINNING, Metric, Parked, parked_stream
from ossa.bus.publisher import FIELD, Publisher
from ossa.bus.reader import Reader
from tests.unit.bus.busy import GROUP, STREAM, TRACE, Counted, client_of, metric, postings, running
from tests.unit.servers import Redis
from tests.unit.waiting import until

# Other consumers' entries are not waited for; one that dies is dead at once.
QUICK = Pace(batch=50, idle=0.3, look=0.05)


class Kept:
    """A handler that keeps what it was given, as a table with a key would."""

    def __init__(self) -> None:
        self.seen: Counter[int] = Counter()
        self.away = False
        self.poison: set[int] = set()

    async def __call__(self, batch: Sequence[Metric]) -> None:
        if self.away:
            raise TryAgain("the table is away")
        numbers = [int(message.value) for message in batch]
        if self.poison & set(numbers):
            raise ZeroDivisionError(f"of {sorted(self.poison & set(numbers))}")
        self.seen.update(numbers)


def consumer(
    client: Client, handler: Handler[Metric], observer: Counted | None = None, *, name: str = "one", pace: Pace = QUICK
) -> Consumer[Metric]:
    group = Group(client, STREAM, GROUP, name)
    return Consumer(group, Metric, handler, observer=observer or Counted(), pace=pace)


async def settled(client: Client, *, pending: int = 0) -> bool:
    """Whether every entry was read, and so many are not acknowledged."""
    found = await standings(client, STREAM)
    return [(one.lag, one.pending) for one in found] == [(0, pending)]


async def wait_until_settled(client: Client) -> None:
    await until(lambda: settled(client))


async def parked(client: Client) -> list[Parked]:
    entries = await Reader(client, parked_stream(STREAM)).read(BEGINNING)
    return [Parked.model_validate_json(entry.message) for entry in entries]


async def test_three_consumers_handle_each_message_once_in_batches(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        kept, counted = Kept(), Counted()
        await Publisher(client).send(postings(0, 1000))
        async with (
            running(consumer(client, kept, counted, name="one")),
            running(consumer(client, kept, counted, name="two")),
            running(consumer(client, kept, counted, name="three")),
        ):
            await until(lambda: len(kept.seen) == 1000)
            await wait_until_settled(client)
        assert set(kept.seen.values()) == {1}
        assert counted.counts["batches"] <= 1000 / 50 * 2
        (standing,) = await standings(client, STREAM)
        assert standing.consumers == 0, "who stops in order leaves the group"


DIES = """
import asyncio, os, signal, sys
from ossa.bus.connection import connect
from ossa.bus.consumer import Consumer
from ossa.bus.group import Group
from ossa.bus.messages import Metric
from tests.unit.bus.busy import GROUP, STREAM, Counted
from tests.unit.bus.test_consumer import QUICK

async def die(batch):
    if sys.argv[3] in ("all", *(str(int(message.value)) for message in batch)):
        os.kill(os.getpid(), signal.SIGKILL)

client = connect(sys.argv[1], name="dies")
asyncio.run(Consumer(Group(client, STREAM, GROUP, sys.argv[2]), Metric, die, observer=Counted(), pace=QUICK).run())
"""


async def dying(redis: Redis, name: str, *, of: str) -> None:
    """A real process that is killed (SIGKILL) between the reading of a message and its acknowledgement."""
    command = [sys.executable, "-c", DIES, redis.url, name, of]
    process = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()


async def test_what_a_killed_consumer_had_is_handled_by_another(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        await Publisher(client).send(postings(0, 200))
        await dying(redis, "killed", of="all")
        kept, counted = Kept(), Counted()
        async with running(consumer(client, kept, counted)):
            await until(lambda: len(kept.seen) == 200)
            await wait_until_settled(client)
        assert counted.counts["claimed"] == 50
        assert await parked_count(client, STREAM) == 0


async def test_a_consumer_takes_up_what_it_had_before_it_was_killed_without_waiting(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        await Publisher(client).send(postings(0, 50))
        await dying(redis, "one", of="all")
        kept = Kept()
        async with running(consumer(client, kept, pace=Pace(batch=50, idle=3600, look=0.05))):
            await until(lambda: len(kept.seen) == 50)
            await wait_until_settled(client)


async def test_a_message_that_kills_whoever_handles_it_is_parked_and_takes_no_other_with_it(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        await Publisher(client).send(postings(0, 20))
        for number in range(QUICK.deaths):
            await dying(redis, f"killed-{number}", of="7")
            await asyncio.sleep(QUICK.idle)
        kept = Kept()
        async with running(consumer(client, kept)):
            await wait_until_settled(client)
        assert sorted(kept.seen) == [number for number in range(20) if number > 7]
        (aside,) = await parked(client)
        assert Metric.model_validate_json(aside.message).value == 7
        assert "never acknowledged" in aside.error


async def test_poison_is_parked_with_its_error_and_the_rest_of_its_batch_goes_through(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with client_of(redis.url) as client:
        kept, counted = Kept(), Counted()
        kept.poison = {13, 31}
        await Publisher(client).send(postings(0, 40))
        await client.xadd(STREAM, {FIELD: "{not json"})
        await client.xadd(STREAM, {"foreign": "entry"})
        await client.xadd(STREAM, {FIELD: metric(40).model_copy(update={"version": 2}).model_dump_json()})
        async with running(consumer(client, kept, counted)):
            await wait_until_settled(client)
        assert sorted(kept.seen) == sorted(set(range(40)) - kept.poison)
        assert set(kept.seen.values()) == {1}
        aside = await parked(client)
        assert counted.counts["parked"] == len(aside) == 5
        errors = [one.error for one in aside if "ZeroDivisionError" in one.error]
        assert errors == ["ZeroDivisionError: of [13]", "ZeroDivisionError: of [31]"]
        assert all(one.stream == STREAM and one.group == GROUP and one.entry for one in aside)
        assert await parked_count(client, STREAM) == 5
        lines = [record.__dict__ for record in caplog.records if record.message == "a message is parked"]
        assert sorted((line.get("uid", ""), line.get("traceId", "")) for line in lines) == [
            ("", ""),
            ("", ""),
            ("", ""),
            ("uid-13", TRACE),
            ("uid-31", TRACE),
        ]


async def test_while_what_it_writes_to_is_away_nothing_is_lost_parked_or_given_to_another(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        kept, other, counted, beside = Kept(), Kept(), Counted(), Counted()
        kept.away = other.away = True
        await Publisher(client).send(postings(0, 120))
        async with running(consumer(client, kept, counted)), running(consumer(client, other, beside, name="two")):
            await asyncio.sleep(10 * QUICK.idle)
            assert not kept.seen
            kept.away = other.away = False
            await wait_until_settled(client)
        assert set((kept.seen + other.seen).values()) == {1}
        assert len(kept.seen + other.seen) == 120
        assert counted.counts["parked"] + beside.counts["parked"] == 0
        assert counted.counts["claimed"] + beside.counts["claimed"] == 0, "who is alive keeps what it has"


async def test_redis_is_stopped_and_killed_under_load(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        # Long enough for all: consumers may be away for longer than the one who writes.
        kept, publisher = Kept(), Publisher(client, lengths={STREAM: 100_000})

        async def produce() -> None:
            pauses = Pauses()
            for start in range(0, 20_000, 100):
                while True:
                    try:
                        await publisher.send(postings(start, start + 100))
                        break
                    except BusUnavailable:
                        await pauses.wait()

        producing = asyncio.create_task(produce())
        async with running(consumer(client, kept)), running(consumer(client, kept, name="two")):
            for end in (redis.stop, redis.kill):
                await asyncio.sleep(0.5)
                await asyncio.to_thread(end)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(redis.start)
            await asyncio.wait_for(producing, 60)
            await until(lambda: len(kept.seen) == 20_000, 60)
            await wait_until_settled(client)


async def test_a_group_is_made_anew_where_the_server_has_lost_its_data(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        kept, publisher = Kept(), Publisher(client)
        async with running(consumer(client, kept)):
            await publisher.send(postings(0, 10))
            await until(lambda: len(kept.seen) == 10)
            await client.flushall()
            await publisher.send(postings(10, 20))
            await until(lambda: len(kept.seen) == 20)


async def test_what_was_trimmed_unhandled_is_told(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        await Publisher(client).send(postings(0, 50))
        await dying(redis, "killed", of="all")
        await client.xtrim(STREAM, maxlen=10, approximate=False)
        kept, counted = Kept(), Counted()
        async with running(consumer(client, kept, counted)):
            await until(lambda: len(kept.seen) == 10)
            await wait_until_settled(client)
        assert counted.counts["lost"] == 40


async def test_told_to_stop_during_an_outage_it_ends_and_its_entries_stay_pending(redis: Redis) -> None:
    async with client_of(redis.url) as client:
        kept = Kept()
        kept.away = True
        await Publisher(client).send(postings(0, 5))
        async with running(consumer(client, kept)):
            await until(lambda: settled(client, pending=5))
        assert await settled(client, pending=5)
        kept.away = False
        async with running(consumer(client, kept)):
            await until(lambda: len(kept.seen) == 5)


@pytest.mark.parametrize("count", [1, 1200])
async def test_a_batch_arrives_whole_and_streams_are_kept_to_their_length(redis: Redis, count: int) -> None:
    async with client_of(redis.url) as client:
        await Publisher(client, lengths={STREAM: 500}).send(postings(0, count))
        assert 1 <= await client.xlen(STREAM) <= min(count, 700)
