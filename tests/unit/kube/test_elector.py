"""The threads that take and renew a Lease, against a server that may be away, be late, or lose its answers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ossa.kube import paths
from ossa.kube.config import KubeConfig
from ossa.kube.elector import EXIT_LOST, Elector, LeaseClient
from ossa.kube.lease import Pace, first_epoch
from tests.unit.controllers.apiserver import ApiServer, failure
from tests.unit.waiting import until

ROOT = Path(__file__).parents[3]
LEASES = paths.leases("ossa-system")
LEASE = paths.leases("ossa-system", "lead")
# Where the process would end, only the thread does here, by an exception that pytest would report.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
# A lease's duration is a whole number of seconds.
PACE = Pace(lease=1.0, hold=0.8, renew=0.1, look=0.05, again=0.05)
# Where nobody is to lose the Lease: a machine may stand still for a while.
PATIENT = Pace(lease=4.0, hold=3.0, renew=0.1, look=0.05, again=0.05)


class Server(ApiServer):
    """One that may hang or fail, and may lose the answer to a write that took effect."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = self.fails = False
        self.answers_to_lose = 0

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self.hangs:
            await asyncio.sleep(60)
        if self.fails:
            return failure(500, "InternalError", "etcd is away")
        answer = await super()._answer(request)
        if request.method != "GET" and self.answers_to_lose:
            self.answers_to_lose -= 1
            assert request.transport is not None
            request.transport.abort()
        return answer

    @property
    def spec(self) -> dict[str, Any]:
        """What the Lease says."""
        spec: dict[str, Any] = self.objects[LEASE]["spec"]
        return spec

    def change(self, **fields: Any) -> None:
        """Somebody writes into the Lease's spec."""
        item = self.objects[LEASE]
        self.put(LEASES, {**item, "spec": {**item["spec"], **fields}})

    def held_by(self, holder: str, epoch: int) -> None:
        """There is a Lease, of somebody else."""
        spec = {"holderIdentity": holder, "leaseTransitions": epoch, "leaseDurationSeconds": 1, "renewTime": "x"}
        self.create(LEASES, {"metadata": {"name": "lead"}, "spec": spec})


class Candidate:
    """An elector, and why and when it ended."""

    def __init__(self, config: KubeConfig, identity: str, pace: Pace) -> None:
        self.ends: list[tuple[str, float]] = []
        self.elector = Elector(LeaseClient(config, "ossa-system", "lead"), identity=identity, pace=pace, end=self._end)
        self.elector.start()

    def _end(self, reason: str) -> None:
        self.ends.append((reason, time.monotonic()))
        raise SystemExit  # ends the thread, in place of the process

    async def leads(self, within: float = 3.0) -> int:
        return await asyncio.wait_for(asyncio.wrap_future(self.elector.elected), within)

    async def ended(self, within: float = 3.0) -> str:
        await until(lambda: bool(self.ends), within)
        return self.ends[0][0]


@asynccontextmanager
async def served(pace: Pace = PACE) -> AsyncIterator[tuple[Server, Callable[[str], Candidate]]]:
    server, candidates = Server(), list[Candidate]()
    async with server.served() as config:

        def stand(identity: str) -> Candidate:
            candidates.append(Candidate(config, identity, pace))
            return candidates[-1]

        try:
            yield server, stand
        finally:
            server.hangs = False
            for candidate in candidates:
                await asyncio.to_thread(candidate.elector.resign)
    assert not [thread for thread in threading.enumerate() if thread.name == "lease"]


async def test_the_first_one_makes_the_lease_and_renews_it() -> None:
    async with served(PATIENT) as (server, stand):
        candidate = stand("a")
        epoch = await candidate.leads()
        assert 0 <= first_epoch(datetime.now(UTC)) - epoch <= 3
        first = server.spec
        assert (first["holderIdentity"], first["leaseTransitions"]) == ("a", epoch)
        assert first["leaseDurationSeconds"] == 4
        await asyncio.sleep(PATIENT.lease + 1)
        assert candidate.ends == []
        assert candidate.elector.in_touch()
        assert server.spec["renewTime"] > first["renewTime"]
        assert server.spec["leaseTransitions"] == epoch


async def test_the_second_one_waits_until_the_first_resigns() -> None:
    async with served(PATIENT) as (server, stand):
        first = stand("a")
        epoch = await first.leads()
        second = stand("b")
        await asyncio.sleep(PATIENT.lease + 1)
        assert not second.elector.elected.done()
        assert second.elector.in_touch()
        await asyncio.to_thread(first.elector.resign)
        assert await second.leads(within=PATIENT.hold) == epoch + 1
        assert server.spec["holderIdentity"] == "b"
        assert first.ends == second.ends == []


async def test_one_that_died_is_waited_for_and_then_replaced() -> None:
    async with served() as (server, stand):
        server.held_by("dead", 41)
        began = time.monotonic()
        assert await stand("a").leads() == 42
        assert PACE.lease <= time.monotonic() - began < PACE.lease + 2


async def test_one_that_meets_a_conflict_looks_again() -> None:
    async with served(PATIENT) as (server, stand):
        candidates = [stand(name) for name in "abcde"]
        await until(lambda: any(c.elector.elected.done() for c in candidates))
        await asyncio.sleep(PATIENT.lease + 1)
        (leader,) = [c for c in candidates if c.elector.elected.done()]
        assert server.spec["holderIdentity"] == leader.elector.identity
        assert [c.ends for c in candidates] == [[]] * 5


async def test_a_server_that_hangs_ends_the_leader_in_time() -> None:
    """The request takes longer than the Lease: the other thread ends the process."""
    async with served(Pace(lease=6.0, hold=2.0, renew=0.1, look=0.05, again=0.05)) as (server, stand):
        candidate = stand("a")
        await candidate.leads()
        server.hangs, hung = True, time.monotonic()
        assert "was not renewed for 2 s" in await candidate.ended(within=10)
        assert candidate.ends[0][1] - hung < 5  # well before the Lease is over
        await until(lambda: not candidate.elector.in_touch())


async def test_one_that_waits_bears_a_server_that_is_away() -> None:
    async with served() as (server, stand):
        server.held_by("other", 1)
        candidate = stand("a")
        await until(candidate.elector.in_touch)
        server.fails = True
        await until(lambda: not candidate.elector.in_touch())
        server.change(holderIdentity=None)
        assert not candidate.elector.elected.done()
        server.fails = False
        assert await candidate.leads() == 2
        assert candidate.elector.in_touch()


async def test_another_leader_ends_it_at_once() -> None:
    async with served() as (server, stand):
        candidate = stand("a")
        epoch = await candidate.leads()
        server.change(holderIdentity="b", leaseTransitions=epoch + 1)
        assert "is another's" in await candidate.ended(within=3)
        assert server.spec["holderIdentity"] == "b"


async def test_a_lease_that_is_deleted_ends_it_and_a_new_one_is_above_it() -> None:
    async with served() as (server, stand):
        candidate = stand("a")
        server_epoch = await candidate.leads()
        await asyncio.sleep(1.0)  # epochs of new Leases count seconds
        server.remove(LEASE)
        assert "is another's: None" in await candidate.ended(within=3)
        assert await stand("b").leads() > server_epoch


async def test_a_lost_answer_to_the_acquisition_is_another_epoch() -> None:
    async with served() as (server, stand):
        server.held_by("dead", 7)
        server.change(holderIdentity=None)
        server.answers_to_lose = 1
        assert await stand("a").leads() == 9
        assert server.spec["leaseTransitions"] == 9


async def test_a_lost_answer_to_a_renewal_changes_nothing() -> None:
    async with served(PATIENT) as (server, stand):
        candidate = stand("a")
        epoch = await candidate.leads()
        server.answers_to_lose = 3
        await until(lambda: server.answers_to_lose == 0)
        await asyncio.sleep(PATIENT.lease)
        assert candidate.ends == []
        assert (server.spec["holderIdentity"], server.spec["leaseTransitions"]) == ("a", epoch)


async def test_who_labels_the_lease_does_no_harm() -> None:
    async with served(PATIENT) as (server, stand):
        candidate = stand("a")
        epoch = await candidate.leads()
        for number in range(5):
            item = server.objects[LEASE]
            server.put(LEASES, {**item, "metadata": {**item["metadata"], "labels": {"n": str(number)}}})
            await asyncio.sleep(0.1)
        await asyncio.sleep(PATIENT.lease)
        assert candidate.ends == []
        assert server.spec["leaseTransitions"] == epoch
        assert server.objects[LEASE]["metadata"]["labels"] == {"n": "4"}


# --- a process ---

BUSY = """
import sys
from ossa.kube.config import KubeConfig
from ossa.kube.elector import Elector, LeaseClient
from ossa.kube.lease import Pace

config = KubeConfig(server=sys.argv[1], token=lambda: None, namespace="x")
pace = Pace(lease=1.0, hold=0.8, renew=0.1, look=0.05, again=0.05)
elector = Elector(LeaseClient(config, "ossa-system", "lead"), identity="busy", pace=pace)
elector.start()
print(elector.elected.result(), flush=True)
while True:
    sum(range(1000))
"""


@asynccontextmanager
async def busy(config: KubeConfig) -> AsyncIterator[asyncio.subprocess.Process]:
    """A leader whose main thread never pauses; it leads by the time it is handed out."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BUSY, config.server, stdout=pipe, stderr=pipe, env={"PYTHONPATH": str(ROOT)}
    )
    assert process.stdout is not None
    try:
        assert int(await asyncio.wait_for(process.stdout.readline(), 20)) > 0
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_a_process_that_is_busy_renews() -> None:
    server = Server()
    async with server.served() as config, busy(config) as process:
        epoch = server.spec["leaseTransitions"]
        await asyncio.sleep(2 * PACE.lease)
        assert process.returncode is None
        assert server.spec["leaseTransitions"] == epoch


async def test_a_process_that_was_stopped_for_too_long_ends_when_it_goes_on() -> None:
    server = Server()
    async with server.served() as config, busy(config) as process:
        process.send_signal(signal.SIGSTOP)
        version = server.objects[LEASE]["metadata"]["resourceVersion"]
        await asyncio.sleep(PACE.hold + 0.3)
        assert server.objects[LEASE]["metadata"]["resourceVersion"] == version
        process.send_signal(signal.SIGCONT)
        assert await asyncio.wait_for(process.wait(), 5) == EXIT_LOST
        assert process.stderr is not None
        assert b"was not renewed for 0.8 s" in await process.stderr.read()
        assert server.spec["holderIdentity"] == "busy"  # it released nothing: it may be another's


async def test_a_process_that_was_stopped_for_a_moment_goes_on() -> None:
    server = Server()
    async with server.served() as config, busy(config) as process:
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(PACE.hold / 4)
        process.send_signal(signal.SIGCONT)
        await asyncio.sleep(PACE.lease)
        assert process.returncode is None
