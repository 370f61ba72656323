"""Connections that httpx keeps open."""

from __future__ import annotations

from typing import Final

import httpx

# Beyond `max_keepalive_connections` httpcore (1.0) closes an idle connection also where it has just been given to a
# request, which then fails or waits until its timeout (encode/httpcore#1110). Nothing is beyond where all are kept.
LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=None, keepalive_expiry=5.0)
