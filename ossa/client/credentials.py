"""How a client signs in, and keeps signed in. Nothing here sends: `renewal` says what to send, and takes the answer."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ossa.api.gateway import Tokens
from ossa.client import requests
from ossa.client.errors import GatewayError, Unauthenticated
from ossa.client.requests import Request

# Seconds before its end that a token counts as ended: it has to live on its way.
EARLY = 30.0

# Yields requests for tokens, and is sent their answers, or thrown a GatewayError; returns the token to use.
Renewal = Generator[Request[Tokens], Tokens, str]


class Credentials(Protocol):
    """What gives tokens."""

    def current(self) -> str | None:
        """A token that should be good; None where `renewal` has to get one."""

    def renewal(self) -> Renewal:
        """Get a token. Called by one task or thread at a time."""

    def refused(self, token: str) -> None:
        """The gateway did not take this token: it is not to be used again."""


@dataclass(slots=True)
class FixedToken:
    """A token that somebody else looks after."""

    token: str = field(repr=False)

    def current(self) -> str | None:
        """The token."""
        return self.token

    def renewal(self) -> Renewal:
        """The token."""
        yield from ()  # there is nothing to ask
        return self.token

    def refused(self, token: str) -> None:
        """There is no other."""


@dataclass(slots=True)
class TokenFile:
    """A service account's token in a file, which the kubelet renews: it is read each time."""

    path: Path

    def current(self) -> str | None:
        """What is in the file now."""
        try:
            return self.path.read_text().strip()
        except OSError as error:
            raise GatewayError(f"the token cannot be read: {error}") from error

    def renewal(self) -> Renewal:
        """What is in the file now."""
        yield from ()  # there is nobody to ask
        return self.current() or ""

    def refused(self, token: str) -> None:
        """The kubelet renews it, nobody else."""


class Session:
    """A person's session: refreshed before its tokens end, and begun anew with the password where there is one.

    tokens: of a session that was begun before; those of the moment are in the property of that name, to be stored.
    """

    def __init__(self, *, name: str = "", password: str = "", tokens: Tokens | None = None) -> None:
        self._name, self._password = name, password
        self._tokens: Tokens | None = None
        self._ends = 0.0
        if tokens is not None:
            self._take(tokens)

    def __repr__(self) -> str:
        return f"Session(name={self._name!r})"

    @property
    def tokens(self) -> Tokens | None:
        """The session's tokens now, to be stored."""
        return self._tokens

    def current(self) -> str | None:
        """The access token, where it lives long enough."""
        if self._tokens is None or time.monotonic() >= self._ends:
            return None
        return self._tokens.access_token

    def renewal(self) -> Renewal:
        """Refresh, else sign in. Raises Unauthenticated where neither can be, and what the gateway says."""
        if (known := self.current()) is not None:  # somebody else renewed it meanwhile
            return known
        if self._tokens is not None and self._tokens.refresh_token:
            try:
                return self._take((yield requests.refresh(self._tokens.refresh_token)))
            except Unauthenticated:
                # It ended, or was used before: its answer may have been lost on the way.
                self._tokens = None
                if not self._password:
                    raise
        return self._take((yield requests.sign_in(self._name, self._password)))

    def refused(self, token: str) -> None:
        """Look for another one, unless that was done already."""
        if self._tokens is not None and self._tokens.access_token == token:
            self._ends = 0.0

    def _take(self, tokens: Tokens) -> str:
        self._tokens = tokens
        # Of one that lives but shortly, half of its life.
        self._ends = time.monotonic() + max(tokens.expires_in - EARLY, tokens.expires_in / 2)
        return tokens.access_token
