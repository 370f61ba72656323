"""Keys of access tokens: when they change, and that every replica knows them in time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossa.gateway.problems import Problem
from ossa.gateway.signin.keys import PROPAGATION, KeyPolicy, due, new_key, signer
from ossa.gateway.signin.secret import Secret, Unsealable
from ossa.store.records.signingkeys import StoredKey
from tests.unit.gateway.signin.replicas import POLICY, Replicas

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = Secret(b"k" * 32)


def test_without_a_key_one_is_made_that_signs_at_once() -> None:
    assert due([], NOW, sealed_by=SECRET.id, policy=POLICY) == NOW


def test_a_successor_is_written_down_before_it_signs() -> None:
    first = new_key(SECRET, NOW, POLICY)
    soon = NOW + POLICY.rotate_every - PROPAGATION
    assert due([first], soon - timedelta(seconds=1), sealed_by=SECRET.id, policy=POLICY) is None
    signs_from = due([first], soon, sealed_by=SECRET.id, policy=POLICY)
    assert signs_from == soon + PROPAGATION
    second = new_key(SECRET, signs_from, POLICY)
    assert due([first, second], soon, sealed_by=SECRET.id, policy=POLICY) is None
    assert signer([first, second], signs_from - timedelta(seconds=1), sealed_by=SECRET.id) == first
    assert signer([first, second], signs_from, sealed_by=SECRET.id) == second


@given(st.lists(st.floats(min_value=1, max_value=400), min_size=1, max_size=60))
def test_whatever_the_pauses_somebody_signs_and_each_token_verifies_until_it_expires(hours: list[float]) -> None:
    """Looks at any times, with the platform stopped for days too."""
    keys: list[StoredKey] = []
    now = NOW
    for pause in hours:
        now += timedelta(hours=pause)
        keys = [key for key in keys if key.verifies_until > now]
        signs_from = due(keys, now, sealed_by=SECRET.id, policy=POLICY)
        if signs_from is not None:
            keys.append(new_key(SECRET, signs_from, POLICY))
        key = signer(keys, now, sealed_by=SECRET.id)
        assert key is not None
        assert key.verifies_until >= now + POLICY.token_lifetime
        assert len([key for key in keys if key.signs_from > now]) <= 1


def test_a_sealed_key_opens_with_its_secret_and_for_its_purpose_alone() -> None:
    sealed = SECRET.seal(b"private", purpose="signing key a")
    assert SECRET.open(sealed, purpose="signing key a") == b"private"
    for secret, purpose in ((Secret(b"x" * 32), "signing key a"), (SECRET, "signing key b")):
        with pytest.raises(Unsealable):
            secret.open(sealed, purpose=purpose)
    assert b"private" not in sealed
    assert "kkkk" not in repr(SECRET)


async def test_replicas_that_start_together_make_one_key(replicas: Replicas) -> None:
    several = [await replicas() for _ in range(4)]
    await asyncio.gather(*(replica.ring.load() for replica in several))
    kids = {(await replica.ring.signing()).kid for replica in several}
    assert len(kids) == 1


async def test_every_replica_verifies_what_another_signs_at_once(replicas: Replicas) -> None:
    one, other = await replicas(), await replicas()
    await other.ring.load()  # has read the keys before there was the one that signs next
    async with one.records.transaction() as db:
        await db.execute("DELETE FROM signing_keys")
    token = await one.tokens.sign("ossa:alice", (), uuid4())
    assert (await other.tokens.verify(token)).user == "ossa:alice"


async def test_a_rotation_is_seen_by_all_and_old_tokens_hold(replicas: Replicas) -> None:
    """A key that signs for so short that its successor is due at once."""
    policy = KeyPolicy(rotate_every=PROPAGATION, token_lifetime=timedelta(minutes=10))
    one, other = await replicas(policy=policy), await replicas(policy=policy)
    await one.ring.load()
    old = await one.tokens.sign("ossa:alice", (), uuid4())
    await other.ring.load()  # writes the successor down; it does not sign yet
    published = {key["kid"] for key in other.ring.jwks()["keys"]}  # type: ignore[attr-defined]
    assert len(published) == 2
    assert (await other.ring.signing()).kid == (await one.ring.signing()).kid
    async with one.records.transaction() as db:  # five minutes later
        await db.execute("UPDATE signing_keys SET signs_from = signs_from - interval '6 minutes'")
    for replica in (one, other):
        await replica.ring.load()
    new = await one.tokens.sign("ossa:bob", (), uuid4())
    assert jwt.get_unverified_header(new)["kid"] != jwt.get_unverified_header(old)["kid"]
    assert (await other.tokens.verify(new)).user == "ossa:bob"
    assert (await other.tokens.verify(old)).user == "ossa:alice"


async def test_replicas_with_an_old_and_a_new_secret_take_each_others_tokens(replicas: Replicas) -> None:
    """While a changed Secret is rolled out."""
    old, new = await replicas(key=b"a" * 32), await replicas(key=b"b" * 32)
    of_old = await old.tokens.sign("ossa:alice", (), uuid4())
    of_new = await new.tokens.sign("ossa:bob", (), uuid4())
    assert (await new.tokens.verify(of_old)).user == "ossa:alice"
    assert (await old.tokens.verify(of_new)).user == "ossa:bob"


async def test_a_key_that_was_taken_away_is_good_for_nothing_after_the_next_look(replicas: Replicas) -> None:
    replica = await replicas()
    token = await replica.tokens.sign("ossa:alice", (), uuid4())
    await replica.tokens.verify(token)
    async with replica.records.transaction() as db:
        await db.execute("DELETE FROM signing_keys")
    await replica.ring.load()
    with pytest.raises(Problem, match="not known, or not any more"):
        await replica.tokens.verify(token)


async def test_the_published_keys_verify_and_hold_nothing_private(replicas: Replicas) -> None:
    replica = await replicas()
    token = await replica.tokens.sign("ossa:alice", (), uuid4())
    document = replica.ring.jwks()
    assert all("d" not in key for key in document["keys"])  # type: ignore[attr-defined]
    key = jwt.PyJWKSet.from_dict(document)[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, algorithms=["EdDSA"], audience="ossa-gateway")["sub"] == "ossa:alice"
