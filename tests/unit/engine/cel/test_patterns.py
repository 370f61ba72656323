"""What regular expressions come to with their repetitions written out."""

from __future__ import annotations

import pytest

from ossa.engine.cel.patterns import LONG, MOST_WEIGHT, heaviest, weight


@pytest.mark.parametrize(
    ("pattern", "least", "most"),
    [
        ("", 1, 1),
        ("abc", 3, 3),
        ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", 5, 15),
        ("^[a-z0-9.-]{1,63}$", 63, 140),
        ("a{1000}", 1000, 1001),
        ("a{1000,}", 1000, 1001),
        ("(a{10}b){100}", 1100, 1400),
        ("(((a|b)?){100}){10}c", 3000, 7000),
        ("x{3", 3, 3),
        ("{3}", 1, 3),
        (r"\{3}", 3, 3),
        ("[]a]{50}", 50, 101),
        ("[^]]{50}", 50, 101),
        ("[[:word:]]{5}", 5, 20),
        (r"[[:word:]\pL]{100}", 40_000, MOST_WEIGHT),
        (r"\pL{100}", 40_000, MOST_WEIGHT),
        (r"\p{Greek}{100}", 40_000, MOST_WEIGHT),
        (r"[^\PL]{100}", 40_000, MOST_WEIGHT),
        ("[äöü]{100}", 300, 900),
        (r"\Q[\Ea{1000}", MOST_WEIGHT, MOST_WEIGHT),
        ("(a{1000}", 1000, 1010),
        ("a)b{9}", 10, 14),
        ("." * (LONG + 1), MOST_WEIGHT, MOST_WEIGHT),
    ],
)
def test_a_pattern_weighs_what_its_repetitions_come_to(pattern: str, least: int, most: int) -> None:
    assert least <= weight(pattern) <= most


def test_of_several_the_heaviest_counts() -> None:
    assert heaviest(("a", "a{30}", "b")) == weight("a{30}")


def test_what_is_not_known_or_too_long_weighs_most() -> None:
    assert heaviest(()) == MOST_WEIGHT
    assert heaviest(["a" * 100] * (LONG // 100 + 1)) == MOST_WEIGHT
