"""The log of the artifact service's outages, from the EndpointSlices that the API server tells of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controllers.outages import REMEMBERED, OutageLog


def endpoints(name: str = "slice-1", *ready: bool | None) -> dict[str, Any]:
    return {"metadata": {"name": name}, "endpoints": [{"conditions": {"ready": is_ready}} for is_ready in ready]}


class World:
    def __init__(self) -> None:
        self.told = 0
        self.log = OutageLog(self._tell)

    def _tell(self) -> None:
        self.told += 1

    def is_open(self) -> bool:
        return bool(self.log.outages) and self.log.outages[-1].end is None


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_is_down_before_anything_is_known(world: World) -> None:
    assert world.log.outages == ()


def test_one_ready_endpoint_is_up(world: World) -> None:
    world.log.replaced([endpoints("a", False), endpoints("b", False, True)], 1)
    assert (world.log.outages, world.told) == ((), 0)


@pytest.mark.parametrize("down", [[], [endpoints("a")], [endpoints("a", False)], [endpoints("a", None)]])
def test_no_ready_endpoint_is_an_outage(world: World, down: list[dict[str, Any]]) -> None:
    world.log.replaced([endpoints("a", True)], 1)
    before = datetime.now(UTC)
    world.log.replaced(down, 2)
    assert world.is_open()
    assert before <= world.log.outages[0].start <= datetime.now(UTC)
    assert world.told == 1


def test_down_already_at_the_start_it_was_down_before(world: World) -> None:
    """The process may have been started again in the middle of an outage, with tasks that have waited all along."""
    world.log.replaced([endpoints("a", False)], 1)
    assert world.is_open()
    assert datetime.now(UTC) - world.log.outages[0].start >= REMEMBERED


def test_it_is_told_once_when_it_begins_and_once_when_it_ends(world: World) -> None:
    world.log.changed("ADDED", endpoints("a", True))
    world.log.changed("MODIFIED", endpoints("a", False))
    world.log.changed("MODIFIED", endpoints("a"))
    assert world.told == 1
    world.log.changed("MODIFIED", endpoints("a", True))
    world.log.changed("MODIFIED", endpoints("a", True, True))
    assert world.told == 2
    [outage] = world.log.outages
    assert outage.end is not None
    assert outage.end >= outage.start


def test_the_deletion_of_the_slice_is_an_outage_and_another_slice_ends_it(world: World) -> None:
    world.log.changed("ADDED", endpoints("a", True))
    world.log.changed("DELETED", endpoints("a", True))
    assert world.is_open()
    world.log.advanced(7)
    world.log.changed("ADDED", endpoints("b", True))
    assert not world.is_open()


def test_several_outages_stand_in_their_order_and_old_ones_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controllers.outages.REMEMBERED", timedelta(0))
    world.log.changed("ADDED", endpoints("a", True))
    for up in (False, True, False):
        world.log.changed("MODIFIED", endpoints("a", up))
    assert [outage.end for outage in world.log.outages] == [None]
    assert world.is_open()
    monkeypatch.undo()
    for up in (True, False, True):
        world.log.changed("MODIFIED", endpoints("a", up))
    times = [moment for outage in world.log.outages for moment in (outage.start, outage.end)]
    assert len(times) == 4
    assert times == sorted(moment for moment in times if moment is not None)
