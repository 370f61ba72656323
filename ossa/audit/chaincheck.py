"""One chain, checked: which of its links are proven, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from ossa.audit.chain import Link, origin
from ossa.audit.findings import ChainVerdict, Fault, Finding, Remark

# Faults of a kind that are told one by one.
_TOLD: Final = 20


@dataclass(frozen=True, slots=True)
class Claim:
    """That the chain had come to `seq` with `hash` at `time`; proven, by whom `source` says."""

    seq: int
    hash: str
    time: datetime
    source: str
    closed: bool = False


@dataclass(frozen=True, slots=True)
class _Held:
    """What is kept of a link."""

    hash: bytes
    previous: bytes
    recorded: datetime
    place: str


@dataclass(slots=True)
class _Walk:
    """What one walk down the chain found."""

    proven: set[int] = field(default_factory=set)
    faults: dict[Fault, list[tuple[int, str]]] = field(default_factory=dict)
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def fault(self, kind: Fault, seq: int, text: str) -> None:
        self.faults.setdefault(kind, []).append((seq, text))


class ChainCheck:
    """Takes links and claims in any order; `walk` as often as there is something new; then `findings`."""

    def __init__(self, writer: str, epoch: str) -> None:
        self._writer, self._epoch = writer, epoch
        self._links: dict[int, list[_Held]] = {}
        self._claims: dict[int, list[Claim]] = {}
        self._read: list[Finding] = []
        self._last_in: dict[str, int] = {}
        self._walk = _Walk()
        self.changed = True

    def add(self, link: Link, place: str) -> None:
        """A link of this chain. The same one in several places is a copy, and no finding."""
        body = link.body
        held = _Held(bytes.fromhex(link.hash), bytes.fromhex(body.previous), body.recorded, place)
        before = self._last_in.get(place, 0)
        versions = self._links.setdefault(body.seq, [])
        if any(version.place == place for version in versions):
            self._found("duplicated", body.seq, body.seq, f"it lies in {place} more than once")
        elif body.seq < before:
            self._found("reordered", body.seq, body.seq, f"in {place} it lies behind link {before}")
        self._last_in[place] = max(before, body.seq)
        if all(version.hash != held.hash for version in versions):
            versions.append(held)
        self.changed = True

    def claim(self, claim: Claim) -> None:
        """What something proven says of this chain."""
        self._claims.setdefault(claim.seq, []).append(claim)
        if not (claim.seq in self._walk.proven and self._is(claim.seq, claim.hash)):
            self.changed = True

    def unreadable(self, text: str) -> None:
        """A line that is no link: which one it was, what is missing tells."""
        self._found("altered", 0, 0, text)

    def is_proven(self, seq: int) -> bool:
        """Whether something signed proves the link, as far as it was walked."""
        return seq in self._walk.proven

    def recorded(self, seq: int) -> datetime:
        """When a link that is there was recorded."""
        return self._links[seq][0].recorded

    def walk(self) -> None:
        """From the top down: what is proven, and what does not fit."""
        self.changed, found = False, _Walk()
        expected: tuple[bytes, str] | None = None  # hash of the next link down, and who says so
        fits: bytes | None = None  # likewise, of a link that nothing proves
        above = 0
        for seq in sorted(self._links.keys() | {seq for seq in self._claims if seq}, reverse=True):
            if above and seq < above - 1:
                found.gaps.append((seq + 1, above - 1))
                expected = fits = None
            above = seq
            said = [(bytes.fromhex(claim.hash), claim.source) for claim in self._claims.get(seq, ())]
            wanted = [*([expected] if expected else []), *said]
            versions = self._links.get(seq, [])
            if not versions:
                found.gaps.append((seq, seq))
                expected = fits = None
                continue
            held = self._judge(seq, versions, wanted, fits, found)
            expected = (held.previous, f"link {seq}") if seq in found.proven else None
            fits = None if expected else held.previous
        if above > 1:
            found.gaps.append((1, above - 1))
        self._at_the_origin(above, expected, found)
        self._walk = found

    def _judge(
        self,
        seq: int,
        versions: list[_Held],
        wanted: list[tuple[bytes, str]],
        fits: bytes | None,
        found: _Walk,
    ) -> _Held:
        """One link that is there in one or more versions; the version to go on from."""
        hashes = {want for want, _ in wanted}
        held = next((version for version in versions if version.hash in hashes), versions[0])
        for version in versions:
            if version is not held:
                found.fault("altered", seq, f"another version of it lies in {version.place}")
        if not wanted:
            found.fault("unsigned", seq, "nothing signed proves it")
            if fits is not None and held.hash != fits:
                found.fault("altered", seq, f"it does not fit link {seq + 1}: one of the two was altered")
        elif held.hash not in hashes:
            found.fault("altered", seq, f"in {held.place} it is not what {wanted[0][1]} says it was")
        elif len(hashes) > 1:
            source = next(source for want, source in wanted if want != held.hash)
            found.fault("altered", seq, f"{source} says that it was another")
            found.proven.add(seq)
        else:
            found.proven.add(seq)
        return held

    def _at_the_origin(self, lowest: int, expected: tuple[bytes, str] | None, found: _Walk) -> None:
        begins = bytes.fromhex(origin(self._writer, self._epoch))
        if lowest == 1 and expected is not None and expected[0] != begins:
            found.fault("altered", 1, "it is not the beginning of this chain")

    def findings(self, *, horizon: datetime | None, settled: datetime, quiet_since: datetime) -> Iterator[Finding]:
        """What is wrong, and what is worth a remark, after the last walk.

        horizon: what is older may be gone. settled: what is younger may be on its way. quiet_since: a chain without a
        last word that has been silent since has ended.
        """
        yield from self._read
        gaps = [self._gap(first, last, horizon, settled) for first, last in _merged(self._walk.gaps)]
        yield from gaps
        late = {gap.first for gap in gaps if gap.kind == "late"}
        for kind, held in self._walk.faults.items():
            yield from self._told(kind, sorted(held), late)
        yield from self._ending(quiet_since)

    def verdict(self) -> ChainVerdict:
        """What there is of it."""
        times = [version.recorded for versions in self._links.values() for version in versions[:1]]
        return ChainVerdict(
            writer=self._writer,
            epoch=self._epoch,
            first=min(self._links, default=0),
            last=max(self._links, default=0),
            links=len(self._links),
            proven=len(self._walk.proven),
            closed=self._closed_at() is not None,
            since=min(times, default=None),
            until=max(times, default=None),
        )

    def _gap(self, first: int, last: int, horizon: datetime | None, settled: datetime) -> Finding:
        """Links that are not there: too old, on their way, or missing."""
        above = self._links.get(last + 1)
        claims = [claim for seq, held in self._claims.items() if seq >= first for claim in held]
        if above is not None:
            known_by, source = above[0].recorded, f"link {last + 1} follows it"
        elif claims:
            first_told = min(claims, key=lambda claim: claim.time)
            known_by, source = first_told.time, f"{first_told.source} says that it was there"
        else:
            return self._make("missing", first, last, "links around it are there")
        lowest = not any(seq < first for seq in self._links)
        if horizon is not None and lowest and known_by <= horizon:
            return self._make("expired", first, last, "recorded before what has to be kept")
        if known_by > settled:
            return self._make("late", first, last, f"not there yet; {source}")
        return self._make("missing", first, last, source)

    def _ending(self, quiet_since: datetime) -> Iterator[Finding]:
        closed, last = self._closed_at(), max(self._links, default=0)
        if closed is not None and last > closed:
            yield self._make("altered", closed + 1, last, f"its writer ended the chain at {closed}")
        times = [claim.time for held in self._claims.values() for claim in held]
        newest = max([*times, *(self._links[last][0].recorded for _ in range(bool(last)))], default=None)
        if closed is None and newest is not None and newest < quiet_since:
            text = f"its writer did not end it: it crashed at {newest:%Y-%m-%d %H:%M} UTC, or an end is cut off unseen"
            yield self._make("open", last, last, text)

    def _closed_at(self) -> int | None:
        return next((seq for seq, held in self._claims.items() if any(claim.closed for claim in held)), None)

    def _told(self, kind: Fault, held: list[tuple[int, str]], late: set[int]) -> Iterator[Finding]:
        """Many alike as ranges, others one by one; beyond a bound the rest as one."""
        if kind == "unsigned":
            for first, last in _merged((seq, seq) for seq, _ in held):
                waiting = last + 1 in late  # for what would prove it
                yield self._make("late" if waiting else kind, first, last, held[0][1] + (" yet" if waiting else ""))
            return
        for seq, text in held[:_TOLD]:
            yield self._make(kind, seq, seq, text)
        if len(held) > _TOLD:
            yield self._make(kind, held[_TOLD][0], held[-1][0], f"{len(held) - _TOLD} more links likewise")

    def _found(self, kind: Fault, first: int, last: int, text: str) -> None:
        self._read.append(self._make(kind, first, last, text))

    def _make(self, kind: Fault | Remark, first: int, last: int, text: str) -> Finding:
        return Finding(kind, self._writer, self._epoch, first, last, text)

    def _is(self, seq: int, digest: str) -> bool:
        return any(version.hash.hex() == digest for version in self._links.get(seq, ()))


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges in order, those that touch as one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and merged[-1][1] + 1 >= first:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged
