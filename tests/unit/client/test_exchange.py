"""One request until it is answered: the parts that need nobody to answer."""

from __future__ import annotations

import pytest

from ossa.client.exchange import retry_after


@pytest.mark.parametrize(
    ("header", "seconds"), [(None, 0), ("", 0), ("7", 7), (" 7 ", 7), ("soon", 0), ("²", 0), ("-1", 0)]
)
def test_retry_after_that_says_nothing_usable_is_none(header: str | None, seconds: float) -> None:
    assert retry_after(header) == seconds
