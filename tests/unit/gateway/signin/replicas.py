"""Processes of the gateway, as far as sign-in goes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis

from ossa.gateway.ratelimit import Limit, Limiter
from ossa.gateway.signin.keys import KeyPolicy, KeyRing
from ossa.gateway.signin.login import LocalUsers, LoginLimits
from ossa.gateway.signin.passwords import Passwords
from ossa.gateway.signin.secret import Secret
from ossa.gateway.signin.sessions import Pair, Sessions
from ossa.gateway.signin.tokens import Tokens
from ossa.store.records.accounts import Accounts
from ossa.store.records.pool import Records
from ossa.store.records.signingkeys import SigningKeys

ISSUER = "https://gateway.example.org"
PASSWORD = "correct horse battery"
POLICY = KeyPolicy(rotate_every=timedelta(days=7), token_lifetime=timedelta(minutes=10))
UNLIMITED = Limit(rate=1e6, burst=1_000_000)
NO_LIMITS = LoginLimits(address=UNLIMITED, account=UNLIMITED, known=UNLIMITED, refresh=UNLIMITED)


@dataclass(frozen=True)
class Replica:
    """What one process has."""

    records: Records
    redis: Redis
    secret: Secret
    accounts: Accounts
    passwords: Passwords
    ring: KeyRing
    tokens: Tokens
    sessions: Sessions
    limiter: Limiter
    local: LocalUsers

    async def add_user(self, name: str = "alice", *, groups: tuple[str, ...] = ("team",)) -> None:
        """With PASSWORD."""
        await self.accounts.add_user(name, await self.passwords.hash(PASSWORD), groups=groups, created_by="test")

    async def sign_in(self, name: str = "alice", password: str = PASSWORD, *, address: str = "192.0.2.1") -> Pair:
        return await self.sessions.begin(await self.local.sign_in(name, password, address=address, client="test"))


@dataclass(frozen=True)
class Replicas:
    """All over the same servers."""

    records_url: str
    redis_url: str
    stack: AsyncExitStack

    async def __call__(
        self,
        *,
        key: bytes = b"k" * 32,
        policy: KeyPolicy = POLICY,
        limits: LoginLimits = NO_LIMITS,
        passwords: Passwords | None = None,
    ) -> Replica:
        records = await self.stack.enter_async_context(Records(self.records_url, application="test"))
        redis = Redis.from_url(self.redis_url)
        self.stack.push_async_callback(redis.aclose)
        secret, accounts, passwords = Secret(key), Accounts(records), passwords or Passwords()
        self.stack.callback(passwords.close)
        ring = KeyRing(SigningKeys(records), secret, policy)
        tokens = Tokens(ring, issuer=ISSUER, lifetime=policy.token_lifetime.total_seconds())
        sessions = Sessions(accounts, redis, tokens=tokens, secret=secret)
        limiter = Limiter(redis)
        local = LocalUsers(accounts, passwords=passwords, sessions=sessions, limiter=limiter, limits=limits)
        return Replica(records, redis, secret, accounts, passwords, ring, tokens, sessions, limiter, local)
