"""What the monitor does about the audit trail: the archive in each replica, verification in the one that leads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ossa.audit.heads import Keys
from ossa.bus.messages import AUDIT
from ossa.bus.segments import AuditSegment
from ossa.kube.client import ApiClient
from ossa.monitor.archive import GROUP, Archiver
from ossa.monitor.process import Extras, Part
from ossa.monitor.settings import Settings
from ossa.monitor.trailstatus import TrailVerifier
from ossa.store.records.audit import partitioned
from ossa.store.records.pool import Records
from ossa.store.trailarchive import TrailArchive

# How long a trail that is kept for ever has to be there, for a verification.
FOR_EVER: Final = timedelta(days=36500)


def audit_extras(settings: Settings, *, api: ApiClient, records: Records) -> Extras:
    """For Monitor.run. Without keys there is no trail here, but its partitions are looked after all the same.

    Raises:
        BadKey: the file of public keys.
        StoreUnusable: the archive.
    """
    tables = (partitioned(settings.keep_audit),)
    if not settings.audit_keys:
        return Extras(tables=tables)
    keys = Keys.load(Path(settings.audit_keys))
    archive = TrailArchive.open(settings.audit_store) if settings.audit_store else None
    verifier = TrailVerifier(
        api=api,
        namespace=settings.namespace,
        records_url=settings.records_url,
        archive=archive,
        keys=keys,
        kept=settings.keep_audit or FOR_EVER,
        clock=_now,
    )
    archiver = Archiver(archive, records, keys, clock=_now)
    part = Part(AUDIT, GROUP, AuditSegment, archiver.handle)
    return Extras(parts=(part,), loops=(archiver.keep_up,), led=(verifier.run,), tables=tables)


def _now() -> datetime:
    return datetime.now(UTC)
