"""Which fields go by reference."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ossa.api.artifact import ArtifactRef
from ossa.api.contract import INLINE_FIELD_LIMIT
from ossa.engine.byreference import REFERENCE_SIZE, fields_to_move, json_size

REFERENCE = ArtifactRef(id="i" * 43, size=2**40, sha256="0" * 64).to_json()


def test_the_largest_go_first_and_no_more_than_needed() -> None:
    value = {"small": "x" * 100, "large": "x" * 5000, "larger": "x" * 6000}
    assert fields_to_move(value, 12_000) == ()
    assert fields_to_move(value, 6_000) == ("larger",)
    assert fields_to_move(value, 1_000) == ("large", "larger")


def test_many_small_fields_do_not_fit() -> None:
    assert fields_to_move({str(n): "x" * INLINE_FIELD_LIMIT for n in range(9)}, 9 * INLINE_FIELD_LIMIT) is not None
    assert fields_to_move({str(n): "x" * 500 for n in range(30)}, 8_000) is None


def test_a_reference_is_as_large_as_is_reckoned() -> None:
    assert json_size(REFERENCE) <= REFERENCE_SIZE


@given(st.dictionaries(st.text(max_size=20), st.integers(0, 5000).map("x".__mul__)), st.integers(100, 20_000))
def test_what_is_left_fits(value: dict[str, str], limit: int) -> None:
    moved = fields_to_move(value, limit)
    if moved is None:
        left = {name: REFERENCE if len(text) > INLINE_FIELD_LIMIT else text for name, text in value.items()}
        assert json_size(left) > limit - len(value) * REFERENCE_SIZE
    else:
        assert json_size({**value, **dict.fromkeys(moved, REFERENCE)}) <= limit
