"""The keys of access tokens as one replica knows them: which signs, which verify, when a new one is due.

A new key is written down `PROPAGATION` before it signs, and each replica reads the keys every `REFRESH`: all know it by
then. How long it signs and verifies is decided when it is made, so that nothing has to happen for it to end.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ossa.gateway.problems import Problem
from ossa.gateway.signin.outages import records_needed
from ossa.gateway.signin.secret import Secret, Unsealable
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.signingkeys import SigningKeys, StoredKey

REFRESH = 60.0  # seconds between two looks
PROPAGATION = timedelta(minutes=5)
SLACK = timedelta(minutes=5)  # clocks of replicas may differ
# Seconds between two looks for a key that a token names and nobody knows.
UNKNOWN_PAUSE = 5.0
_log = logging.getLogger("ossa.gateway.signin")


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """How often keys change, and how long a token that one signs may live."""

    rotate_every: timedelta
    token_lifetime: timedelta


@dataclass(frozen=True, slots=True)
class Signing:
    """The key that signs now."""

    kid: str
    key: Ed25519PrivateKey = field(repr=False)


def due(keys: Sequence[StoredKey], now: datetime, *, sealed_by: str, policy: KeyPolicy) -> datetime | None:
    """When a new key is to sign from, None where none is needed. Keys that another Secret seals sign for others."""
    own = [key for key in keys if key.sealed_by == sealed_by and key.signs_until > now]
    if not any(key.signs_from <= now for key in own):
        return now
    newest = max(key.signs_from for key in own)
    return now + PROPAGATION if now >= newest + policy.rotate_every - PROPAGATION else None


def new_key(secret: Secret, signs_from: datetime, policy: KeyPolicy) -> StoredKey:
    """A key of chance. It signs a little longer than until its successor does: somebody has to make that first."""
    kid = secrets.token_hex(8)
    private = Ed25519PrivateKey.generate()
    signs_until = signs_from + policy.rotate_every + 2 * PROPAGATION
    return StoredKey(
        kid=kid,
        public_key=private.public_key().public_bytes_raw(),
        sealed_key=secret.seal(private.private_bytes_raw(), purpose=_purpose(kid)),
        sealed_by=secret.id,
        signs_from=signs_from,
        signs_until=signs_until,
        verifies_until=signs_until + policy.token_lifetime + SLACK,
    )


def signer(keys: Sequence[StoredKey], now: datetime, *, sealed_by: str) -> StoredKey | None:
    """Which key signs: of those that may, the newest."""
    own = [key for key in keys if key.sealed_by == sealed_by and key.signs_from <= now < key.signs_until]
    return max(own, key=lambda key: (key.signs_from, key.kid), default=None)


class KeyRing:
    """The keys as read last. Time is the database's: what a replica's own clock says does not matter."""

    def __init__(self, store: SigningKeys, secret: Secret, policy: KeyPolicy) -> None:
        self._store, self._secret, self._policy = store, secret, policy
        self._keys: dict[str, StoredKey] = {}
        self._public: dict[str, Ed25519PublicKey] = {}
        self._private: dict[str, Ed25519PrivateKey] = {}
        self._read_at: tuple[datetime, float] | None = None  # the database's time, and ours
        self._unknown_until = 0.0
        self._loading = asyncio.Lock()

    async def load(self) -> None:
        """Read the keys, and add one where it is due. Raises RecordsUnavailable."""
        async with self._loading:
            asked = time.monotonic()
            keys, now = await self._store.load(self._plan)
            self._read_at = (now, asked)
            self._keys = {key.kid: key for key in keys}
            self._public = {key.kid: Ed25519PublicKey.from_public_bytes(key.public_key) for key in keys}
            self._private = {kid: key for kid, key in self._private.items() if kid in self._keys}

    async def keep_loading(self) -> None:
        """Load for ever, every `REFRESH`; with the database away what was read last holds."""
        while True:
            try:
                await self.load()
            except RecordsUnavailable as error:
                _log.warning("signing keys cannot be read, the known ones stay", extra={"error": repr(error)})
                await asyncio.sleep(REFRESH / 20)
            else:
                await asyncio.sleep(REFRESH)

    async def signing(self) -> Signing:
        """The key that signs now. Raises Problem: 503 where none can be had."""
        key = self._signer()
        if key is None:
            with records_needed("sign in"):
                await self.load()
            key = self._signer()
        if key is None:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "no key signs tokens now; try again in a minute")
        return Signing(key.kid, self._opened(key))

    async def public(self, kid: str) -> Ed25519PublicKey | None:
        """The key of that id, None where there is none. One that is not known is looked for, though not all the time.

        Raises Problem: 503 where nothing was ever read.
        """
        if kid not in self._public and time.monotonic() >= self._unknown_until:
            self._unknown_until = time.monotonic() + UNKNOWN_PAUSE
            try:
                await self.load()
            except RecordsUnavailable as error:
                _log.warning("a token's key cannot be looked for", extra={"error": repr(error)})
                self._unknown_until = 0.0
        if self._read_at is None:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the keys of tokens cannot be read just now; try again in a few seconds",
                headers={"Retry-After": "5"},
            )
        return self._public.get(kid) if self.knows(kid) else None

    def knows(self, kid: str) -> bool:
        """Whether tokens that this key signed hold."""
        key = self._keys.get(kid)
        return key is not None and self._now() < key.verifies_until

    def jwks(self) -> dict[str, object]:
        """All public keys, those that will sign included, as a JSON Web Key Set (RFC 7517)."""
        keys = [
            {**jwt.algorithms.OKPAlgorithm.to_jwk(public, as_dict=True), "kid": kid, "use": "sig", "alg": "EdDSA"}
            for kid, public in self._public.items()
            if self.knows(kid)
        ]
        return {"keys": keys}

    def _plan(self, keys: Sequence[StoredKey], now: datetime) -> StoredKey | None:
        signs_from = due(keys, now, sealed_by=self._secret.id, policy=self._policy)
        return None if signs_from is None else new_key(self._secret, signs_from, self._policy)

    def _signer(self) -> StoredKey | None:
        if self._read_at is None:
            return None
        return signer(tuple(self._keys.values()), self._now(), sealed_by=self._secret.id)

    def _opened(self, key: StoredKey) -> Ed25519PrivateKey:
        if key.kid not in self._private:
            try:
                plain = self._secret.open(key.sealed_key, purpose=_purpose(key.kid))
            except Unsealable as error:
                raise RuntimeError(f"signing key {key.kid} in the table signing_keys is damaged: delete it") from error
            self._private[key.kid] = Ed25519PrivateKey.from_private_bytes(plain)
        return self._private[key.kid]

    def _now(self) -> datetime:
        if self._read_at is None:
            raise RuntimeError("the keys were not read yet")
        there, here = self._read_at
        return there + timedelta(seconds=time.monotonic() - here)


def _purpose(kid: str) -> str:
    return f"signing key {kid}"
