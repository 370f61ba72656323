"""Sign-in by OpenID Connect: authorization code with PKCE, state and nonce.

What one sign-in must remember goes with the browser that began it, in a cookie that only this gateway can read: so any
replica may answer, and a browser that did not begin a sign-in cannot be made to end one. The cookie signs nobody in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson

from ossa.api.gateway import AUTH
from ossa.gateway.problems import Problem
from ossa.gateway.signin.issuer import Issuer
from ossa.gateway.signin.names import BadName, foreign, foreign_groups
from ossa.gateway.signin.secret import Secret, Unsealable
from ossa.gateway.signin.sessions import SignedIn

CALLBACK = f"{AUTH}/oidc/callback"
LIFETIME = 600  # seconds that a person has to sign in at the issuer
_PURPOSE = "oidc sign-in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Which claims of an ID token say who somebody is, and the scopes that make the issuer send them."""

    username: str = "sub"  # the only one that an issuer never gives to somebody else
    groups: str = "groups"
    prefix: str = "oidc:"  # after `ossa:`; keeps these apart from local users, whose names have no colon
    scopes: str = "openid profile email groups"


@dataclass(frozen=True, slots=True)
class Begun:
    """Where the browser goes, and what it is to bring back."""

    location: str
    cookie: str


class Oidc:
    """Begins and ends sign-ins. `public_url`: the gateway's own, as browsers reach it."""

    def __init__(self, issuer: Issuer, claims: Claims, *, secret: Secret, public_url: str) -> None:
        self._issuer, self._claims, self._secret = issuer, claims, secret
        self._redirect_uri = public_url.rstrip("/") + CALLBACK
        self.secure = public_url.startswith("https:")
        # The prefix __Host- makes browsers refuse one that another host of the domain has set.
        self.cookie_name = "__Host-ossa-oidc" if self.secure else "ossa-oidc"

    async def begin(self) -> Begun:
        """A sign-in. Raises Problem: 503 where the issuer does not answer."""
        found = await self._issuer.discover()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._issuer.client.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._claims.scopes,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        memory = orjson.dumps([state, nonce, verifier, int(time.time()) + LIFETIME])
        cookie = base64.urlsafe_b64encode(self._secret.seal(memory, purpose=_PURPOSE)).decode()
        separator = "&" if "?" in found.authorization_endpoint else "?"
        return Begun(f"{found.authorization_endpoint}{separator}{urlencode(query)}", cookie)

    async def end(self, code: str, *, state: str, cookie: str | None, address: str, client: str) -> SignedIn:
        """Who it is, for `Sessions.begin`, by what the issuer gave the browser.

        Raises Problem: 400 where this browser did not begin it, 401 where the issuer's word is not good, 403 where it
        names somebody who cannot be, 503.
        """
        expected, nonce, verifier = self._remembered(cookie)
        if not hmac.compare_digest(expected.encode(), state.encode()):
            raise _not_begun()
        token = await self._issuer.exchange(code, verifier=verifier, redirect_uri=self._redirect_uri)
        claims = await self._issuer.claims(token, nonce=nonce)
        try:
            user, groups = who(claims, self._claims)
        except BadName as error:
            raise Problem(
                HTTPStatus.FORBIDDEN, f"the issuer names you in a way that cannot be used here: {error}"
            ) from error
        return SignedIn(user=user, groups=groups, method="oidc", address=address, client=client)

    def _remembered(self, cookie: str | None) -> tuple[str, str, str]:
        try:
            sealed = base64.urlsafe_b64decode((cookie or "").encode())
            state, nonce, verifier, until = orjson.loads(self._secret.open(sealed, purpose=_PURPOSE))
        except (Unsealable, ValueError) as error:
            raise _not_begun() from error
        if time.time() > until:
            raise _not_begun()
        return state, nonce, verifier


def who(claims: Mapping[str, Any], names: Claims) -> tuple[str, tuple[str, ...]]:
    """User and groups as Kubernetes knows them. Raises BadName."""
    name = claims.get(names.username)
    if not isinstance(name, str):
        raise BadName(f"the ID token has no text in the claim {names.username!r}")
    if names.username == "email" and claims.get("email_verified") is not True:
        raise BadName("the issuer has not verified the e-mail address")
    given = claims.get(names.groups, [])
    groups = [given] if isinstance(given, str) else given
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise BadName(f"the claim {names.groups!r} is no list of texts")
    return foreign(name, names.prefix), foreign_groups(groups, names.prefix)


def _not_begun() -> Problem:
    return Problem(
        HTTPStatus.BAD_REQUEST,
        "this browser did not begin the sign-in that this would end, or more than ten minutes ago; "
        "open /api/v1/auth/oidc/login",
    )
