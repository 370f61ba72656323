"""How property tests run (a machine that is busy with something else is no finding), and the servers' fixtures."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.unit.serverfixtures import (
    database,
    postgres,
    postgres_of_session,
    records_url,
    redis,
    redis_of_session,
    redis_url,
    template_of_session,
)

__all__ = [
    "database",
    "postgres",
    "postgres_of_session",
    "records_url",
    "redis",
    "redis_of_session",
    "redis_url",
    "template_of_session",
]

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
