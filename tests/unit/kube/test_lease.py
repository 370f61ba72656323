"""Who leads, decided from what was seen and when: case by case, and whatever happens in whatever order."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ossa.kube.elector import REQUEST_SECONDS
from ossa.kube.lease import (
    PACE,
    Held,
    Seen,
    Step,
    acquired,
    decide,
    first_epoch,
    is_ours,
    new_lease,
    record_of,
    released,
    renewed,
    see,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ME, OTHER = "pod-a_1", "pod-b_1"


def lease(holder: str | None, epoch: int = 7, *, renewed_at: str = "t1", seconds: int = 10) -> dict[str, Any]:
    spec = {
        "holderIdentity": holder,
        "leaseTransitions": epoch,
        "renewTime": renewed_at,
        "leaseDurationSeconds": seconds,
    }
    return {"metadata": {"name": "lead", "resourceVersion": "5", "labels": {"a": "b"}}, "spec": spec}


def step(found: dict[str, Any] | None, *, since: float, now: float, held: Held | None = None) -> Step:
    return decide(see(None, found, since), held, identity=ME, now=now)


# --- one that waits ---


def test_no_lease_is_made() -> None:
    assert step(None, since=100, now=100) is Step.ACQUIRE


def test_what_was_released_is_taken_at_once() -> None:
    assert step(lease(None), since=100, now=100) is Step.ACQUIRE
    assert step({"metadata": {}}, since=100, now=100) is Step.ACQUIRE


@pytest.mark.parametrize(("now", "expected"), [(100, Step.WAIT), (109.9, Step.WAIT), (110, Step.ACQUIRE)])
def test_another_s_is_taken_when_it_was_seen_unchanged_for_long_enough(now: float, expected: Step) -> None:
    assert step(lease(OTHER), since=100, now=now) is expected


def test_a_longer_lease_is_respected_and_a_shorter_one_is_not_believed() -> None:
    assert step(lease(OTHER, seconds=30), since=100, now=115) is Step.WAIT
    assert step(lease(OTHER, seconds=1), since=100, now=105) is Step.WAIT


def test_the_time_begins_anew_with_every_renewal_and_with_nothing_else() -> None:
    first = see(None, lease(OTHER), 100)
    assert see(first, lease(OTHER, renewed_at="t2"), 107) == Seen(record_of(lease(OTHER, renewed_at="t2")), 107)
    touched = lease(OTHER)
    touched["metadata"]["resourceVersion"] = "6"
    assert see(first, touched, 107).since == 100


def test_another_s_clock_counts_for_nothing() -> None:
    for time in ("1970-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z", "nonsense"):
        assert step(lease(OTHER, renewed_at=time), since=100, now=105) is Step.WAIT
        assert step(lease(OTHER, renewed_at=time), since=100, now=111) is Step.ACQUIRE


def test_one_that_was_not_told_of_its_acquisition_acquires_anew() -> None:
    assert step(lease(ME), since=100, now=100) is Step.ACQUIRE


# --- the leader ---


def test_it_gives_up_well_before_others_take_over_and_may_try_more_than_once() -> None:
    assert PACE.hold + 2 <= PACE.lease == int(PACE.lease)
    assert PACE.renew + REQUEST_SECONDS + PACE.again + PACE.renew < PACE.hold


@pytest.mark.parametrize(
    ("found", "now", "expected"),
    [
        (lease(ME), 107.9, Step.RENEW),
        (lease(ME), 108, Step.LOST),  # though nobody else has taken it yet
        (lease(OTHER, 8), 101, Step.LOST),
        (lease(ME, 8), 101, Step.LOST),
        (lease(None), 101, Step.LOST),
        (None, 101, Step.LOST),
    ],
)
def test_the_leader_renews_or_has_lost(found: dict[str, Any] | None, now: float, expected: Step) -> None:
    assert step(found, since=100, now=now, held=Held(7, 100 + PACE.hold)) is expected


# --- what is written ---


def test_every_acquisition_is_a_new_epoch() -> None:
    made = acquired(lease(OTHER, 7), ME, NOW)
    assert record_of(made) == record_of(lease(ME, 8, renewed_at="2026-01-01T12:00:00.000000Z"))
    assert made["metadata"] == lease(OTHER)["metadata"]  # with the version that was read: it is the lock


def test_a_lease_made_from_nothing_begins_above_one_that_was_deleted() -> None:
    made = acquired(new_lease("ossa-system", "lead"), ME, NOW)
    assert made["spec"]["leaseTransitions"] == first_epoch(NOW) == 189_432_000
    assert "resourceVersion" not in made["metadata"]
    assert first_epoch(datetime(2088, 1, 1, tzinfo=UTC)) < 2**31


def test_a_renewal_and_a_release_keep_the_epoch() -> None:
    assert record_of(renewed(lease(ME), NOW)).epoch == record_of(released(lease(ME), NOW)).epoch == 7
    assert record_of(renewed(lease(ME), NOW)).holder == ME
    assert record_of(released(lease(ME), NOW)).holder is None
    assert renewed(lease(ME), NOW)["spec"]["renewTime"] == "2026-01-01T12:00:00.000000Z"


# --- whatever happens ---


@dataclass(eq=False)
class Process:
    """One of those that want to lead, as the thread in ossa/kube/elector.py does it."""

    identity: str
    seen: Seen | None = None
    held: Held | None = None
    lease: dict[str, Any] | None = None
    waits_for: Write | None = None  # one request at a time: the answer to one that was given up is never read


@dataclass(eq=False)
class Write:
    """A request on its way: it may arrive late, or when its sender no longer waits for it."""

    sender: Process
    body: dict[str, Any]
    sent: float
    answer: dict[str, Any] | None = None


@dataclass
class Server:
    """The Lease, with the lock that the API server holds."""

    lease: dict[str, Any] | None = None
    version: int = 0
    epochs: list[tuple[int, str]] = field(default_factory=list)

    def write(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """The Lease as it is then; None for a conflict."""
        now = self.lease["metadata"]["resourceVersion"] if self.lease is not None else None
        if body["metadata"].get("resourceVersion") != now:
            return None
        self.version += 1
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        record = record_of(self.lease)
        if record.holder is not None and (record.epoch, record.holder) not in self.epochs:
            self.epochs.append((record.epoch, record.holder))
        return self.lease


INDEX = st.integers(0, 2)


class Election(RuleBasedStateMachine):
    """Three processes, and requests and answers that take any time. One that is stopped does nothing for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.lives = 0
        self.server = Server()
        self.processes = [self.born() for _ in range(3)]
        self.writes: list[Write] = []

    def born(self) -> Process:
        self.lives += 1
        return Process(f"p{self.lives}")

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds

    @rule(index=INDEX, after=st.sampled_from([0.0, 1.0, 2.0, 7.0]))
    def one_takes_a_turn(self, index: int, after: float) -> None:
        """As it mostly goes: all requests are answered at once."""
        self.now += after
        process, before = self.processes[index], len(self.writes)
        if process.held is None:
            self.one_reads(index)
        self.one_decides(index)
        for write in self.writes[before:]:
            self._arrives(write)
            if write.answer is not None:
                self._answered(write)

    @rule(index=INDEX)
    def one_reads(self, index: int) -> None:
        process = self.processes[index]
        process.lease = self.server.lease
        process.seen = see(process.seen, self.server.lease, self.now)

    @rule(index=INDEX)
    def one_decides(self, index: int) -> None:
        process = self.processes[index]
        if process.seen is None:
            return
        at = NOW + timedelta(seconds=self.now)
        found = process.lease or new_lease("ossa-system", "lead")
        match decide(process.seen, process.held, identity=process.identity, now=self.now):
            case Step.ACQUIRE:
                self._sends(process, acquired(found, process.identity, at))
            case Step.RENEW:
                self._sends(process, renewed(found, at))
            case Step.LOST:
                self.processes[index] = self.born()
            case _:
                pass

    def _sends(self, process: Process, body: dict[str, Any]) -> None:
        process.waits_for = Write(process, body, self.now)
        self.writes.append(process.waits_for)

    @rule(data=st.data())
    def a_request_arrives(self, data: st.DataObject) -> None:
        writes = [write for write in self.writes if write.answer is None]
        if writes:
            self._arrives(data.draw(st.sampled_from(writes)))

    def _arrives(self, write: Write) -> None:
        write.answer = self.server.write(write.body)
        if write.answer is None:
            self.writes.remove(write)

    @rule(data=st.data(), lost=st.booleans())
    def an_answer_arrives_or_is_lost(self, data: st.DataObject, lost: bool) -> None:
        answered = [write for write in self.writes if write.answer is not None]
        if not answered:
            return
        write = data.draw(st.sampled_from(answered))
        if lost or write.sender.waits_for is not write or write.sender not in self.processes:
            self.writes.remove(write)
        else:
            self._answered(write)

    def _answered(self, write: Write) -> None:
        self.writes.remove(write)
        process = write.sender
        process.lease = write.answer
        process.seen = see(process.seen, write.answer, self.now)
        process.held = Held(record_of(write.body).epoch, write.sent + PACE.hold)

    @rule(index=INDEX)
    def one_ends_in_order(self, index: int) -> None:
        process = self.processes[index]
        held, lease = process.held, process.lease
        if held is not None and lease is not None and is_ours(record_of(lease), held, identity=process.identity):
            process.held = None
            self.server.write(released(lease, NOW + timedelta(seconds=self.now)))
        self.processes[index] = self.born()

    @rule(index=INDEX)
    def one_dies(self, index: int) -> None:
        self.processes[index] = self.born()

    @invariant()
    def one_leads_at_most(self) -> None:
        leaders = [p for p in self.processes if p.held is not None and self.now < p.held.until]
        assert len(leaders) <= 1, leaders

    @invariant()
    def an_epoch_is_one_life(self) -> None:
        epochs = [epoch for epoch, _ in self.server.epochs]
        assert epochs == sorted(set(epochs)), self.server.epochs

    @invariant()
    def the_leader_has_the_newest_epoch(self) -> None:
        for process in self.processes:
            if process.held is not None and self.now < process.held.until:
                assert (process.held.epoch, process.identity) == self.server.epochs[-1]


Election.TestCase.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
TestElection = Election.TestCase
