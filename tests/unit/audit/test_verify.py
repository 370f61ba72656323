"""Each way to tamper with a trail is found, and named for what it is."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossa.audit.chain import BadLink, Chain, canonical, hash_of, new_epoch, origin, read_link
from ossa.audit.heads import Head, Keys
from tests.unit.audit.trails import EPOCH, NOW, Written, chain_of, entry_of, ranges, signer_of, verdict_of

LENGTH = 12
numbers = st.integers(1, LENGTH)


def edited(text: str, **more: object) -> str:
    """A link with another entry, as somebody with write access would leave it."""
    said = json.loads(text)
    said["entry"] |= more
    return canonical(said)


def rechained(written: Written, seq: int, **more: object) -> list[str]:
    """A link altered, and all after it linked anew, as somebody would who knows how chains work."""
    texts = written.texts
    texts[seq - 1] = edited(texts[seq - 1], **more)
    for at in range(seq, len(texts)):
        said = json.loads(texts[at])
        said["previous"] = hash_of(texts[at - 1])
        texts[at] = canonical(said)
    return texts


def test_an_untouched_trail_is_proven() -> None:
    verdict = verdict_of(chain_of(LENGTH))
    assert (verdict.findings, verdict.links, verdict.proven) == ((), LENGTH, LENGTH)
    assert verdict.chains[0].closed


@given(numbers)
def test_an_altered_link_is_found(seq: int) -> None:
    written = chain_of(LENGTH)
    texts = written.texts
    texts[seq - 1] = edited(texts[seq - 1], user="ossa:mallory")
    verdict = verdict_of(written, texts=texts)
    assert (seq, seq) in ranges(verdict.faults, "altered")
    assert verdict.proven == LENGTH - seq  # what is above it
    assert ranges(verdict.faults, "unsigned") == ([(1, seq - 1)] if seq > 1 else [])


@given(numbers)
def test_altering_all_that_follows_does_not_help(seq: int) -> None:
    written = chain_of(LENGTH)
    verdict = verdict_of(written, texts=rechained(written, seq, user="ossa:mallory"))
    assert ranges(verdict.faults, "altered")
    assert verdict.proven == 0


@given(numbers, numbers)
def test_a_missing_stretch_is_found(one: int, two: int) -> None:
    first, last = sorted((one, two))
    written = chain_of(LENGTH)
    verdict = verdict_of(written, texts=written.texts[: first - 1] + written.texts[last:])
    assert ranges(verdict.faults, "missing") == [(first, last)]
    assert ranges(verdict.faults, "unsigned") == ([(1, first - 1)] if first > 1 else [])


@given(numbers, numbers)
def test_reordered_links_are_found(one: int, two: int) -> None:
    written = chain_of(LENGTH)
    texts = written.texts
    texts[one - 1], texts[two - 1] = texts[two - 1], texts[one - 1]
    verdict = verdict_of(written, texts=texts)
    assert bool(ranges(verdict.faults, "reordered")) == (one != two)
    assert verdict.proven == LENGTH  # all are there, none in its place


@given(numbers)
def test_a_duplicate_is_found(seq: int) -> None:
    written = chain_of(LENGTH)
    verdict = verdict_of(written, texts=written.texts[:seq] + written.texts[seq - 1 :])
    assert ranges(verdict.faults, "duplicated") == [(seq, seq)]


def test_two_versions_of_a_link_are_found_and_the_true_one_is_proven() -> None:
    written = chain_of(LENGTH)
    texts = [*written.texts[:5], edited(written.texts[4], user="ossa:mallory"), *written.texts[5:]]
    verdict = verdict_of(written, texts=texts)
    assert ranges(verdict.faults, "altered") == [(5, 5)]
    assert verdict.proven == LENGTH


def test_links_beyond_the_head_are_unsigned() -> None:
    written = Written().write(3).sign().write(2)
    assert ranges(verdict_of(written).faults, "unsigned") == [(4, 5)]


def test_links_without_any_head_are_unsigned() -> None:
    written = Written().write(3)
    assert ranges(verdict_of(written).faults, "unsigned") == [(1, 3)]


def test_a_link_after_the_last_word_is_found() -> None:
    written = Written().write(3).sign(closed=True).write(1).sign()
    assert ranges(verdict_of(written).faults, "altered") == [(4, 4)]


def test_a_cut_end_is_missing_by_a_later_head() -> None:
    written = Written().write(3).sign().write(2).sign(closed=True)
    assert ranges(verdict_of(written, texts=written.texts[:3]).faults, "missing") == [(4, 5)]


def test_an_end_cut_off_with_its_heads_is_seen_by_who_witnessed_it() -> None:
    victim = Written().write(3).sign().write(2).sign(closed=True)
    witness = Written("gateway-1").write(1, witnessed=(victim.witness(),)).sign(closed=True)
    verdict = verdict_of(victim, witness, texts=victim.texts[:3], heads=victim.heads[:1])
    assert ranges(verdict.faults, "missing") == [(4, 5)]
    assert verdict.faults[0].writer == "gateway-0"


def test_an_end_cut_off_with_its_heads_and_not_witnessed_is_at_least_remarked() -> None:
    victim = Written().write(3).sign().write(2).sign(closed=True)
    verdict = verdict_of(victim, texts=victim.texts[:3], heads=victim.heads[:1])
    assert [finding.kind for finding in verdict.findings] == ["open"]


def test_a_chain_taken_away_as_a_whole_is_seen_by_who_witnessed_it() -> None:
    victim = chain_of(4)
    witness = Written("gateway-1").write(1, witnessed=(victim.witness(),)).sign(closed=True)
    verdict = verdict_of(witness)
    assert [(found.writer, found.first, found.last) for found in verdict.faults] == [("gateway-0", 1, 4)]


def test_a_chain_taken_away_as_a_whole_is_seen_by_a_head_that_was_kept() -> None:
    victim = chain_of(4)
    assert ranges(verdict_of(known=tuple(victim.heads)).faults, "missing") == [(1, 4)]


def test_what_an_unproven_link_witnessed_accuses_nobody() -> None:
    victim = chain_of(4)
    liar = Written("gateway-1").write(1, witnessed=(victim.witness().model_copy(update={"seq": 99}),))
    assert {found.writer for found in verdict_of(victim, liar).faults} == {"gateway-1"}


def test_a_witness_proves_what_no_head_proves_any_more() -> None:
    victim = Written().write(3)
    witness = Written("gateway-1").write(1, witnessed=(victim.witness(),)).sign(closed=True)
    verdict = verdict_of(victim, witness)
    assert (list(verdict.faults), verdict.proven) == ([], 4)


def test_a_head_of_an_unknown_key_proves_nothing() -> None:
    verdict = verdict_of(Written(signer=signer_of(2)).write(3).sign(closed=True))
    assert ranges(verdict.faults, "forged") == [(3, 3)]
    assert ranges(verdict.faults, "unsigned") == [(1, 3)]


@pytest.mark.parametrize(
    "change", [{"seq": 2}, {"hash": "0" * 64}, {"writer": "other"}, {"epoch": "e"}, {"closed": False}, {"time": NOW}]
)
def test_an_altered_head_proves_nothing(change: dict[str, object]) -> None:
    written = chain_of(3)
    forged = written.heads[0].model_copy(update=change)
    verdict = verdict_of(written, heads=[forged])
    assert ranges(verdict.faults, "forged") == [(forged.seq, forged.seq)]
    assert verdict.proven == 0


def test_two_histories_signed_with_one_key_are_found() -> None:
    one, other = chain_of(3), Written()
    other.chain.append(entry_of(9), NOW)
    other.write(2).sign()
    verdict = verdict_of(one, heads=[*one.heads, *other.heads])
    assert ranges(verdict.faults, "altered") == [(3, 3)]


def test_a_link_of_another_chain_is_not_in_its_place() -> None:
    one, other = chain_of(3), chain_of(3, writer="gateway-1")
    verdict = verdict_of(one, other, texts=[*one.texts, other.texts[1]])
    assert ranges(verdict.faults, "reordered") == [(0, 0)]


def test_a_chain_cannot_be_moved_to_another_writer() -> None:
    assert origin("a", "b") != origin("b", "a")
    assert origin("a-b", "c") != origin("a", "b-c")


def test_a_line_that_is_no_link_is_found() -> None:
    written = chain_of(3)
    verdict = verdict_of(written, texts=[written.texts[0], "{", written.texts[2]])
    assert ranges(verdict.faults, "missing") == [(2, 2)]
    assert (0, 0) in ranges(verdict.faults, "altered")


def test_what_has_been_kept_for_long_enough_may_be_gone() -> None:
    written = chain_of(6)
    verdict = verdict_of(written, texts=written.texts[3:], horizon=NOW + timedelta(seconds=4))
    assert [(found.kind, found.first, found.last) for found in verdict.findings] == [("expired", 1, 3)]
    verdict = verdict_of(written, texts=written.texts[3:], horizon=NOW + timedelta(seconds=3))
    assert ranges(verdict.faults, "missing") == [(1, 3)]


def test_what_is_young_may_be_on_its_way() -> None:
    written = chain_of(6)
    verdict = verdict_of(written, texts=written.texts[:3], settled=NOW + timedelta(seconds=5))
    assert [(found.kind, found.first, found.last) for found in verdict.findings] == [("late", 1, 3), ("late", 4, 6)]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_any_text_is_chained_and_read_as_it_was(texts: list[str]) -> None:
    chain = Chain("w", EPOCH)
    for text in texts:
        link = chain.append(entry_of(reason=text), NOW)
        assert read_link(link.text) == link
        assert link.body.entry.reason == text
        assert "\n" not in link.text


def test_a_clock_that_goes_back_does_not_take_the_chain_back() -> None:
    chain = Chain("w", EPOCH)
    chain.append(entry_of(), NOW)
    assert chain.append(entry_of(), NOW - timedelta(hours=1)).body.recorded == NOW


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a\n", "x" * 254])
def test_a_name_that_cannot_be_part_of_an_objects_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="writer"):
        Chain(name, EPOCH)


def test_epochs_are_unique_and_sort_in_time() -> None:
    early = {new_epoch(NOW) for _ in range(100)}
    assert len(early) == 100
    assert max(early) < new_epoch(NOW + timedelta(seconds=1))


def test_a_later_field_does_not_make_a_line_unreadable() -> None:
    said = json.loads(chain_of(1).texts[0]) | {"later": 1}
    assert read_link(canonical(said)).body.seq == 1
    with pytest.raises(BadLink, match="seq"):
        read_link(canonical(said | {"seq": 0}))


def test_a_head_is_proven_by_its_own_key_alone() -> None:
    head = chain_of(1).heads[0]
    assert Keys([signer_of(2).public, signer_of(1).public]).proves(Head.model_validate_json(head.text))
    assert not Keys([signer_of(2).public]).proves(head)
