"""Access tokens: JSON Web Tokens of one algorithm, for a few minutes, of a session that can be ended."""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from uuid import UUID

import jwt

from ossa.gateway.identity import PREFIX, Identity
from ossa.gateway.problems import Problem
from ossa.gateway.signin.keys import KeyRing

ALGORITHM = "EdDSA"
TYPE = "at+jwt"  # RFC 9068; tells them from the cluster's own, and from ID tokens
AUDIENCE = "ossa-gateway"
LEEWAY = 10.0  # seconds that clocks may differ
MAX_LENGTH = 16384  # characters; what is longer is none of ours
_REQUIRED = ("iss", "aud", "sub", "sid", "iat", "exp")
_REMEMBERED = 10_000


def refused(detail: str) -> Problem:
    """401, as RFC 6750 has it."""
    challenge = 'Bearer realm="ossa", error="invalid_token"'
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": challenge})


@dataclass(frozen=True, slots=True)
class _Verified:
    identity: Identity
    kid: str
    expires_at: float


class Tokens:
    """Signs and verifies. `lifetime` in seconds; `issuer` is the gateway's own URL."""

    def __init__(self, ring: KeyRing, *, issuer: str, lifetime: float) -> None:
        self._ring, self._issuer = ring, issuer
        self.lifetime = lifetime
        # A client sends the same token many times; its signature stays good. By hash: memory can end in a dump.
        self._verified: dict[bytes, _Verified] = {}

    async def sign(self, user: str, groups: tuple[str, ...], session: UUID) -> str:
        """A token for a session. Raises Problem: 503 where no key can be had."""
        signing = await self._ring.signing()
        now = int(time.time())
        claims = {
            "iss": self._issuer,
            "aud": AUDIENCE,
            "sub": user,
            "groups": list(groups),
            "sid": str(session),
            "iat": now,
            "exp": now + int(self.lifetime),
            "jti": secrets.token_hex(8),
        }
        return jwt.encode(claims, signing.key, ALGORITHM, headers={"kid": signing.kid, "typ": TYPE})

    def remembered(self, token: str) -> Identity | None:
        """Who the token is for, where it was verified before and holds still."""
        key = _digest(token)
        known = self._verified.get(key)
        if known is None:
            return None
        if time.time() < known.expires_at + LEEWAY and self._ring.knows(known.kid):
            return known.identity
        del self._verified[key]
        return None

    async def verify(self, token: str) -> Identity:
        """Who the token is for; whether the session lives still is not asked. Raises Problem: 401, 503."""
        known = self.remembered(token)
        if known is not None:
            return known
        found = await self._verify(token)
        self._verified[_digest(token)] = found
        while len(self._verified) > _REMEMBERED:
            del self._verified[next(iter(self._verified))]
        return found.identity

    async def _verify(self, token: str) -> _Verified:
        header = header_of(token)
        kid = header.get("kid")
        # The algorithm is ours, whatever the token says of itself.
        if header.get("alg") != ALGORITHM or header.get("typ") != TYPE or not isinstance(kid, str):
            raise refused("this is no access token of this gateway; sign in at /api/v1/auth/login")
        public = await self._ring.public(kid)
        if public is None:
            raise refused("the key of this token is not known, or not any more; sign in again")
        try:
            claims = jwt.decode(
                token,
                public,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY,
                options={"require": list(_REQUIRED)},
            )
            return _Verified(_identity(claims), kid, float(claims["exp"]))
        except jwt.ExpiredSignatureError as error:
            raise refused("this token has expired; POST /api/v1/auth/refresh gives another") from error
        except (jwt.InvalidTokenError, ValueError) as error:
            raise refused(f"this token is not good: {error}; sign in again") from error


def header_of(token: str) -> dict[str, object]:
    """What a token says of itself; nothing of it is verified. Raises Problem: 401 where it is no token."""
    try:
        if len(token) > MAX_LENGTH:
            raise refused(f"a token has at most {MAX_LENGTH} characters")
        return dict(jwt.get_unverified_header(token))
    except (jwt.InvalidTokenError, ValueError) as error:
        raise refused("this is no token; sign in at /api/v1/auth/login") from error


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _identity(claims: dict[str, object]) -> Identity:
    user, groups, session = claims["sub"], claims.get("groups"), claims["sid"]
    if not isinstance(user, str) or not user.startswith(PREFIX):
        raise ValueError(f"its sub does not begin with {PREFIX}")
    if not isinstance(groups, list) or not all(isinstance(group, str) and group.startswith(PREFIX) for group in groups):
        raise ValueError(f"its groups do not all begin with {PREFIX}")
    return Identity(user=user, groups=tuple(groups), session=str(UUID(str(session))))
