"""A scan costs what its rules cost, a few times over, and no more with each object."""

from __future__ import annotations

from tests.bench.scan import measure

# Measured: 7.6 at 150 and 600, 8.0 at 10,000 objects; what grows with the square of their number, or compiles again, is
# far above.
MOST = 16.0


def test_a_scan_costs_a_few_times_its_rules() -> None:
    small, large = measure(150, 20), measure(600, 20)
    assert large.judged == 4 * small.judged
    assert large.ratio < MOST
    assert small.ratio < MOST
