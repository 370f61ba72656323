"""What admission keeps from the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from controllers.admission import heap
from controllers.admission.heap import Heap


class Made:
    """Holds itself: reference counts alone never free it."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_there_is_frozen_and_what_nobody_holds_is_not_kept() -> None:
    held, dropped = Made(), weakref.ref(Made())
    frozen = Heap()
    frozen.settle()
    assert dropped() is None
    assert gc.get_freeze_count() > 0
    assert not any(item is held for item in gc.get_objects())  # of the generations that are walked over
    gone = weakref.ref(held)
    del held
    frozen.settle()  # what was frozen before is looked at again
    assert gone() is None


async def test_many_changes_are_settled_once_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap, "QUIET_SECONDS", 0.5)
    frozen, held = Heap(), Made()
    for _ in range(5):
        frozen.changed()
        await asyncio.sleep(0.01)
        assert any(item is held for item in gc.get_objects())
    await asyncio.sleep(1.0)
    assert not any(item is held for item in gc.get_objects())
