"""One chain, checked: which of its links are proven, and what is wrong with it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from ossa.audit.chain import Link, origin
from ossa.audit.findings import ChainVerdict, Fault, Finding, Remark
from ossa.audit.ranges import Ranges
from ossa.audit.spool import Claim, Held, Spool

# Faults of a kind that are told one by one.
_TOLD: Final = 20


@dataclass(slots=True)
class _Alike:
    """Faults of one kind: those of the lowest links, and how many there are in all."""

    count: int = 0
    last: int = 0
    _some: list[tuple[int, str]] = field(default_factory=list)

    def add(self, seq: int, text: str) -> None:
        """One more."""
        self.count += 1
        self.last = max(self.last, seq)
        self._some.append((seq, text))
        if len(self._some) > 10 * _TOLD:
            self._some = self.lowest

    @property
    def lowest(self) -> list[tuple[int, str]]:
        """One more than are told, in order."""
        return sorted(self._some)[: _TOLD + 1]


@dataclass(slots=True)
class _Walk:
    """What one walk down the chain found."""

    proven: Ranges = field(default_factory=Ranges)
    unsigned: Ranges = field(default_factory=Ranges)
    gaps: Ranges = field(default_factory=Ranges)
    altered: _Alike = field(default_factory=_Alike)
    first: int = 0
    last: int = 0
    links: int = 0
    since: datetime | None = None
    until: datetime | None = None

    def see(self, seq: int, recorded: datetime) -> None:
        """A link that is there."""
        self.first, self.last, self.links = seq, self.last or seq, self.links + 1
        self.since = min(recorded, self.since or recorded)
        self.until = max(recorded, self.until or recorded)


class ChainCheck:
    """Takes links and claims in any order; `walk` as often as there is something new; then `findings`.

    The links of one place come together. number: of this chain in the spool.
    """

    def __init__(self, writer: str, epoch: str, spool: Spool, number: int) -> None:
        self._writer, self._epoch = writer, epoch
        self._spool, self.number = spool, number
        self._read: dict[Fault, _Alike] = {}
        self._place, self._last_in = 0, 0
        self._walk = _Walk()
        self.changed = True

    def add(self, link: Link, place: str) -> None:
        """A link of this chain. The same one in several places is a copy, and no finding."""
        body, at = link.body, self._spool.place(place)
        if at != self._place:
            self._place, self._last_in = at, 0
        held = Held(bytes.fromhex(link.hash), bytes.fromhex(body.previous), body.recorded, at)
        before = self._last_in
        if body.seq <= before:
            if self._spool.has(self.number, body.seq, place=at):
                self._found("duplicated", body.seq, f"it lies in {place} more than once")
            elif body.seq < before:
                self._found("reordered", body.seq, f"in {place} it lies behind link {before}")
        self._last_in = max(before, body.seq)
        self._spool.add(self.number, body.seq, held)
        self.changed = True

    def claim(self, claim: Claim) -> None:
        """What something proven says of this chain."""
        self._spool.claim(self.number, claim)
        if not (claim.seq in self._walk.proven and self._spool.has(self.number, claim.seq, digest=claim.hash)):
            self.changed = True

    def unreadable(self, text: str) -> None:
        """A line that is no link: which one it was, what is missing tells."""
        self._found("altered", 0, text)

    def is_proven(self, seq: int) -> bool:
        """Whether something signed proves the link, as far as it was walked."""
        return seq in self._walk.proven

    def recorded(self, seq: int) -> datetime:
        """When a link that is there was recorded."""
        found = self._spool.first_version(self.number, seq)
        if found is None:
            raise KeyError(seq)
        return found.recorded

    def walk(self) -> None:
        """From the top down: what is proven, and what does not fit."""
        self.changed, found = False, _Walk()
        expected: tuple[bytes, str] | None = None  # hash of the next link down, and who says so
        fits: bytes | None = None  # likewise, of a link that nothing proves
        above = 0
        for seq, versions, said in self._down():
            if above and seq < above - 1:
                found.gaps.add(seq + 1, above - 1)
                expected = fits = None
            above = seq
            if not versions:
                found.gaps.add(seq, seq)
                expected = fits = None
                continue
            found.see(seq, versions[0].recorded)
            held = self._judge(seq, versions, [*([expected] if expected else []), *said], fits, found)
            expected = (held.previous, f"link {seq}") if seq in found.proven else None
            fits = None if expected else held.previous
        if above > 1:
            found.gaps.add(1, above - 1)
        self._at_the_origin(above, expected, found)
        self._walk = found

    def _down(self) -> Iterator[tuple[int, list[Held], list[tuple[bytes, str]]]]:
        """Each link that is there or claimed, from the last one down: its versions, and what is claimed of it."""
        held: Iterator[tuple[int, Any]] = self._spool.links_down(self.number)
        said: Iterator[tuple[int, Any]] = self._spool.claims_down(self.number)
        both = heapq.merge(held, said, key=itemgetter(0), reverse=True)
        for seq, group in groupby(both, key=itemgetter(0)):
            parts = [part for _, part in group]
            versions = [part for part in parts if isinstance(part, Held)]
            yield seq, versions, [part for part in parts if not isinstance(part, Held)]

    def _judge(
        self,
        seq: int,
        versions: list[Held],
        wanted: list[tuple[bytes, str]],
        fits: bytes | None,
        found: _Walk,
    ) -> Held:
        """One link that is there in one or more versions; the version to go on from."""
        hashes = {want for want, _ in wanted}
        held = next((version for version in versions if version.hash in hashes), versions[0])
        for version in versions:
            if version is not held:
                found.altered.add(seq, f"another version of it lies in {self._spool.name_of(version.place)}")
        if not wanted:
            found.unsigned.add(seq, seq)
            if fits is not None and held.hash != fits:
                found.altered.add(seq, f"it does not fit link {seq + 1}: one of the two was altered")
        elif held.hash not in hashes:
            found.altered.add(seq, f"in {self._spool.name_of(held.place)} it is not what {wanted[0][1]} says it was")
        elif len(hashes) > 1:
            source = next(source for want, source in wanted if want != held.hash)
            found.altered.add(seq, f"{source} says that it was another")
            found.proven.add(seq, seq)
        else:
            found.proven.add(seq, seq)
        return held

    def _at_the_origin(self, lowest: int, expected: tuple[bytes, str] | None, found: _Walk) -> None:
        begins = bytes.fromhex(origin(self._writer, self._epoch))
        if lowest == 1 and expected is not None and expected[0] != begins:
            found.altered.add(1, "it is not the beginning of this chain")

    def findings(self, *, horizon: datetime | None, settled: datetime, quiet_since: datetime) -> Iterator[Finding]:
        """What is wrong, and what is worth a remark, after the last walk.

        horizon: what is older may be gone. settled: what is younger may be on its way. quiet_since: a chain without a
        last word that has been silent since has ended.
        """
        for kind, alike in self._read.items():
            yield from self._told(kind, alike)
        gaps = [self._gap(first, last, horizon, settled) for first, last in self._walk.gaps]
        yield from gaps
        yield from self._told("altered", self._walk.altered)
        late = {gap.first for gap in gaps if gap.kind == "late"}
        for first, last in self._walk.unsigned:
            if last + 1 in late:  # for what would prove it
                yield self._make("late", first, last, "nothing signed proves it yet")
            else:
                yield self._make("unsigned", first, last, "nothing signed proves it")
        yield from self._ending(quiet_since)

    def verdict(self) -> ChainVerdict:
        """What there is of it."""
        walked = self._walk
        return ChainVerdict(
            writer=self._writer,
            epoch=self._epoch,
            first=walked.first,
            last=walked.last,
            links=walked.links,
            proven=len(walked.proven),
            closed=self._spool.closed_at(self.number) is not None,
            since=walked.since,
            until=walked.until,
        )

    def _gap(self, first: int, last: int, horizon: datetime | None, settled: datetime) -> Finding:
        """Links that are not there: too old, on their way, or missing."""
        above = self._spool.first_version(self.number, last + 1)
        claimed = self._spool.first_claim(self.number, first)
        if above is not None:
            known_by, source = above.recorded, f"link {last + 1} follows it"
        elif claimed is not None:
            known_by, source = claimed[0], f"{claimed[1]} says that it was there"
        else:
            return self._make("missing", first, last, "links around it are there")
        lowest = not self._walk.links or first < self._walk.first
        if horizon is not None and lowest and known_by <= horizon:
            return self._make("expired", first, last, "recorded before what has to be kept")
        if known_by > settled:
            return self._make("late", first, last, f"not there yet; {source}")
        return self._make("missing", first, last, source)

    def _ending(self, quiet_since: datetime) -> Iterator[Finding]:
        closed, last = self._spool.closed_at(self.number), self._walk.last
        if closed is not None and last > closed:
            yield self._make("altered", closed + 1, last, f"its writer ended the chain at {closed}")
        claimed = self._spool.last_claimed(self.number)
        times = [*([claimed] if claimed is not None else []), *([self.recorded(last)] if last else [])]
        newest = max(times, default=None)
        if closed is None and newest is not None and newest < quiet_since:
            text = f"its writer did not end it: it crashed at {newest:%Y-%m-%d %H:%M} UTC, or an end is cut off unseen"
            yield self._make("open", last, last, text)

    def _told(self, kind: Fault, alike: _Alike) -> Iterator[Finding]:
        """One by one, and beyond a bound the rest as one."""
        lowest = alike.lowest
        for seq, text in lowest[:_TOLD]:
            yield self._make(kind, seq, seq, text)
        if alike.count > _TOLD:
            yield self._make(kind, lowest[_TOLD][0], alike.last, f"{alike.count - _TOLD} more links likewise")

    def _found(self, kind: Fault, seq: int, text: str) -> None:
        self._read.setdefault(kind, _Alike()).add(seq, text)

    def _make(self, kind: Fault | Remark, first: int, last: int, text: str) -> Finding:
        return Finding(kind, self._writer, self._epoch, first, last, text)
