"""The archive: what the stream brings and what it lost, each link provable, however often it comes."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from ossa.audit.segment import Segment, is_proven
from ossa.bus.connection import connect
from ossa.bus.consumer import Consumer, Pace, TryAgain
from ossa.bus.group import Group
from ossa.bus.messages import AUDIT
from ossa.bus.segments import AuditSegment
from ossa.monitor.archive import GROUP, Archiver, Forged, gaps
from ossa.store.errors import Damaged
from ossa.store.records.pool import Records
from ossa.store.trailarchive import Name, TrailArchive
from tests.unit.audit.running import KEYS, archived, now, on_stream, record_many, verified, writing
from tests.unit.audit.trails import NOW, Written, chain_of, entry_of
from tests.unit.servers import Postgres, Redis


def folder(path: Path) -> TrailArchive:
    return TrailArchive.open(path.as_uri())


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a server that speaks S3's protocol."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    httpx.put(f"http://{host}:{port}/ossa-audit").raise_for_status()
    yield "s3://ossa-audit/trail"
    server.stop()


class Quiet:
    """An observer that keeps what was parked."""

    def __init__(self) -> None:
        self.parked_entries = 0

    def handled(self, stream: str, group: str, *, messages: int, seconds: float) -> None: ...
    def failed(self, stream: str, group: str) -> None: ...
    def claimed(self, stream: str, group: str, messages: int) -> None: ...
    def lost(self, stream: str, group: str, messages: int) -> None: ...
    def parked(self, stream: str, group: str) -> None:  # noqa: ARG002 - as the protocol has it
        self.parked_entries += 1


def archiver(archive: TrailArchive, records: Records, *, later: timedelta = timedelta(0)) -> Archiver:
    return Archiver(archive, records, KEYS, clock=lambda: now() + later, linger=0)


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(1, 30), st.integers(0, 9)), max_size=6))
def test_gaps_and_ranges_are_all_there_is(last: int, held: list[tuple[int, int]]) -> None:
    ranges = [(first, first + length) for first, length in held]
    covered = {number for low, high in ranges for number in range(low, high + 1)}
    missing = [number for low, high in gaps(ranges, 1, last) for number in range(low, high + 1)]
    assert missing == [number for number in range(1, last + 1) if number not in covered]


async def test_an_object_holds_its_links_and_their_head(tmp_path: Path) -> None:
    written, archive = chain_of(3), folder(tmp_path)
    name = await archive.put(written.links, written.heads)
    assert name.path == "gateway-0/20260301t120000z-aa/000000000001-000000000003.jsonl.gz"
    assert Name.of(name.path) == name
    first = (tmp_path / name.path).read_bytes()
    lines = await archive.read(name)
    assert (lines.links, lines.heads) == (written.texts, [written.heads[0].text])
    assert json.loads(gzip.decompress(first).splitlines()[0])["seq"] == 1
    await archive.put(written.links, written.heads)
    assert (tmp_path / name.path).read_bytes() == first
    assert [held async for held in archive.names()] == [name]


@pytest.mark.parametrize(
    "spoiled", [b"", b"no gzip", gzip.compress(b"\xff", mtime=0), gzip.compress(b"{}", mtime=0)[:-4]]
)
async def test_an_object_that_cannot_be_unpacked_is_said_to_be_damaged(tmp_path: Path, spoiled: bytes) -> None:
    archive = folder(tmp_path)
    name = await archive.put(chain_of(1).links, chain_of(1).heads)
    (tmp_path / name.path).write_bytes(spoiled)
    with pytest.raises(Damaged, match="000000000001"):
        await archive.read(name)


async def test_what_the_stream_brings_is_archived_in_a_bucket(records_url: str, redis_url: str, bucket: str) -> None:
    archive = TrailArchive.open(bucket)
    async with writing(records_url, redis_url) as trail:
        for start in range(1, 60, 20):
            await record_many(trail, start, start + 19)
    segments = await on_stream(redis_url)
    random.Random(1).shuffle(segments)  # noqa: S311 - an order, no secret
    async with Records(records_url, application="test") as records:
        for segment in [*segments, *segments]:
            await archiver(archive, records).handle([segment])
        await archiver(archive, records).handle(segments)
    verdict = await archived(archive)
    assert (verdict.findings, verdict.links, verdict.proven) == ((), 62, 62)


async def test_a_group_consumes_and_parks_what_nobody_signed(records_url: str, redis_url: str, tmp_path: Path) -> None:
    forged = Written("gateway-9").write(2)
    forged.heads.append(chain_of(2).heads[0].model_copy(update={"writer": "gateway-9"}))
    message = AuditSegment(
        id="x",
        time=now(),
        source="api",
        segment=Segment.of(forged.links, forged.heads[0]),
    )
    async with writing(records_url, redis_url) as trail:
        await record_many(trail, 1, 30)
    client, observer = connect(redis_url, name="test"), Quiet()
    await client.xadd(AUDIT, {"message": message.model_dump_json()})
    async with Records(records_url, application="test") as records:
        group = Group(client, AUDIT, GROUP, "one")
        handler = archiver(folder(tmp_path), records).handle
        consumer = Consumer(group, AuditSegment, handler, observer=observer, pace=Pace(tries=1))
        consuming = asyncio.create_task(consumer.run())
        async with asyncio.timeout(20):
            while observer.parked_entries < 1 or (await archived(folder(tmp_path))).links < 32:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        consumer.stop()
        await consuming
    await client.aclose()
    verdict = await archived(folder(tmp_path))
    assert (verdict.findings, [chain.writer for chain in verdict.chains]) == ((), ["gateway-0"])


def test_a_segment_is_proven_as_a_whole() -> None:
    written = Written().write(3).sign()
    good = Segment.of(written.links, written.heads[0])
    assert is_proven(good, KEYS)
    other = Written().chain.append(entry_of(99), NOW)
    assert not is_proven(Segment.of([other, *written.links[1:]], written.heads[0]), KEYS)
    assert not is_proven(Segment.of(written.links[:2], written.heads[0]), KEYS)
    assert not is_proven(good.model_copy(update={"head": good.head.model_copy(update={"closed": True})}), KEYS)


async def test_what_a_wiped_redis_lost_comes_from_postgresql(
    records_url: str, redis_url: str, redis: Redis, tmp_path: Path
) -> None:
    archive = folder(tmp_path)
    async with writing(records_url, redis_url) as trail, Records(records_url, application="test") as records:
        await record_many(trail, 1, 20)
        await archiver(archive, records).handle(await on_stream(redis_url))
        await record_many(trail, 21, 40)
        redis.command("FLUSHALL")
        await record_many(trail, 41, 60)
        # Not yet: the stream may still bring it.
        assert await archiver(archive, records).catch_up() == 0
        late = archiver(archive, records, later=timedelta(minutes=3))
        assert await late.catch_up() > 0
        assert await late.catch_up() == 0
        await record_many(trail, 61, 70)
    async with Records(records_url, application="test") as records:
        assert await late_again(archive, records) > 0
    verdict = await archived(archive)
    assert (verdict.findings, verdict.links) == ((), 72)


async def late_again(archive: TrailArchive, records: Records) -> int:
    return await archiver(archive, records, later=timedelta(minutes=3)).catch_up()


async def test_what_the_stream_alone_had_comes_to_postgresql(
    records_url: str, redis_url: str, postgres: Postgres, tmp_path: Path
) -> None:
    async with writing(records_url, redis_url) as trail:
        await record_many(trail, 1, 5)
        postgres.kill()
        await record_many(trail, 6, 20)
        async with Records(records_url, application="test") as records:
            with pytest.raises(TryAgain):
                await archiver(folder(tmp_path), records).handle(await on_stream(redis_url))
        postgres.start()
    async with Records(records_url, application="test") as records:
        await archiver(folder(tmp_path), records).handle(await on_stream(redis_url))
    assert (await verified(records_url)).findings == ()
    assert (await archived(folder(tmp_path))).findings == ()


async def test_a_forged_segment_is_neither_archived_nor_recorded(records_url: str, tmp_path: Path) -> None:
    written = Written().write(1).sign()
    forged = written.heads[0].model_copy(update={"signature": "0" * 128})
    message = AuditSegment(id="x", time=now(), source="api", segment=Segment.of(written.links, forged))
    async with Records(records_url, application="test") as records:
        with pytest.raises(Forged, match="no known key"):
            await archiver(folder(tmp_path), records).handle([message])
    connection = await asyncpg.connect(records_url)
    assert await connection.fetchval("SELECT count(*) FROM audit") == 0
    await connection.close()
    assert [name async for name in folder(tmp_path).names()] == []
