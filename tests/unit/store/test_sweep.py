"""Artifacts outlive their Execution by the grace, and by no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ossa.store.blobs import Blobs, Folder, Record
from ossa.store.errors import Unavailable
from ossa.store.objects import StoreUnusable
from ossa.store.sweep import Sweeper
from tests.unit.store.running import Cluster

GONE, ALIVE = Folder("lab", "gone"), Folder("lab", "alive")
RECORD = Record(pod_uid="u", pod="p", task="t", size=1, sha256="0" * 64, media_type="text/plain")


async def fill(blobs: Blobs, *folders: Folder) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    for folder in folders:
        await blobs.write(folder, b"0" * 16, body(), max_size=10)
        await blobs.commit(folder, b"0" * 16, RECORD)


class Rounds:
    """A sweeper with a clock that is turned by hand."""

    def __init__(self, data: Path, cluster: Cluster) -> None:
        self.now = 0.0
        self.blobs = Blobs.open(data.as_uri())
        self.sweeper = Sweeper(self.blobs, cluster, grace=600.0, clock=lambda: self.now)

    async def at(self, now: float) -> list[Folder]:
        self.now = now
        return await self.sweeper.sweep()


async def test_what_is_gone_goes_after_the_grace(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, Cluster(executions={"lab": frozenset({"alive"})}))
    await fill(rounds.blobs, GONE, ALIVE)
    (tmp_path / "lab" / "gone" / "half#1").write_bytes(b"left by a process that was killed")
    assert await rounds.at(0) == []
    assert await rounds.at(599) == []
    assert await rounds.at(600) == [GONE]
    assert sorted(path.name for path in (tmp_path / "lab").iterdir()) == ["alive"]
    assert await rounds.blobs.record(ALIVE, b"0" * 16) == RECORD
    assert await rounds.at(2000) == []


async def test_the_grace_starts_again_when_an_execution_was_seen_meanwhile(tmp_path: Path) -> None:
    cluster = Cluster()
    rounds = Rounds(tmp_path, cluster)
    await fill(rounds.blobs, GONE)
    assert await rounds.at(0) == []
    cluster.executions["lab"] = frozenset({"gone"})
    assert await rounds.at(700) == []
    cluster.executions["lab"] = frozenset()
    assert await rounds.at(800) == []
    assert await rounds.at(1400) == [GONE]


async def test_without_an_answer_of_the_cluster_nothing_goes(tmp_path: Path) -> None:
    cluster = Cluster()
    rounds = Rounds(tmp_path, cluster)
    await fill(rounds.blobs, GONE)
    await rounds.at(0)
    cluster.down = True
    with pytest.raises(Unavailable):
        await rounds.at(700)
    assert await rounds.blobs.folders() == [GONE]


async def test_deleting_twice_is_no_error(tmp_path: Path) -> None:
    blobs = Blobs.open(tmp_path.as_uri())
    await fill(blobs, GONE)
    await blobs.delete(GONE)
    await blobs.delete(GONE)
    assert await blobs.folders() == []


@pytest.mark.parametrize("url", ["file:///no/such/folder", "nonsense://x", "data"])
def test_a_store_that_cannot_be_opened_says_which(url: str) -> None:
    with pytest.raises(StoreUnusable, match=f"artifact store '{url}' cannot be opened"):
        Blobs.open(url)


async def test_what_another_execution_has_taken_over_stays(tmp_path: Path) -> None:
    cluster = Cluster(executions={"lab": frozenset({"alive"})}, taken_over={"alive": ("gone",)})
    rounds = Rounds(tmp_path, cluster)
    await fill(rounds.blobs, GONE, ALIVE)
    assert [await rounds.at(now) for now in (0, 600)] == [[], []]
    cluster.taken_over.clear()
    assert [await rounds.at(now) for now in (601, 1201)] == [[], [GONE]]
