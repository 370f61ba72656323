"""How the status keeps which versions of policies judged what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ossa.engine.judgedby import ALL_MOST, OVERFLOW, with_number, with_versions
from ossa.engine.ranges import format_ranges


def test_the_same_set_has_one_key() -> None:
    one, first = with_versions({}, ("a@1", "b@2"))
    two, again = with_versions(one, ("a@1", "b@2"))
    three, other = with_versions(two, ("a@1", "b@3"))
    assert first == again
    assert first != other
    assert three == {first: ["a@1", "b@2"], other: ["a@1", "b@3"]}


def test_it_stays_small_whatever_policies_there_are() -> None:
    held: dict[str, list[str]] = {}
    for turn in range(200):
        held, key = with_versions(held, tuple(f"policy-{'x' * 40}-{number}@{turn}" for number in range(500)))
    assert key == OVERFLOW
    assert sum(len(name) for names in held.values() for name in names) < ALL_MOST + 200
    assert any("more" in names[-1] for names in held.values())


@given(st.lists(st.integers(0, 40)))
def test_numbers_become_ranges(numbers: list[int]) -> None:
    held: dict[str, str] = {}
    for number in numbers:
        held = with_number(held, "key", number)
    assert held.get("key", "") == format_ranges(numbers)
