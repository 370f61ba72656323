"""When Go programs collect garbage, said by their environment: https://go.dev/doc/gc-guide."""

from __future__ import annotations

import os


def compilers() -> dict[str, str]:
    """Not before a part of the memory is used: it takes a fifth of their time."""
    return {"GOGC": "off", "GOMEMLIMIT": str(_limit())}


def servers() -> dict[str, str]:
    """Once what is allocated has become five times what is used, instead of twice.

    On few cores every request waits while the API server collects garbage, at its default every few seconds.
    """
    return {"GOGC": "400", "GOMEMLIMIT": str(_limit())}


def _limit() -> int:
    """In bytes: a sixth of the machine's memory, beyond which it is collected all the same."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1 << 30, total // 6)
