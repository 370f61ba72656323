"""The monitor's settings."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ossa.environment import BadSetting
from ossa.monitor.settings import settings_from

LEAST = {
    "OSSA_RECORDS_URL": "postgresql://ossa:secret@db:5432/ossa",
    "OSSA_BUS_URL": "redis://:secret@ossa-redis:6382",
    "OSSA_NAMESPACE": "ossa-system",
}


def test_the_least_is_enough_and_no_password_is_shown() -> None:
    settings = settings_from(LEAST)
    assert "secret" not in repr(settings)
    assert settings.keep_metrics == timedelta(days=30)
    assert settings.name


def test_zero_days_keep_for_ever() -> None:
    assert settings_from(LEAST | {"OSSA_KEEP_TASKS_DAYS": "0"}).keep_tasks is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OSSA_RECORDS_URL", ""),
        ("OSSA_RECORDS_URL", "mysql://secret@db"),
        ("OSSA_BUS_URL", "http://secret@x"),
        ("OSSA_NAMESPACE", ""),
        ("OSSA_MONITOR_BATCH", "0"),
        ("OSSA_MONITOR_BATCH", "many"),
        ("OSSA_KEEP_TASKS_DAYS", "-1"),
        ("OSSA_ALERT_LAG", "nan"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(BadSetting, match=name) as found:
        settings_from(LEAST | {name: value})
    assert "secret" not in str(found.value)
