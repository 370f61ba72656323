"""Who asks, and what they may do: the types that sign-in gives and routes ask by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

# Keeps the gateway's users apart from the cluster's own.
PREFIX = "ossa:"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whoever a request is for, as Kubernetes knows them.

    A person signed in at the gateway has a prefixed name and prefixed groups; a service account has its own.
    """

    user: str  # ossa:alice, or system:serviceaccount:NAMESPACE:NAME
    groups: tuple[str, ...] = ()
    kind: Literal["person", "agent"] = "person"
    session: str | None = None  # of a person's sign-in; revoked as a whole


@dataclass(frozen=True, slots=True)
class Access:
    """What is asked for, in Kubernetes' terms."""

    verb: str
    resource: str  # plural, of group ossa.dev
    namespace: str
    name: str = ""
    subresource: str = ""


class Authenticator(Protocol):
    """Says who a bearer token belongs to."""

    async def identify(self, token: str) -> Identity:
        """Raises Problem: 401 where the token is none, 503 where that cannot be known now."""


class Authorizer(Protocol):
    """Asks Kubernetes, and remembers for a short while."""

    async def require(self, identity: Identity, access: Access) -> None:
        """Raises Problem: 403 with what is missing, 503 where the API server cannot be asked."""

    def seen_lately(self, identity: Identity, access: Access) -> bool:
        """Whether the permission was seen within the bound that holds while the API server is away."""


class RateLimiter(Protocol):
    """Bounds requests of a user and of an address."""

    async def take(self, identity: Identity | None, address: str, cost: int = 1) -> None:
        """Raises Problem: 429 with Retry-After in seconds."""
