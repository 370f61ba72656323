"""The outbox: the newest state of each object, written once, and again where that is not known."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from ossa.api.base import JSONObject
from ossa.monitor import outbox as outboxes
from ossa.monitor.outbox import Change, Outbox, SinkUnavailable
from ossa.monitor.states import State, about
from tests.unit.monitor import states
from tests.unit.records.objects import execution, uid
from tests.unit.waiting import until


class Memory:
    """A sink that keeps what it is told; fails for as long as `down`, or after it has written, `torn` times."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.has: dict[str, int] = {}
        self.down, self.torn, self.asked = False, 0, 0
        self.began, self.hold = asyncio.Event(), asyncio.Event()
        self.hold.set()

    async def write(self, changes: Sequence[Change]) -> None:
        self.began.set()
        await self.hold.wait()
        if self.down:
            raise SinkUnavailable("down")
        self.changes += changes
        for change in changes:
            self.has[change.uid] = change.version
            if change.now is None:
                del self.has[change.uid]
        if self.torn:
            self.torn -= 1
            raise SinkUnavailable("the connection broke after the commit")

    async def recorded(self) -> Mapping[str, Mapping[str, int]]:
        if self.down:
            raise SinkUnavailable("down")
        self.asked += 1
        return {"executions": dict(self.has)}


class World:
    """Objects, and the outbox that hears of them."""

    def __init__(self, sink: Memory) -> None:
        self.sink = sink
        self.outbox = Outbox("memory", sink)
        self.current: dict[str, State] = {}

    def put(self, item: JSONObject, *, deleted: bool = False) -> State:
        state = State.of("executions", item, deleted=deleted)
        if deleted:
            self.current.pop(state.uid, None)
        else:
            self.current[state.uid] = state
        self.outbox.put(state)
        return state

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.outbox.run(self.current))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def settled(self) -> None:
        await until(lambda: not self.outbox.pending and self.sink.asked > 0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outboxes, "LINGER", 0.01)
    monkeypatch.setattr(outboxes, "BACKOFF_FIRST", 0.01)


async def test_the_newest_state_is_written_with_the_one_before() -> None:
    world = World(Memory())
    async with world.running():
        world.put(execution("e", version=1))
        await world.settled()
        for version in range(2, 50):
            world.put(execution("e", version=version))
        await world.settled()
    assert [change.version for change in world.sink.changes] == [1, 49]
    assert world.sink.changes[0].before is None
    assert (world.sink.changes[1].before or {})["metadata"]["resourceVersion"] == "1"
    assert world.outbox.lag == 0


async def test_an_older_state_never_replaces_a_newer_one() -> None:
    world = World(Memory())
    world.put(execution("e", version=5))
    world.outbox.put(State.of("executions", execution("e", version=4)))
    async with world.running():
        await world.settled()
    assert [change.version for change in world.sink.changes] == [5]


async def test_a_deleted_object_is_written_as_it_was_last_and_then_as_deleted() -> None:
    world = World(Memory())
    world.put(execution("e", version=1))
    world.put(execution("e", version=2, phase="Completed"), deleted=True)
    async with world.running():
        await world.settled()
    last, gone = world.sink.changes
    assert (last.now or {})["status"]["phase"] == "Completed"
    assert gone.now is None
    assert gone.before == last.now
    assert world.sink.has == {}


async def test_while_a_sink_is_away_the_outbox_holds_each_object_once() -> None:
    world = World(Memory())
    world.sink.down = True
    async with world.running():
        for version in range(1, 200):
            world.put(execution(f"e{version % 3}", version=version))
            await asyncio.sleep(0)
        assert world.outbox.pending == 3
        await until(lambda: world.outbox.failures > 0 and world.outbox.lag > 0.05)
        world.sink.down = False
        await world.settled()
    assert sorted(world.sink.has.values()) == [197, 198, 199]


async def test_what_was_written_without_an_answer_is_found_to_be_there() -> None:
    world = World(Memory())
    world.sink.torn = 1
    async with world.running():
        world.put(execution("e", version=1))
        await world.settled()
        assert len(world.sink.changes) == 1
        world.put(execution("e", version=2))
        await world.settled()
    assert (world.sink.changes[1].before or {})["metadata"]["resourceVersion"] == "1"


async def test_at_the_start_only_what_differs_is_written() -> None:
    sink = Memory()
    sink.has = {uid("Execution/same"): 1, uid("Execution/changed"): 1, uid("Execution/gone"): 1}
    world = World(sink)
    for name, version in (("same", 1), ("changed", 2), ("new", 1)):
        state = State.of("executions", execution(name, version=version))
        world.current[state.uid] = state
    async with world.running():
        await world.settled()
        assert {(change.uid, change.now is None) for change in sink.changes} == {
            (uid("Execution/changed"), False),
            (uid("Execution/new"), False),
            (uid("Execution/gone"), True),
        }
        world.put(execution("same", version=2))
        await world.settled()
    # What it has is known without having been written by this process.
    assert (sink.changes[-1].before or {})["metadata"]["resourceVersion"] == "1"


async def test_a_database_that_was_set_back_gets_all_again() -> None:
    world = World(Memory())
    async with world.running():
        for name in "abc":
            world.put(execution(name))
        await world.settled()
        world.sink.down = True
        world.put(execution("a", version=2))
        await until(lambda: world.outbox.failures > 0)
        world.sink.has.clear()
        world.sink.down = False
        await world.settled()
    assert sorted(world.sink.has.values()) == [1, 1, 2]
    assert all(change.before is None for change in world.sink.changes[-3:])


async def test_what_changes_while_it_is_written_is_written_again() -> None:
    world = World(Memory())
    async with world.running():
        world.sink.hold.clear()
        world.put(execution("e", version=1))
        await world.sink.began.wait()
        world.put(execution("e", version=2))
        world.sink.hold.set()
        await world.settled()
    assert [change.version for change in world.sink.changes] == [1, 2]


def test_of_too_many_deleted_objects_the_oldest_lose_their_last_state(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outboxes, "DELETED", 2)
    world = World(Memory())
    for number in range(4):
        world.put(execution(f"e{number}", version=number + 1), deleted=True)
    held = [world.outbox._pending[uid(f"Execution/e{number}")] for number in range(4)]
    assert [state.read() is None for state in held] == [True, True, False, False]
    assert all(state.deleted for state in held)
    lost = [record.__dict__ for record in caplog.records]
    assert [(line["execution"], line["uid"]) for line in lost] == [(f"e{n}", uid(f"Execution/e{n}")) for n in (0, 1)]
    assert all(line["namespace"] and len(line["traceId"]) == 32 for line in lost)


def test_a_state_is_read_as_it_was_without_managed_fields() -> None:
    item = execution("e", metadata={"managedFields": [{"manager": "kubectl"}]})
    read = State.of("executions", item).read()
    assert read is not None
    assert "managedFields" not in read["metadata"]
    assert read["spec"] == item["spec"]
    assert State.gone("executions", "u", 3).read() is None


def test_what_a_line_of_the_log_says_of_an_object() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    item = states.execution(traceId=trace)
    known = {"kind": "executions", "namespace": "team", "execution": "run", "uid": states.UID, "traceId": trace}
    assert about("executions", states.UID, item) == known
    assert about("executions", states.UID, None) == {"kind": "executions", "uid": states.UID}
    waiting = {"namespace": "team", "object": "run-release", "execution": "run", "uid": states.UID}
    assert about("approvals", "approval-uid", states.approval()) == {"kind": "approvals", **waiting}
    policy = {"metadata": {"name": "strict"}}
    assert about("agentpolicies", "u", policy) == {
        "kind": "agentpolicies",
        "namespace": "",
        "object": "strict",
        "uid": "u",
    }
    for fields in (known, waiting):
        logging.getLogger("test").error("x", extra=fields)  # which refuses what a record has itself
