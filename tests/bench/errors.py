"""What may go wrong while something is measured."""

from __future__ import annotations


class BenchError(Exception):
    """It cannot be measured; says why."""
