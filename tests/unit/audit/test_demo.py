"""The demo shows an archive that has what the rows have, though it is some seconds behind them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from hack.audittrail import LATE
from hack.audittrail import verified as verified_by_demo
from ossa.store.trailarchive import TrailArchive
from tests.unit.audit.running import on_stream, record_many, writing
from tests.unit.audit.trails import public_pem, signer_of


async def test_it_waits_for_the_archive_and_not_for_ever(tmp_path: Path, records_url: str, redis_url: str) -> None:
    async with writing(records_url, redis_url) as trail:
        await record_many(trail, 1, 1)
        await record_many(trail, 2, 5)
    (tmp_path / "archive").mkdir()
    (tmp_path / "keys.pem").write_text(public_pem(signer_of().public))
    archive = TrailArchive.open((tmp_path / "archive").as_uri())
    arriving = [message.segment for message in await on_stream(redis_url)]
    parts = len(arriving)
    assert parts > 1

    def fetch() -> list[str]:
        """One more object each time."""
        if arriving:
            segment = arriving.pop(0)
            asyncio.run(archive.put(segment.read(), [segment.head]))
        return sorted(path.name for path in (tmp_path / "archive").rglob("*.gz"))

    command = [sys.executable, "-m", "ossa.cli", "audit", "verify", "--store", (tmp_path / "archive").as_uri()]
    command += ["--keys", str(tmp_path / "keys.pem")]
    names, done = await asyncio.to_thread(verified_by_demo, fetch, command, records_url, seconds=0.0)
    assert (len(names), done.returncode, bool(LATE.search(done.stdout))) == (1, 0, True)
    names, done = await asyncio.to_thread(verified_by_demo, fetch, command, records_url, seconds=60.0)
    assert (len(names), done.returncode, LATE.search(done.stdout)) == (parts, 0, None)
    assert done.stdout.count("all proven") == 2
