"""The gateway's security put together: what `operator/gateway.py` plugs in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import APIRouter
from redis.asyncio import Redis

from ossa.gateway.authorization import SubjectAccess
from ossa.gateway.context import Collaborators
from ossa.gateway.metrics import Metrics
from ossa.gateway.ratelimit import Limiter, RequestLimits
from ossa.gateway.signin import routes
from ossa.gateway.signin.agents import Agents
from ossa.gateway.signin.authenticator import BearerTokens
from ossa.gateway.signin.issuer import Issuer
from ossa.gateway.signin.keys import KeyPolicy, KeyRing
from ossa.gateway.signin.login import FIRST_USER, LocalUsers, add_first_user
from ossa.gateway.signin.oidc import Oidc
from ossa.gateway.signin.passwords import Passwords
from ossa.gateway.signin.secret import Secret
from ossa.gateway.signin.sessions import Sessions
from ossa.gateway.signin.settings import SignInSettings, rotation
from ossa.gateway.signin.tokens import Tokens
from ossa.gateway.signin.trail import SignInTrail
from ossa.gateway.signin.users import Users
from ossa.kube.client import ApiClient
from ossa.store.records.accounts import Accounts
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Records
from ossa.store.records.signingkeys import SigningKeys

# Seconds between two removals of sessions that are over for long, and between two tries where PostgreSQL is away.
REMOVAL, RETRY = 3600.0, 3.0
_log = logging.getLogger("ossa.gateway.signin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """Who asks, what they may do, how often; and the routes of sign-in."""

    authenticator: BearerTokens
    authorizer: SubjectAccess
    limiter: RequestLimits
    local: LocalUsers
    sessions: Sessions
    ring: KeyRing
    users: Users
    token_lifetime: float
    oidc: Oidc | None

    def router(self, c: Collaborators) -> APIRouter:
        """The routes of sign-in, sessions and users. They write to the trail of `c`."""
        parts = routes.SignIn(
            local=self.local,
            sessions=self.sessions,
            ring=self.ring,
            trail=SignInTrail(c.trail, c.metrics.sign_ins),
            users=self.users,
            token_lifetime=self.token_lifetime,
            oidc=self.oidc,
        )
        return routes.router(parts, c)


@asynccontextmanager
async def security(
    settings: SignInSettings, *, records: Records, redis: Redis, api: ApiClient, metrics: Metrics
) -> AsyncIterator[Security]:
    """All of it, at work until the block ends. It starts with PostgreSQL and Redis away too.

    Raises SecretUnusable and BadBootstrap, where a file that is set cannot be used.
    """
    secret = Secret.load(settings.key_file)
    accounts = Accounts(records)
    rotate_every, token_lifetime = rotation(settings)
    ring = KeyRing(SigningKeys(records), secret, KeyPolicy(rotate_every, token_lifetime))
    tokens = Tokens(ring, issuer=settings.public_url, lifetime=settings.token_lifetime)
    sessions = Sessions(accounts, redis, tokens=tokens, secret=secret, lifetime=settings.session_lifetime)
    limiter = Limiter(redis)
    async with AsyncExitStack() as stack:
        passwords = Passwords(threads=settings.password_threads)
        stack.callback(passwords.close)
        local = LocalUsers(
            accounts, passwords=passwords, sessions=sessions, limiter=limiter, limits=settings.login_limits
        )
        oidc = None
        if settings.issuer is not None:
            issuer = Issuer(settings.issuer)
            stack.push_async_callback(issuer.close)
            oidc = Oidc(issuer, settings.claims, secret=secret, public_url=settings.public_url)
        for work in (ring.keep_loading(), _keep_house(settings, accounts, passwords)):
            await stack.enter_async_context(_running(asyncio.create_task(work)))
        yield Security(
            authenticator=BearerTokens(tokens=tokens, sessions=sessions, agents=Agents(api)),
            authorizer=SubjectAccess(api),
            limiter=RequestLimits(limiter, settings.limits, metrics.limited),
            local=local,
            sessions=sessions,
            ring=ring,
            users=Users(accounts, passwords, sessions),
            token_lifetime=settings.token_lifetime,
            oidc=oidc,
        )


async def _keep_house(settings: SignInSettings, accounts: Accounts, passwords: Passwords) -> None:
    """Adds the first user, once; then removes old sessions, for ever."""
    first = settings.first_password_file
    while True:
        try:
            if first is not None and await add_first_user(accounts, passwords, first):
                _log.info("added the first user", extra={"user": FIRST_USER})
            first = None
            removed = await accounts.remove_old()
        except RecordsUnavailable:
            await asyncio.sleep(RETRY)
            continue
        if removed:
            _log.info("removed old sessions", extra={"sessions": removed})
        await asyncio.sleep(REMOVAL)


@asynccontextmanager
async def _running(task: asyncio.Task[None]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
