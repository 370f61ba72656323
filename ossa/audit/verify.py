"""Verification: from signed heads down, link by link. It says what is proven and what exactly is wrong.

A signed head proves the link that it names, that link proves the one before, and so on. Whoever can write to the
database and to the bucket, and has no key, can therefore alter nothing below a head unseen. They can take away a
chain's end together with its later heads, or a chain as a whole: that is seen by what other chains witnessed of it, and
by the heads that an earlier verification kept.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pydantic import ValidationError

from ossa.audit.chain import BadLink, Witnessed, read_link
from ossa.audit.chaincheck import ChainCheck
from ossa.audit.findings import ChainVerdict, Finding, Verdict
from ossa.audit.heads import Head, Keys
from ossa.audit.spool import Claim, Spool

# A living writer says something at least this often, be it only how far the others have come.
HEARTBEAT: Final = timedelta(minutes=5)
_Key = tuple[str, str]


class Verifier:
    """Takes links and heads in any order, of as many chains as there are, and then says what they prove.

    The links of one place come together. What was read lies on disk (`Spool`); in memory is what is wrong, and a few
    numbers of each chain.

    horizon: what was recorded before may have been removed, as it was kept for long enough. settled: what was recorded
    later may still be on its way, and is not missing yet.
    """

    def __init__(
        self, keys: Keys, *, now: datetime, horizon: datetime | None = None, settled: datetime | None = None
    ) -> None:
        self._keys, self._now = keys, now
        self._horizon, self._settled = horizon, settled or now
        self._checks: dict[_Key, ChainCheck] = {}
        self._heads: dict[_Key, Head] = {}
        self._findings: dict[Finding, None] = {}  # each once, in their order
        self._spool = Spool()

    def line(self, text: str, *, writer: str, epoch: str, place: str) -> None:
        """A link as it was found in `place` (an object or a table), where those of one chain lie in their order."""
        check = self._check(writer, epoch)
        try:
            link = read_link(text)
        except BadLink as error:
            check.unreadable(f"in {place} lies a line that is no link: {error}")
            return
        body = link.body
        if (body.writer, body.epoch) != (writer, epoch):
            self.found(
                Finding(
                    "reordered", writer, epoch, 0, 0, f"in {place} lies link {body.seq} of {body.writer}/{body.epoch}"
                )
            )
            return
        check.add(link, place)
        for said in body.witnessed:
            self._spool.witness(check.number, body.seq, said)

    def head_line(self, text: str, *, place: str) -> None:
        """A head as it was found."""
        try:
            head = Head.model_validate_json(text)
        except ValidationError:
            self.found(Finding("forged", "", "", 0, 0, f"in {place} lies {text[:80]!r}, which is no head"))
            return
        self.head(head, place=place)

    def head(self, head: Head, *, place: str) -> None:
        """A head, wherever it is from. One that no key proves is a finding, and proves nothing."""
        if not self._keys.proves(head):
            known = head.key in self._keys.ids
            why = "its signature is wrong" if known else f"its key {head.key} is not among those given"
            text = f"the head at {head.seq} in {place} proves nothing: {why}"
            self.found(Finding("forged", head.writer, head.epoch, head.seq, head.seq, text))
            self._check(head.writer, head.epoch)
            return
        key = (head.writer, head.epoch)
        best = self._heads.get(key)
        if best is None or (head.seq, head.closed, head.time) > (best.seq, best.closed, best.time):
            self._heads[key] = head
        self._check(*key).claim(Claim(head.seq, head.hash, head.time, f"a head in {place}", closed=head.closed))

    def found(self, finding: Finding) -> None:
        """What whoever reads found by themselves."""
        self._findings[finding] = None

    def finish(self) -> Verdict:
        """What all of it proves."""
        # What a proven link witnessed may prove links that in turn have witnessed something.
        while any(check.changed for check in self._checks.values()):
            for key, check in list(self._checks.items()):
                if check.changed:
                    check.walk()
                for seq in self._spool.witnesses(check.number):
                    if check.is_proven(seq):
                        self._hold_to(key, seq, self._spool.take(check.number, seq))
        chains: list[ChainVerdict] = []
        for check in self._checks.values():
            quiet_since = self._now - 3 * HEARTBEAT
            for found in check.findings(horizon=self._horizon, settled=self._settled, quiet_since=quiet_since):
                self.found(found)
            chains.append(check.verdict())
        return Verdict(
            tuple(sorted(chains, key=lambda one: (one.epoch, one.writer))),
            tuple(sorted(self._findings, key=lambda one: (one.epoch, one.writer, one.first, one.kind))),
            tuple(self._heads[key] for key in sorted(self._heads)),
        )

    def _hold_to(self, by: _Key, seq: int, witnessed: list[Witnessed]) -> None:
        """What a proven link says of other chains counts as if it were signed."""
        said = self._checks[by].recorded(seq)
        for one in witnessed:
            origin_of = f"link {seq} of {by[0]}/{by[1]}, which witnessed it"
            self._check(one.writer, one.epoch).claim(Claim(one.seq, one.hash, said, origin_of))

    def _check(self, writer: str, epoch: str) -> ChainCheck:
        check = self._checks.get((writer, epoch))
        if check is None:
            check = self._checks[writer, epoch] = ChainCheck(writer, epoch, self._spool, len(self._checks))
        return check
