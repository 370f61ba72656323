"""The audit trail on the bus. Apart from the other messages, since it needs more than they do."""

from __future__ import annotations

from collections.abc import Sequence

from ossa.audit.chain import Link
from ossa.audit.heads import Head
from ossa.audit.segment import Segment
from ossa.bus.messages import Message


class AuditSegment(Message):
    """Links of one chain of the audit trail, with a head that covers them, on the stream `ossa:audit`."""

    segment: Segment


def message_of(links: Sequence[Link], head: Head) -> AuditSegment:
    """The message for links that were just made; `id` names their epoch and their numbers."""
    numbers = f"{links[0].body.seq}-{links[-1].body.seq}"
    return AuditSegment.model_construct(
        id=f"{head.epoch}/{numbers}", time=head.time, source="api", segment=Segment.of(links, head)
    )
