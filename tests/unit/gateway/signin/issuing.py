"""An OpenID Connect issuer on a local port: it signs real tokens, and holds clients to PKCE and to their secret."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import BasicAuth, web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

CLIENT_ID, CLIENT_SECRET = "ossa", "s3cret+/ %"


@dataclass
class Grant:
    """What a code stands for."""

    nonce: str
    challenge: str
    redirect_uri: str


@dataclass
class Issuing:
    """`person` is signed in at it already. `claims` overwrite those of the next ID tokens; None takes one away."""

    url: str = ""
    person: dict[str, Any] = field(default_factory=lambda: {"sub": "u-1", "groups": ["devs", "system:masters"]})
    claims: dict[str, Any] = field(default_factory=dict)
    discovery: dict[str, Any] = field(default_factory=dict)
    algorithm: str = "RS256"
    down: bool = False
    jwks_asked: int = 0
    key: RSAPrivateKey = field(default_factory=lambda: generate_private_key(65537, 2048))
    kid: str = "first"
    published: list[dict[str, Any]] = field(default_factory=list)
    codes: dict[str, Grant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rotate(self.kid)

    def rotate(self, kid: str) -> None:
        """Another key, which is the only one published from now on."""
        self.key, self.kid = generate_private_key(65537, 2048), kid
        public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        self.published = [{**public, "kid": kid, "use": "sig", "alg": "RS256"}]

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        good = {"iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 60, "nonce": nonce, **self.person}
        claims = {name: value for name, value in {**good, **self.claims}.items() if value is not None}
        key: Any = self.key
        if self.algorithm == "none":
            key = None
        elif self.algorithm.startswith("HS"):
            key = CLIENT_SECRET.ljust(64)
        return jwt.encode(claims, key, self.algorithm, headers={"kid": self.kid})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/keys", self._keys)
        return app

    async def _discovery(self, _: web.Request) -> web.Response:
        self._require_up()
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        return web.json_response({**document, **self.discovery})

    async def _authorize(self, request: web.Request) -> web.Response:
        query = request.query
        wanted = {"response_type": "code", "client_id": CLIENT_ID, "code_challenge_method": "S256"}
        if any(query.get(name) != value for name, value in wanted.items()) or "openid" not in query["scope"].split():
            raise web.HTTPBadRequest(text="not as this client is registered")
        code = secrets.token_urlsafe(16)
        self.codes[code] = Grant(query["nonce"], query["code_challenge"], query["redirect_uri"])
        target = f"{query['redirect_uri']}?code={code}&state={query['state']}"
        return web.Response(status=302, headers={"Location": target})

    async def _token(self, request: web.Request) -> web.Response:
        self._require_up()
        form = await request.post()
        if not self._is_client(request, dict(form)):
            return web.json_response({"error": "invalid_client"}, status=401)
        grant = self.codes.pop(str(form["code"]), None)
        verifier = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(verifier).rstrip(b"=").decode()
        if grant is None or grant.challenge != challenge or grant.redirect_uri != form["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"access_token": "x", "token_type": "Bearer", "id_token": self.id_token(grant.nonce)})

    def _is_client(self, request: web.Request, form: dict[str, Any]) -> bool:
        if "client_secret_post" in self.discovery.get("token_endpoint_auth_methods_supported", ()):
            return bool(form.get("client_secret") == CLIENT_SECRET and "Authorization" not in request.headers)
        given = BasicAuth.decode(request.headers.get("Authorization", "Basic Og=="))
        return (given.login, given.password) == (CLIENT_ID, "s3cret%2B%2F+%25")

    async def _keys(self, _: web.Request) -> web.Response:
        self._require_up()
        self.jwks_asked += 1
        return web.json_response({"keys": self.published})

    def _require_up(self) -> None:
        if self.down:
            raise web.HTTPServiceUnavailable


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuing]:
    """Until the block ends."""
    server = Issuing()
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
