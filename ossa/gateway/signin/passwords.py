"""Passwords of local users: argon2id, in few threads, however many sign in at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ossa.gateway.problems import Problem

# Of 19 MiB, twice over: what OWASP asks for at least, about 25 ms of one core.
MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
MIN_LENGTH, MAX_LENGTH = 12, 256  # characters; what is longer costs memory and proves nothing
_Result = TypeVar("_Result")


class Passwords:
    """Hashes and verifies in `threads` threads; at most `waiting` more wait, the rest are told to come again.

    Memory: threads x 19 MiB. The event loop and all that needs no password go on meanwhile.
    """

    def __init__(self, *, threads: int = 2, waiting: int = 32) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._room = threads + waiting
        self._used = 0
        # Nobody has this password; verifying it takes as long as verifying that of a user.
        self._nobody = self._hasher.hash("no user has this password")

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """With parameters and salt. Raises Problem: 503 where too many wait."""
        return await self._in_thread(lambda: self._hasher.hash(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether it is the password. Without a hash it never is, and takes as long. Raises Problem: 503 as above."""
        return await self._in_thread(lambda: self._verify(password_hash, password))

    def outdated(self, password_hash: str) -> bool:
        """Whether it was made with other parameters than new ones are."""
        return self._hasher.check_needs_rehash(password_hash)

    def _verify(self, password_hash: str | None, password: str) -> bool:
        try:
            self._hasher.verify(password_hash or self._nobody, password)
        except (VerificationError, InvalidHashError):
            return False
        return password_hash is not None

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        if self._used >= self._room:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too many sign in just now; try again in a second",
                headers={"Retry-After": "1"},
            )
        self._used += 1
        future = self._pool.submit(work)
        # Counted until the thread is done, also where whoever asked has gone.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._free))
        return await asyncio.wrap_future(future)

    def _free(self) -> None:
        self._used -= 1
