"""Sessions: PostgreSQL holds the truth, Redis what was asked lately, each replica what it asked a moment ago."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from redis.asyncio import Redis

from ossa.gateway.breaker import Breaker, Down
from ossa.gateway.problems import Problem
from ossa.gateway.signin.outages import records_needed
from ossa.gateway.signin.secret import Secret
from ossa.gateway.signin.tokens import Tokens, refused
from ossa.store.records.accountrows import EndedBy, Method, NewSession, Session, User
from ossa.store.records.accounts import Accounts

# Seconds that what Redis says of a live session counts, before PostgreSQL is asked again. An end is written over it at
# once; where that write fails, this bounds how long another replica may not know. With PostgreSQL away it counts for as
# long as an access token does: without PostgreSQL no session is ended.
LIVE_TTL = 30
# Seconds that a replica does not ask Redis again.
LOCAL_TTL = 1.0
# A refresh token that was used gives the same successor again for so long: an answer was lost, or there are two tabs.
GRACE = timedelta(seconds=10)
_LIVE, _ENDED = "live", "ended"
# What was read in PostgreSQL, unless an end was written meanwhile: ends are for ever.
_TELL = f"""
if redis.call('GET', KEYS[1]) ~= '{_ENDED}' then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
"""
_REMEMBERED = 20_000
_Result = TypeVar("_Result")
_log = logging.getLogger("ossa.gateway.signin")


@dataclass(frozen=True, slots=True)
class Pair:
    """What a sign-in or a refresh gives."""

    session: Session
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """Who has proved to be whom, and from where. Names with the prefix."""

    user: str
    groups: tuple[str, ...]
    method: Method
    address: str
    client: str
    local_user: User | None = None


class ReusedToken(Problem):
    """A refresh token that was used up came again: stolen, or kept by mistake. Its session has ended."""

    def __init__(self, session: Session) -> None:
        like = refused("this refresh token was used before, so its session has ended; sign in again")
        super().__init__(like.status, like.detail, headers=like.headers)
        self.session = session


class Sessions:
    """Begins, refreshes, asks about and ends them. `lifetime` in seconds, however often they are refreshed."""

    def __init__(
        self, accounts: Accounts, redis: Redis, *, tokens: Tokens, secret: Secret, lifetime: float = 12 * 3600.0
    ) -> None:
        self._accounts, self._redis, self._tokens, self._secret = accounts, redis, tokens, secret
        self._lifetime = timedelta(seconds=lifetime)
        self._tell = redis.register_script(_TELL)
        self._breaker = Breaker("sessions")
        self._local: dict[UUID, float] = {}  # of live ones: until when that is believed

    async def begin(self, who: SignedIn) -> Pair:
        """A new session. Raises Problem: 401 where the user was changed just now, 503."""
        refresh = secrets.token_hex(32)
        new = NewSession(
            id=uuid4(),
            user_name=who.user,
            groups=who.groups,
            method=who.method,
            address=who.address,
            client=who.client[:200],
            lifetime=self._lifetime,
            refresh_hash=_hash(refresh),
            local_user=who.local_user,
        )
        access = await self._tokens.sign(who.user, who.groups, new.id)
        with records_needed("sign in"):
            session = await self._accounts.begin(new)
        if session is None:
            raise refused("this account was changed just now; sign in again")
        return Pair(session, access, refresh)

    async def refresh(self, token: str) -> Pair:
        """A new pair for a refresh token, which is used up thereby. Raises ReusedToken, Problem: 401, 503."""
        successor = self._secret.successor(token)
        with records_needed("refresh a session"):
            done = await self._accounts.refresh(_hash(token), _hash(successor), grace=GRACE)
        if done.session is None or done.outcome in ("unknown", "over"):
            raise refused("this refresh token is not known, or its session is over; sign in again")
        if done.outcome == "reused":
            await self._tell_ended([done.session.id])
            raise ReusedToken(done.session)
        access = await self._tokens.sign(done.session.user_name, done.session.groups, done.session.id)
        return Pair(done.session, access, successor)

    async def require_live(self, session_id: UUID) -> None:
        """Raises Problem: 401 where it is over, 503 where neither Redis nor PostgreSQL says."""
        if self._local.get(session_id, 0.0) > time.monotonic():
            return
        asked = time.monotonic()
        if not await self._is_live(session_id):
            self._local.pop(session_id, None)
            raise refused("this session is over; sign in again")
        self._local.pop(session_id, None)
        self._local[session_id] = asked + LOCAL_TTL
        while len(self._local) > _REMEMBERED:
            del self._local[next(iter(self._local))]

    async def of(self, user: str) -> list[Session]:
        """Those of a user that live."""
        with records_needed("list sessions"):
            return await self._accounts.sessions_of(user)

    async def end(self, session_id: UUID, ended_by: EndedBy, *, user: str | None = None) -> Session | None:
        """End one, of `user` where that is given. None where there is none that lives."""
        with records_needed("end a session"):
            session = await self._accounts.end(session_id, ended_by, user_name=user)
        if session is not None:
            await self._tell_ended([session_id])
        return session

    async def end_all(self, user: str, ended_by: EndedBy) -> int:
        """End all of a user; how many."""
        with records_needed("end sessions"):
            ended = await self._accounts.end_all(user, ended_by)
        await self._tell_ended(ended)
        return len(ended)

    async def were_ended(self, ids: Iterable[UUID]) -> None:
        """To be told where a change of a user has ended sessions in PostgreSQL."""
        await self._tell_ended(ids)

    async def _is_live(self, session_id: UUID) -> bool:
        said, age = await self._in_redis(lambda: self._ask_redis(session_id)) or ("", 0)
        if said == _ENDED:
            return False
        if said == _LIVE and age < LIVE_TTL:
            return True
        try:
            with records_needed("be recognized"):
                live = await self._accounts.is_live(session_id)
        except Problem:
            if said == _LIVE:
                return True
            raise
        told: list[str | int] = [_LIVE if live else _ENDED, self._longest]
        await self._in_redis(lambda: self._tell(keys=[_key(session_id)], args=told))
        return live

    async def _ask_redis(self, session_id: UUID) -> tuple[str, int]:
        """What it says, empty where it knows nothing, and how many seconds ago it was told."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(_key(session_id))
        pipeline.ttl(_key(session_id))
        said, left = await pipeline.execute()
        return (said.decode() if isinstance(said, bytes) else said or ""), self._longest - left

    async def _tell_ended(self, ids: Iterable[UUID]) -> None:
        """After PostgreSQL has it. Where Redis is away, so is what it said of the session, or it goes by LIVE_TTL."""
        ids = list(ids)
        for session_id in ids:
            self._local.pop(session_id, None)

        async def write() -> None:
            pipeline = self._redis.pipeline(transaction=False)
            for session_id in ids:
                pipeline.set(_key(session_id), _ENDED, ex=self._longest)
            await pipeline.execute()

        if ids:
            await self._in_redis(write)

    @property
    def _longest(self) -> int:
        """Seconds that an access token of an ended session could be good for still."""
        return int(self._tokens.lifetime) + LIVE_TTL

    async def _in_redis(self, work: Callable[[], Awaitable[_Result]]) -> _Result | None:
        """None where Redis does not answer."""
        try:
            return await self._breaker.call(work)
        except Down:
            return None


def _key(session_id: UUID) -> str:
    return f"ossa:session:{session_id}"


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
