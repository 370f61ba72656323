"""What a verification found, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from ossa.audit.heads import Head

# missing: signed or witnessed, and not there. altered: not what was signed or linked. reordered: not in its place.
# duplicated: twice in one place. unsigned: nothing signed proves it. forged: a head that no known key signed.
Fault = Literal["missing", "altered", "reordered", "duplicated", "unsigned", "forged"]
# expired: older than entries are kept. late: so young that it may still be on its way.
# open: the chain's writer did not end it; a crash looks like that, and so does an end that was cut off unseen.
Remark = Literal["expired", "late", "open"]
FAULTS: Final[tuple[Fault, ...]] = ("missing", "altered", "reordered", "duplicated", "unsigned", "forged")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about the links `first` to `last` of a chain; 0 to 0: about the chain as a whole."""

    kind: Fault | Remark
    writer: str
    epoch: str
    first: int
    last: int
    text: str

    @property
    def is_fault(self) -> bool:
        """Whether the trail is not proven because of it."""
        return self.kind in FAULTS


@dataclass(frozen=True, slots=True)
class ChainVerdict:
    """One chain: the links that are there, and how many of them a signed head proves."""

    writer: str
    epoch: str
    first: int
    last: int
    links: int
    proven: int
    closed: bool
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of a whole trail. heads: the newest of each chain, which a later verification can be held to."""

    chains: tuple[ChainVerdict, ...]
    findings: tuple[Finding, ...]
    heads: tuple[Head, ...]

    @property
    def faults(self) -> Sequence[Finding]:
        """What is wrong."""
        return [found for found in self.findings if found.is_fault]

    @property
    def links(self) -> int:
        """How many are there."""
        return sum(chain.links for chain in self.chains)

    @property
    def proven(self) -> int:
        """How many of them a signed head proves."""
        return sum(chain.proven for chain in self.chains)
