"""What names of users and groups may be, and what Kubernetes is told of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ossa.gateway.identity import PREFIX

# Of local users and their groups. No colon: the names of other issuers have one, and so can never be the same.
NAME_PATTERN = r"^[a-z0-9]([a-z0-9._@-]{0,126}[a-z0-9])?$"
_NAME = re.compile(NAME_PATTERN)
_AGENT = re.compile(r"system:serviceaccount:[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?:[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_SYSTEM = "system:"
MAX_FOREIGN = 256  # characters of a name that another issuer gives
MAX_GROUPS = 200  # they go into every token and every question to the API server


class BadName(ValueError):
    """A name that nobody may have; says why."""


def local(name: str) -> str:
    """A local user or group as Kubernetes knows it: `ossa:alice`. Raises BadName."""
    if _NAME.fullmatch(name) is None:
        raise BadName(
            f"{name[:64]!r} is no name: lower-case letters, digits and . _ @ - (not at its ends), at most 128"
        )
    return PREFIX + name


def foreign(name: str, prefix: str) -> str:
    """A name that an OpenID Connect issuer gave, as Kubernetes knows it: `ossa:oidc:alice`.

    Raises BadName for `system:…`, what is empty or too long, and what holds characters that cannot be seen.
    """
    if not 1 <= len(name) <= MAX_FOREIGN or not name.isprintable() or name != name.strip():
        raise BadName(f"a name has 1 to {MAX_FOREIGN} printable characters, without space around it")
    if name.lower().startswith(_SYSTEM):
        raise BadName("names that begin with `system:` are the cluster's own")
    return PREFIX + prefix + name


def foreign_groups(names: Iterable[str], prefix: str) -> tuple[str, ...]:
    """Groups that an issuer gave, sorted; those that nobody may have are left out. Raises BadName for too many."""
    found: set[str] = set()
    for name in names:
        try:
            found.add(foreign(name, prefix))
        except BadName:
            continue
    if len(found) > MAX_GROUPS:
        raise BadName(
            f"{len(found)} groups are more than {MAX_GROUPS}; let the issuer send those alone that matter here"
        )
    return tuple(sorted(found))


def is_agent(user: str) -> bool:
    """Whether it is a service account: `system:serviceaccount:NAMESPACE:NAME`."""
    return _AGENT.fullmatch(user) is not None
