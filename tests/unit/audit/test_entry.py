"""An entry about what somebody sent holds what fits."""

from __future__ import annotations

import pytest

from ossa.audit.entry import entry_of, outcome_of
from tests.unit.audit.trails import NOW


def test_texts_are_cut_to_what_an_entry_holds() -> None:
    texts = dict.fromkeys(("id", "user", "address", "verb", "resource", "namespace", "name", "reason"), "x" * 2000)
    entry = entry_of(**texts, time=NOW, status=403)  # type: ignore[arg-type] # a dict may hold any of them
    assert [len(getattr(entry, name)) for name in texts] == [64, 512, 64, 32, 64, 63, 512, 1024]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0, "asked"),
        (202, "allowed"),
        (400, "failed"),
        (401, "denied"),
        (403, "denied"),
        (429, "denied"),
        (503, "failed"),
    ],
)
def test_the_outcome_is_what_the_status_says(status: int, outcome: str) -> None:
    assert outcome_of(status) == outcome
