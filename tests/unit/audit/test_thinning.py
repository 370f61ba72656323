"""A flood of refusals becomes few entries, and no refusal goes uncounted."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from ossa.audit.thinning import Thinning
from tests.unit.audit.trails import NOW, entry_of


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40)), max_size=300))
def test_none_is_lost_and_few_are_written(steps: list[tuple[int, int]]) -> None:
    thinning, now, written = Thinning(single=3, kinds=2), NOW, []
    for seconds, address in steps:
        now += timedelta(seconds=seconds)
        written += thinning.take(entry_of(address=f"10.0.0.{address}", outcome="denied"), now)
    written += thinning.tell(now, all_of_it=True)
    assert sum(entry.count for entry in written) == len(steps)
    windows = (now - NOW) // timedelta(seconds=60) + 1
    assert len(written) <= windows * (3 + 2 + 1)
    assert not thinning.counted


def test_one_kind_is_told_once_its_window_is_over() -> None:
    thinning = Thinning(single=1)
    refused = entry_of(address="10.0.0.1", verb="sign-in", outcome="denied", status=401, reason="wrong password")
    assert thinning.take(refused, NOW) == [refused]
    assert [thinning.take(refused, NOW + timedelta(seconds=at)) for at in range(9)] == [[]] * 9
    assert thinning.counted == {"sign-in": 9}
    assert thinning.tell(NOW + timedelta(seconds=59)) == []
    (told,) = thinning.tell(NOW + timedelta(seconds=60))
    assert (told.count, told.address, told.user, told.status) == (9, "10.0.0.1", "", 401)
    assert "wrong password" in told.reason
    assert told.id != refused.id  # which may come again, and is then not known yet
