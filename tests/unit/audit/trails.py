"""Trails for tests: keys, entries and chains, as a writer makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ossa.audit.chain import Chain, Link, Witnessed
from ossa.audit.entry import Entry
from ossa.audit.findings import Finding, Verdict
from ossa.audit.heads import Head, Keys, Signer
from ossa.audit.verify import Verifier

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EPOCH = "20260301t120000z-aa"


def signer_of(number: int = 1) -> Signer:
    """The same key for the same number."""
    return Signer(Ed25519PrivateKey.from_private_bytes(number.to_bytes(32, "big")))


def entry_of(number: int = 1, **more: object) -> Entry:
    """A change by somebody."""
    said = {
        "id": f"request-{number}",
        "time": NOW + timedelta(seconds=number),
        "user": "ossa:alice",
        "verb": "create",
        "resource": "executions",
        "namespace": "default",
        "name": f"exe-{number}",
        "outcome": "allowed",
        "status": 202,
    }
    return Entry.model_validate({**said, **more})


@dataclass
class Written:
    """A chain with its links and one head."""

    writer: str = "gateway-0"
    epoch: str = EPOCH
    links: list[Link] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    signer: Signer = field(default_factory=signer_of)

    def __post_init__(self) -> None:
        self.chain = Chain(self.writer, self.epoch)

    def write(self, count: int, *, witnessed: tuple[Witnessed, ...] = ()) -> Written:
        for _ in range(count):
            number = self.chain.seq + 1
            moment = NOW + timedelta(seconds=number)
            self.links.append(self.chain.append(entry_of(number), moment, witnessed=witnessed))
        return self

    def sign(self, *, closed: bool = False) -> Written:
        moment = NOW + timedelta(seconds=self.chain.seq)
        self.heads.append(self.signer.sign(self.chain, moment, closed=closed))
        return self

    def witness(self) -> Witnessed:
        """What another chain says of this one as it stands."""
        return Witnessed(writer=self.writer, epoch=self.epoch, seq=self.chain.seq, hash=self.chain.hash)

    @property
    def texts(self) -> list[str]:
        return [link.text for link in self.links]


def chain_of(count: int, *, writer: str = "gateway-0") -> Written:
    """A closed chain of so many links, proven by one head."""
    return Written(writer).write(count).sign(closed=True)


def verdict_of(
    *chains: Written,
    texts: list[str] | None = None,
    heads: list[Head] | None = None,
    known: tuple[Head, ...] = (),
    horizon: datetime | None = None,
    settled: datetime | None = None,
) -> Verdict:
    """Of chains as they are; `texts` and `heads` stand for the first one's."""
    now = NOW + timedelta(days=1)
    verifier = Verifier(Keys([signer_of().public]), now=now, horizon=horizon, settled=settled)
    for number, written in enumerate(chains):
        first = number == 0
        for text in texts if texts is not None and first else written.texts:
            verifier.line(text, writer=written.writer, epoch=written.epoch, place="audit")
        for head in heads if heads is not None and first else written.heads:
            verifier.head(head, place="heads")
    for head in known:
        verifier.head(head, place="what is known")
    return verifier.finish()


def ranges(found: Sequence[Finding], kind: str) -> list[tuple[int, int]]:
    """Which links the findings of a kind are about."""
    return [(finding.first, finding.last) for finding in found if finding.kind == kind]


def public_pem(key: Ed25519PublicKey) -> str:
    """A public key as it lies in a file of keys."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
