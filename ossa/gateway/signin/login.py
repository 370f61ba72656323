"""Local users: name and password."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ossa.gateway.identity import PREFIX
from ossa.gateway.ratelimit import Check, Limit, Limiter, digest, network_of
from ossa.gateway.signin.names import local
from ossa.gateway.signin.outages import records_needed
from ossa.gateway.signin.passwords import MIN_LENGTH, Passwords
from ossa.gateway.signin.sessions import Sessions, SignedIn
from ossa.gateway.signin.tokens import refused
from ossa.store.records.accountrows import User
from ossa.store.records.accounts import Accounts

# The first user, and the group that the chart gives the right to add others.
FIRST_USER, FIRST_GROUP = "admin", "admins"
# Says nothing of whether there is such a user, or is disabled.
_WRONG = "the name or the password is wrong"


class BadBootstrap(ValueError):
    """The file of the first user's password cannot be used; names it."""


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """Attempts, successful ones too.

    `account` counts attempts for one name from all addresses where nobody has signed in with it in the last 30 days;
    such a known address has a count of its own. So an attacker's guesses, from however many addresses, do not keep a
    user from signing in where they usually do; and no count outlives the attack by more than burst / rate seconds.
    """

    address: Limit
    account: Limit
    known: Limit
    refresh: Limit  # of an address; also to begin and end a sign-in at an issuer


# Fit people, and offices behind one address.
LOGIN_LIMITS = LoginLimits(address=Limit(0.5, 20), account=Limit(0.1, 10), known=Limit(0.2, 10), refresh=Limit(5, 50))


class LocalUsers:
    """Signs local users in, and changes their passwords."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        passwords: Passwords,
        sessions: Sessions,
        limiter: Limiter,
        limits: LoginLimits,
    ) -> None:
        self._accounts, self._passwords, self._sessions = accounts, passwords, sessions
        self._limiter, self._limits = limiter, limits

    async def sign_in(self, name: str, password: str, *, address: str, client: str) -> SignedIn:
        """Who it is, for `Sessions.begin`. Raises Problem as `prove`."""
        user = await self.prove(name, password, address=address)
        if self._passwords.outdated(user.password_hash):
            new_hash = await self._passwords.hash(password)
            with records_needed("sign in"):
                await self._accounts.rehash(user, new_hash)
        groups = tuple(local(group) for group in user.groups)
        return SignedIn(
            user=local(name), groups=groups, method="password", address=address, client=client, local_user=user
        )

    async def limit_refresh(self, address: str) -> None:
        """Of what costs no hashing. Raises Problem: 429."""
        about = Check(f"login:refresh:{network_of(address)}", self._limits.refresh)
        await self._limiter.require([about], "sign-ins from here")

    async def change_password(self, proved: User, new: str) -> None:
        """Ends all sessions of the user, too. Raises Problem: 401 where there is none any more, 503."""
        new_hash = await self._passwords.hash(new)
        with records_needed("change a password"):
            changed = await self._accounts.change_user(proved.name, password_hash=new_hash)
        if changed is None:
            raise refused(_WRONG)
        await self._sessions.were_ended(changed[1])

    async def prove(self, name: str, password: str, *, address: str) -> User:
        """Whose name and password these are.

        Raises Problem: 401 where one is wrong, 429 and 503 as bounds are reached or PostgreSQL is away.
        """
        # Limits come before all that costs something. The address first: what it is over costs no account anything.
        network = network_of(address)
        await self._limiter.require([Check(f"login:address:{network}", self._limits.address)], "sign-ins from here")
        with records_needed("sign in"):
            known = await self._accounts.has_signed_in(PREFIX + name, address)
            user = await self._accounts.user(name)
        key, limit = f"login:account:{digest(name)}", self._limits.account
        if known:
            key, limit = f"login:known:{digest(f'{name} {network}')}", self._limits.known
        await self._limiter.require([Check(key, limit)], "sign-ins with this name")
        good = await self._passwords.verify(user.password_hash if user else None, password)
        if user is None or user.disabled or not good:
            raise refused(_WRONG)
        return user


async def add_first_user(accounts: Accounts, passwords: Passwords, file: Path) -> bool:
    """Where there is no user at all: `admin` of the group `admins`, with the password in the file. Whether it was so.

    Later changes of the file change nothing. Raises BadBootstrap, RecordsUnavailable.
    """
    try:
        password = file.read_text(encoding="utf-8").rstrip("\r\n")  # noqa: ASYNC240 - once, at the start
    except (OSError, UnicodeDecodeError) as error:
        raise BadBootstrap(f"{file}: {error}") from error
    if len(password) < MIN_LENGTH:
        raise BadBootstrap(f"{file}: the password must have at least {MIN_LENGTH} characters")
    if await accounts.users(limit=1):
        return False
    password_hash = await passwords.hash(password)
    return await accounts.add_first_user(FIRST_USER, password_hash, groups=[FIRST_GROUP])
