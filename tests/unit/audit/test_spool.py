"""A verification holds on disk what it has read, and says the same of long trails as of short ones."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossa.audit.chain import BadLink, Witnessed, canonical, origin, read_link
from ossa.audit.heads import Keys
from ossa.audit.ranges import Ranges
from ossa.audit.spool import Held, Spool
from ossa.audit.verify import Verifier
from tests.unit.audit.test_verify import edited
from tests.unit.audit.trails import NOW, Written, chain_of, ranges, signer_of, verdict_of

LENGTH = 8000


def test_a_long_chain_is_proven_in_little_memory() -> None:
    written = chain_of(LENGTH)
    tracemalloc.start()
    try:
        verifier = Verifier(Keys([signer_of().public]), now=NOW + timedelta(days=1))
        for text in written.texts:
            verifier.line(text, writer=written.writer, epoch=written.epoch, place="audit")
        verifier.head(written.heads[0], place="heads")
        verdict = verifier.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (verdict.links, verdict.proven, verdict.findings) == (LENGTH, LENGTH, ())
    # Mostly what waits to be written; with each link kept it would be 5 MB and grow with them.
    assert peak < 2 << 20


def test_of_many_faults_the_first_are_told_and_the_rest_as_one() -> None:
    written = chain_of(100)
    texts = [edited(text, user="ossa:mallory") if seq % 2 else text for seq, text in enumerate(written.texts, 1)]
    verdict = verdict_of(written, texts=texts + texts)
    assert ranges(verdict.faults, "duplicated") == [*((seq, seq) for seq in range(1, 21)), (21, 100)]
    # An altered link proves none below it: what does not fit is told of both.
    altered = ranges(verdict.faults, "altered")
    assert (len(altered), altered[-1][1]) == (21, 99)
    assert verdict.proven == 1


def test_links_and_claims_come_in_any_number_of_places_and_orders() -> None:
    written = Written().write(30).sign().write(30).sign(closed=True)
    verifier = Verifier(Keys([signer_of().public]), now=NOW + timedelta(days=1))
    for place, texts in (("c", written.texts[40:]), ("a", written.texts[:25]), ("b", written.texts[10:50])):
        for text in texts:
            verifier.line(text, writer=written.writer, epoch=written.epoch, place=place)
    for head in reversed(written.heads):
        verifier.head(head, place="heads")
    verdict = verifier.finish()
    assert (verdict.findings, verdict.links, verdict.proven) == ((), 60, 60)


def test_a_number_that_no_database_holds_is_no_link() -> None:
    text = canonical({**read_link(chain_of(1).texts[0]).body.model_dump(mode="json"), "seq": 1 << 63})
    with pytest.raises(BadLink, match="seq"):
        read_link(text)


def test_what_a_link_witnessed_is_taken_once() -> None:
    spool = Spool()
    said = [Witnessed(writer="w", epoch="e", seq=seq, hash=origin("w", "e")) for seq in (3, 1)]
    for seq in (2, 5):
        for one in said:
            spool.witness(0, seq, one)
    assert list(spool.witnesses(0)) == [2, 5]
    assert spool.take(0, 2) == said
    assert (list(spool.witnesses(0)), spool.take(0, 2), list(spool.witnesses(1))) == ([5], [], [])


def test_links_come_down_with_their_versions_as_they_came() -> None:
    spool = Spool()
    place = spool.place("audit")
    for seq, digest in ((2, b"z"), (1, b"b"), (2, b"a"), (2, b"z")):
        spool.add(7, seq, Held(digest, b"", NOW, place))
    assert [(seq, held.hash) for seq, held in spool.links_down(7)] == [(2, b"z"), (2, b"a"), (1, b"b")]
    first = spool.first_version(7, 2)
    assert first == Held(b"z", b"", NOW, place)
    assert (spool.name_of(place), spool.first_version(7, 3)) == ("audit", None)


@given(st.sets(st.integers(1, 40)))
def test_ranges_hold_what_was_added(numbers: set[int]) -> None:
    held = Ranges()
    for number in sorted(numbers, reverse=True):
        held.add(number, number)
    assert {number for number in range(50) if number in held} == numbers
    assert len(held) == len(numbers)
    told = list(held)
    assert {number for first, last in told for number in range(first, last + 1)} == numbers
    assert all(two[0] > one[1] + 1 for one, two in pairwise(told))


def test_ranges_come_from_the_top() -> None:
    held = Ranges()
    held.add(5, 9)
    with pytest.raises(ValueError, match="not below"):
        held.add(7, 7)
