"""Access tokens that are not what they seem."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ossa.gateway.problems import Problem
from ossa.gateway.signin.tokens import AUDIENCE, TYPE
from tests.unit.gateway.signin.replicas import ISSUER, Replica, Replicas
from tests.unit.servers import Postgres


@pytest.fixture
async def replica(replicas: Replicas) -> Replica:
    made = await replicas()
    await made.ring.load()
    return made


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ossa:alice",
        "groups": ["ossa:team"],
        "sid": str(uuid4()),
        "iat": now,
        "exp": now + 600,
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


async def signed(replica: Replica, body: dict[str, Any], **header: Any) -> str:
    """With the gateway's own key."""
    signing = await replica.ring.signing()
    return jwt.encode(body, signing.key, "EdDSA", headers={"kid": signing.kid, "typ": TYPE, **header})


def by_hand(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(body).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


async def test_a_token_says_who_it_is_for(replica: Replica) -> None:
    session = uuid4()
    token = await replica.tokens.sign("ossa:alice", ("ossa:team",), session)
    for _ in range(2):  # from the signature, then from memory
        identity = await replica.tokens.verify(token)
        assert (identity.user, identity.groups, identity.kind) == ("ossa:alice", ("ossa:team",), "person")
        assert identity.session == str(session)


WRONG: dict[str, dict[str, Any]] = {
    "expired": {"exp": int(time.time()) - 60, "iat": int(time.time()) - 660},
    "for ever": {"exp": None},
    "of another issuer": {"iss": "https://elsewhere.example.org"},
    "of no issuer": {"iss": None},
    "for another audience": {"aud": "ossa-artifacts"},
    "for several audiences, not us": {"aud": ["a", "b"]},
    "for nobody": {"aud": None},
    "from the future": {"iat": int(time.time()) + 3600},
    "of no session": {"sid": None},
    "of a session that is none": {"sid": "x"},
    "of a name of the cluster's": {"sub": "system:admin"},
    "of a group of the cluster's": {"groups": ["system:masters"]},
    "of groups that are no list": {"groups": "ossa:team"},
}


@pytest.mark.parametrize("changed", WRONG.values(), ids=WRONG.keys())
async def test_a_token_with_our_signature_and_wrong_claims_is_refused(
    replica: Replica, changed: dict[str, Any]
) -> None:
    token = await signed(replica, claims(**changed))
    with pytest.raises(Problem) as refusal:
        await replica.tokens.verify(token)
    assert refusal.value.status == 401
    assert refusal.value.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_token_that_expires_is_refused_although_it_was_seen_before(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await replica.tokens.sign("ossa:alice", (), uuid4())
    await replica.tokens.verify(token)
    later = time.time() + 700
    monkeypatch.setattr("ossa.gateway.signin.tokens.time.time", lambda: later)
    with pytest.raises(Problem):
        # The library reads the clock by itself; that our memory lets nothing pass is what is tried.
        await _only_from_memory(replica, token)


async def _only_from_memory(replica: Replica, token: str) -> None:
    replica.ring._public.clear()  # nothing can be verified anew
    replica.ring._unknown_until = time.monotonic() + 60
    await replica.tokens.verify(token)


async def test_a_token_whose_signature_is_anothers_is_refused(replica: Replica) -> None:
    kid = (await replica.ring.signing()).kid
    forged = jwt.encode(claims(), Ed25519PrivateKey.generate(), "EdDSA", headers={"kid": kid, "typ": TYPE})
    with pytest.raises(Problem, match="not good"):
        await replica.tokens.verify(forged)


async def test_a_token_that_was_changed_is_refused(replica: Replica) -> None:
    header, _, signature = (await signed(replica, claims())).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims(sub="ossa:admin")).encode()).rstrip(b"=").decode()
    with pytest.raises(Problem, match="not good"):
        await replica.tokens.verify(f"{header}.{body}.{signature}")


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", ""])
async def test_a_token_without_a_signature_is_refused(replica: Replica, algorithm: str) -> None:
    kid = (await replica.ring.signing()).kid
    token = by_hand({"alg": algorithm, "kid": kid, "typ": TYPE}, claims())
    with pytest.raises(Problem, match="no access token of this gateway"):
        await replica.tokens.verify(token)


async def test_the_public_key_is_no_password(replica: Replica) -> None:
    """HS256 with the public key as the shared secret, in each form that somebody may take it for."""
    kid = (await replica.ring.signing()).kid
    public = await replica.ring.public(kid)
    assert public is not None
    forms = [
        public.public_bytes_raw(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ]
    for form in forms:
        unsigned = by_hand({"alg": "HS256", "kid": kid, "typ": TYPE}, claims()).rstrip(".")
        signature = hmac.new(form, unsigned.encode(), hashlib.sha256).digest()
        token = f"{unsigned}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        with pytest.raises(Problem, match="no access token of this gateway"):
            await replica.tokens.verify(token)


async def test_a_key_that_a_token_brings_along_is_not_taken(replica: Replica) -> None:
    own = Ed25519PrivateKey.generate()
    key = jwt.algorithms.OKPAlgorithm.to_jwk(own.public_key(), as_dict=True)
    header = {"kid": "mine", "typ": TYPE, "jwk": key, "jku": "https://evil.example.org/jwks", "x5u": "https://evil"}
    with pytest.raises(Problem, match="key of this token is not known"):
        await replica.tokens.verify(jwt.encode(claims(), own, "EdDSA", headers=header))


@pytest.mark.parametrize("typ", ["JWT", "", "id_token"])
async def test_a_token_of_another_type_is_refused(replica: Replica, typ: str) -> None:
    with pytest.raises(Problem, match="no access token of this gateway"):
        await replica.tokens.verify(await signed(replica, claims(), typ=typ))


@pytest.mark.parametrize("rubbish", ["", "x", "a.b.c", "....", "é" * 10, "x" * 20_000, "null.null.null"])
async def test_rubbish_is_refused(replica: Replica, rubbish: str) -> None:
    with pytest.raises(Problem) as refusal:
        await replica.tokens.verify(rubbish)
    assert refusal.value.status == 401


async def test_unknown_keys_do_not_make_the_database_work(replica: Replica, postgres: Postgres) -> None:
    """After one look that found nothing none follows for a while: with PostgreSQL stopped the answer is the same."""
    own = Ed25519PrivateKey.generate()

    async def refusal(kid: str) -> str:
        with pytest.raises(Problem) as refused:
            await replica.tokens.verify(jwt.encode(claims(), own, "EdDSA", headers={"kid": kid, "typ": TYPE}))
        return f"{refused.value.status} {refused.value.detail}"

    first = await refusal("one")
    postgres.stop()
    assert await refusal("two") == first
    assert first.startswith("401")


async def test_tokens_are_verified_with_postgresql_away(replica: Replica, postgres: Postgres) -> None:
    token = await replica.tokens.sign("ossa:alice", (), uuid4())
    postgres.stop()
    assert (await replica.tokens.verify(token)).user == "ossa:alice"


async def test_a_replica_that_never_read_the_keys_says_that_it_cannot_know(
    replicas: Replicas, postgres: Postgres
) -> None:
    one, other = await replicas(), await replicas()
    token = await one.tokens.sign("ossa:alice", (), uuid4())
    postgres.stop()
    with pytest.raises(Problem) as refusal:
        await other.tokens.verify(token)
    assert refusal.value.status == 503
