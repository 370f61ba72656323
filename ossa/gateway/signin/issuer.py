"""An OpenID Connect issuer: what it publishes (discovery, keys), and codes exchanged for ID tokens."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx
import jwt
import orjson

from ossa.gateway.problems import Problem
from ossa.httppool import LIMITS

# Signatures that an ID token may have, by type of key. Never what a token says of itself alone, never HMAC or none.
ALGORITHMS: Mapping[str, tuple[str, ...]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
DISCOVERY_TTL = 3600.0  # seconds
UNKNOWN_PAUSE = 10.0  # seconds between two looks for keys that nobody knows
TIMEOUT = 5.0
_MOST = 1 << 20  # bytes of an answer
_log = logging.getLogger("ossa.gateway.signin")


class BadIssuer(ValueError):
    """What is set of the issuer makes no sense."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """This gateway as the issuer knows it."""

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    ca_file: Path | None = None  # where the issuer's certificate is not of a public authority
    leeway: float = 10.0  # seconds that clocks may differ


@dataclass(frozen=True, slots=True)
class Discovered:
    """What the issuer says of itself."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    secret_in_body: bool  # it takes the client's secret by POST alone


def check_url(url: str, what: str) -> str:
    """Raises BadIssuer for what goes over the network in the clear."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return url
    raise BadIssuer(f"{what} must be an https URL, and is {url!r}")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def discovered(document: object, issuer: str) -> Discovered:
    """What the document says. Raises BadIssuer."""
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        raise BadIssuer(f"the discovery document is not that of {issuer}")
    ends = [str(document.get(name, "")) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    secret_in_body = "client_secret_basic" not in methods
    authorization, token, keys = (check_url(url, "an endpoint of the issuer") for url in ends)
    return Discovered(authorization, token, keys, secret_in_body)


class Issuer:
    """Asks it, and remembers what it publishes. An asynchronous client that whoever made it closes."""

    def __init__(self, client: Client) -> None:
        check_url(client.issuer, "the issuer")
        self.client = client
        trusted = ssl.create_default_context(cafile=str(client.ca_file) if client.ca_file else None)
        self._http = httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS, follow_redirects=False, verify=trusted)
        self._discovered: tuple[float, Discovered] | None = None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_until = 0.0
        self._loading = asyncio.Lock()

    async def close(self) -> None:
        """Ends its connections."""
        await self._http.aclose()

    async def discover(self) -> Discovered:
        """Raises Problem: 503 where the issuer does not answer and never did."""
        known = self._discovered
        if known is not None and known[0] > time.monotonic():
            return known[1]
        try:
            url = self.client.issuer.rstrip("/") + "/.well-known/openid-configuration"
            found = discovered(await self._json("GET", url), self.client.issuer)
        except (httpx.HTTPError, ValueError) as error:
            if known is not None:
                return known[1]
            raise _away(error) from error
        self._discovered = (time.monotonic() + DISCOVERY_TTL, found)
        return found

    async def exchange(self, code: str, *, verifier: str, redirect_uri: str) -> str:
        """The ID token for a code. Raises Problem: 401 where the issuer refuses it, 503 where it does not answer."""
        found, client = await self.discover(), self.client
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": verifier,
            "redirect_uri": redirect_uri,
            "client_id": client.client_id,
        }
        auth: httpx.BasicAuth | None = None
        if client.client_secret is not None and found.secret_in_body:
            form["client_secret"] = client.client_secret
        elif client.client_secret is not None:
            # RFC 6749, 2.3.1: each is form-encoded first.
            auth = httpx.BasicAuth(quote_plus(client.client_id), quote_plus(client.client_secret))
        try:
            answer = await self._json("POST", found.token_endpoint, data=form, auth=auth)
        except httpx.HTTPStatusError as error:
            if error.response.status_code >= 500:
                raise _away(error) from error
            _log.warning("the issuer refuses a code", extra={"status": error.response.status_code})
            raise Problem(
                HTTPStatus.UNAUTHORIZED, "the issuer does not take this code, or took it before; begin the sign-in anew"
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            raise _away(error) from error
        token = answer.get("id_token") if isinstance(answer, dict) else None
        if not isinstance(token, str):
            raise Problem(HTTPStatus.BAD_GATEWAY, "the issuer gave no ID token; does the client have the scope openid?")
        return token

    async def claims(self, id_token: str, *, nonce: str) -> dict[str, Any]:
        """What the ID token says, verified (OpenID Connect Core, 3.1.3.7). Raises Problem: 401, 503."""
        try:
            header = jwt.get_unverified_header(id_token)
            key = await self._key(str(header.get("kid", "")))
            if key is None:
                raise jwt.InvalidKeyError("it is signed with a key that the issuer does not publish")
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key.key,
                algorithms=list(ALGORITHMS.get(str(key.key_type), ())),
                audience=self.client.client_id,
                issuer=self.client.issuer,
                leeway=self.client.leeway,
                options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
            )
            _check_party(claims, self.client.client_id, nonce)
        except (jwt.PyJWTError, ValueError) as error:
            raise Problem(HTTPStatus.UNAUTHORIZED, f"the issuer's ID token is not good: {error}") from error
        return claims

    async def _key(self, kid: str) -> jwt.PyJWK | None:
        """The key of that id; without one the only key there is. Keys are read anew where it is not known."""
        async with self._loading:
            if self._of(kid) is None and self._keys_until <= time.monotonic():
                url = (await self.discover()).jwks_uri
                try:
                    document = await self._json("GET", url)
                    self._keys = _usable(document)
                except (httpx.HTTPError, ValueError) as error:
                    raise _away(error) from error
                self._keys_until = time.monotonic() + UNKNOWN_PAUSE
        return self._of(kid)

    def _of(self, kid: str) -> jwt.PyJWK | None:
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _json(self, method: str, url: str, **more: Any) -> object:
        body = b""
        async with self._http.stream(method, url, headers={"Accept": "application/json"}, **more) as response:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _MOST:
                    raise ValueError(f"{url} answers with more than {_MOST} bytes")
            response.raise_for_status()
        document: object = orjson.loads(body)
        return document


def _usable(document: object) -> dict[str, jwt.PyJWK]:
    """The keys that may sign ID tokens, by id; what we do not know is left out. Raises ValueError."""
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("the issuer's keys are no JSON Web Key Set")
    found: dict[str, jwt.PyJWK] = {}
    for entry in document["keys"]:
        if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") not in ALGORITHMS:
            continue
        try:
            found[str(entry.get("kid", ""))] = jwt.PyJWK(entry)
        except jwt.PyJWTError as error:
            _log.info("a key of the issuer is of no use", extra={"error": str(error)})
    return found


def _check_party(claims: Mapping[str, Any], client_id: str, nonce: str) -> None:
    if claims.get("nonce") != nonce:
        raise ValueError("it was made for another sign-in (nonce)")
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if claims.get("azp", client_id if not several else None) != client_id:
        raise ValueError("it was made for another client (azp)")


def _away(error: Exception) -> Problem:
    _log.warning("the OpenID Connect issuer cannot be asked", extra={"error": repr(error)})
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the issuer that signs people in does not answer as it should; try again in a minute",
        headers={"Retry-After": "30"},
    )
