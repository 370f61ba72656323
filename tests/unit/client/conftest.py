"""What tests of the client share with those of events."""

from __future__ import annotations

from tests.unit.gateway.events.conftest import views

__all__ = ["views"]
