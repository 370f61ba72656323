"""The monitor's settings: one documented tree, read from the environment once and passed in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from ossa.bus.connection import check_url as check_bus_url
from ossa.environment import checked, number, required
from ossa.store.records.pool import check_url as check_records_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this installation runs."""

    records_url: str = field(repr=False)  # postgresql://…; it may hold a password
    bus_url: str = field(repr=False)  # redis://…; likewise
    namespace: str  # where the platform itself runs, and its Lease lies
    name: str  # of this replica, the same after a restart of its container: a consumer in each group
    batch: int = 500  # messages that are committed together
    claim_after: float = 30.0  # seconds after which another takes up what a replica that died had
    approval_waits: float = 3600.0  # seconds after which an approval that nobody decides about is an alert
    lag: int = 50_000  # messages that a group may have to read before that is an alert
    keep_executions: timedelta | None = timedelta(days=365)  # once gone from the cluster; None: for ever
    keep_tasks: timedelta | None = timedelta(days=90)  # likewise, with the history of their transitions
    keep_metrics: timedelta | None = timedelta(days=30)
    keep_audit: timedelta | None = timedelta(days=183)  # the audit trail in PostgreSQL
    audit_keys: str = ""  # file or folder of the public keys that prove it; empty: there is no trail here
    audit_store: str = ""  # where it is archived: file:///folder, s3://bucket/prefix; empty: nowhere
    port: int = 8081  # /healthz and /readyz
    metrics_port: int = 9090
    drain_timeout: float = 20.0  # seconds that batches may take to end


def settings_from(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from OSSA_* variables.

    Raises:
        BadSetting: names the variable.
    """
    return Settings(
        records_url=checked("OSSA_RECORDS_URL", required(environment, "OSSA_RECORDS_URL"), check_records_url),
        bus_url=checked("OSSA_BUS_URL", required(environment, "OSSA_BUS_URL"), check_bus_url),
        namespace=required(environment, "OSSA_NAMESPACE"),
        name=environment.get("OSSA_POD") or os.uname().nodename,
        batch=int(number(environment, "OSSA_MONITOR_BATCH", 500, least=1)),
        claim_after=number(environment, "OSSA_MONITOR_CLAIM_AFTER", 30.0, least=1),
        approval_waits=number(environment, "OSSA_ALERT_APPROVAL_WAITS", 3600.0),
        lag=int(number(environment, "OSSA_ALERT_LAG", 50_000)),
        keep_executions=_days(environment, "OSSA_KEEP_EXECUTIONS_DAYS", 365),
        keep_tasks=_days(environment, "OSSA_KEEP_TASKS_DAYS", 90),
        keep_metrics=_days(environment, "OSSA_KEEP_METRICS_DAYS", 30),
        keep_audit=_days(environment, "OSSA_KEEP_AUDIT_DAYS", 183),
        audit_keys=environment.get("OSSA_AUDIT_KEYS", ""),
        audit_store=environment.get("OSSA_AUDIT_STORE", ""),
        port=int(number(environment, "OSSA_HEALTH_PORT", 8081)),
        metrics_port=int(number(environment, "OSSA_METRICS_PORT", 9090)),
        drain_timeout=number(environment, "OSSA_MONITOR_DRAIN_TIMEOUT", 20.0),
    )


def _days(environment: Mapping[str, str], name: str, otherwise: float) -> timedelta | None:
    """0 keeps for ever."""
    days = number(environment, name, otherwise)
    return timedelta(days=days) if days else None
