"""The queue: each key once, never worked on twice at once, and the heap of wake-ups."""

from __future__ import annotations

import asyncio

import pytest

from ossa.kube.queue import KeyQueue


async def drain(queue: KeyQueue[str]) -> list[str]:
    """All keys that are ready, in their order, each worked on at once."""
    taken = []
    while len(queue):
        key = await queue.take()
        taken.append(key)
        queue.done(key)
    return taken


async def nothing_comes(queue: KeyQueue[str], seconds: float = 0.05) -> bool:
    """Whether `take` waits for as long as this."""
    try:
        async with asyncio.timeout(seconds):
            await queue.take()
    except TimeoutError:
        return True
    return False


async def test_a_key_stands_in_it_once() -> None:
    queue: KeyQueue[str] = KeyQueue()
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert len(queue) == 2
    assert await drain(queue) == ["a", "b"]


async def test_lower_priority_goes_first_then_who_came_first() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add("root", priority=(1.0,))
    queue.add("successor", priority=(0.0,))
    queue.add("other root", priority=(1.0,))
    assert await drain(queue) == ["successor", "root", "other root"]


async def test_the_best_of_several_priorities_holds() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add("a", priority=(1.0,))
    queue.add("b", priority=(1.0,))
    queue.add("b", priority=(0.0,))
    queue.add("b", priority=(5.0,))
    assert await drain(queue) == ["b", "a"]


async def test_added_while_worked_on_it_comes_again_and_only_afterwards() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add("a")
    key = await queue.take()
    queue.add("a", priority=(3.0,))
    queue.add("a", priority=(2.0,))
    assert await nothing_comes(queue)
    queue.done(key)
    assert await drain(queue) == ["a"]
    assert await nothing_comes(queue)


async def test_take_wakes_up_for_a_key_that_comes_later() -> None:
    queue: KeyQueue[str] = KeyQueue()
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0.01)
    queue.add("a")
    assert await asyncio.wait_for(waiting, 1) == "a"


async def test_a_wake_up_comes_at_its_time() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_after("a", 0.05)
    began = asyncio.get_running_loop().time()
    assert await asyncio.wait_for(queue.take(), 1) == "a"
    assert 0.045 <= asyncio.get_running_loop().time() - began < 0.5


async def test_the_soonest_of_several_wake_ups_holds_and_the_rest_are_void() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_after("a", 0.08)
    queue.add_after("a", 0.02)
    queue.add_after("a", 30)
    assert await asyncio.wait_for(queue.take(), 1) == "a"
    queue.done("a")
    assert await nothing_comes(queue, 0.12)


async def test_a_wake_up_that_comes_sooner_wakes_who_waits_for_a_later_one() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_after("late", 30)
    waiting = asyncio.create_task(queue.take())
    await asyncio.sleep(0.01)
    queue.add_after("soon", 0.01)
    assert await asyncio.wait_for(waiting, 1) == "soon"


async def test_a_forgotten_key_is_not_woken() -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_after("gone", 0.02)
    queue.forget("gone")
    assert await nothing_comes(queue, 0.08)


@pytest.mark.parametrize("seconds", [0.0, -5.0])
async def test_a_wake_up_in_the_past_is_due_at_once(seconds: float) -> None:
    queue: KeyQueue[str] = KeyQueue()
    queue.add_after("a", seconds)
    assert await asyncio.wait_for(queue.take(), 1) == "a"


async def test_several_workers_share_it_and_none_has_the_key_of_another() -> None:
    queue: KeyQueue[int] = KeyQueue()
    busy: set[int] = set()
    worked: list[int] = []
    idle = asyncio.Event()

    async def work() -> None:
        while True:
            key = await queue.take()
            assert key not in busy
            busy.add(key)
            await asyncio.sleep(0)
            worked.append(key)
            busy.remove(key)
            queue.done(key)
            if not (busy or len(queue)):
                idle.set()

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for round_ in range(20):
        for key in range(10):
            queue.add(key)
        idle.clear()
        if round_ % 3 == 0:
            await asyncio.sleep(0)
    await asyncio.wait_for(idle.wait(), 2)
    for worker in workers:
        worker.cancel()
    results = await asyncio.gather(*workers, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert set(worked) == set(range(10))


async def test_how_long_a_key_waited_is_told() -> None:
    queue: KeyQueue[str] = KeyQueue()
    waited: list[float] = []
    queue.waited = waited.append
    queue.add("a", priority=(1.0,))
    await asyncio.sleep(0.03)
    queue.add("a", priority=(0.0,))  # in front of others now, it has waited all the same
    await queue.take()
    queue.add("a")
    await asyncio.sleep(0.03)
    queue.done("a")
    await queue.take()  # what was asked for while it was worked on waited for the end of that
    assert len(waited) == 2
    assert all(0.03 <= seconds < 1 for seconds in waited)


async def test_a_wake_up_waits_from_when_it_is_due() -> None:
    queue: KeyQueue[str] = KeyQueue()
    waited: list[float] = []
    queue.waited = waited.append
    queue.add_after("soon", 0.5)
    await asyncio.wait_for(queue.take(), 5)
    queue.add_after("late", 0.02)
    await asyncio.sleep(0.08)  # all workers are busy
    await queue.take()
    assert waited[0] < 0.4  # from when it was due
    assert 0.05 <= waited[1] < 1
