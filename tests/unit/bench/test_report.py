"""The table, the plot, and what is asked of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.bench import plot, report

FOUND = {
    "ceiling": {"tasks": 1500.0, "tasks_per_s": 200.0, "cpu_ms_per_task_apiserver": 7.25},
    "300": {
        "executions": 300.0,
        "tasks": 2100.0,
        "tasks_per_s": 110.25,
        "ceiling_ratio": 0.551,
        "successor_p50_ms": 284.0,
        "successor_p99_ms": 812.4,
        "cpu_ms_per_task_apiserver": 9.0,
        "cpu_ms_per_task_reconciler": 3.0,
    },
}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (math.nan, "-"), (0.0, "0"), (0.123, "0.12"), (12.34, "12.3"), (1234.5, "1,234"), (1.0, "1")],
)
def test_numbers_have_the_digits_that_matter(value: float | None, text: str) -> None:
    assert report.number(value) == text


def test_the_table_has_a_column_a_scenario_and_no_empty_rows() -> None:
    rows = report.table(FOUND)
    assert rows[0] == ["", "ceiling", "300"]
    assert ["tasks/s, of the ceiling", "200 / -", "110 / 0.55"] in rows
    assert ["end of a task to its successor's pod, p50 / p99, ms", "- / -", "284 / 812"] in rows
    assert not any("memory" in row[0] for row in rows)


def test_markdown_is_the_same_table() -> None:
    lines = report.as_markdown(FOUND).splitlines()
    assert lines[:2] == ["|  | ceiling | 300 |", "|---|---|---|"]
    assert len(lines) == len(report.table(FOUND)) + 1


def test_lines_of_the_text_are_equally_long() -> None:
    assert len({len(line) for line in report.as_text(FOUND).splitlines()}) == 1


def test_a_plot_is_written(tmp_path: Path) -> None:
    file = tmp_path / "bench.png"
    plot.write(file, FOUND, ceiling="ceiling")
    assert file.read_bytes().startswith(b"\x89PNG")
