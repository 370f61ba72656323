"""The figures for a person: a table, and its like for docs/performance.md."""

from __future__ import annotations

import math
from collections.abc import Mapping

Figures = Mapping[str, float]

# Row of the table -> the figures in it, joined with " / ".
ROWS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("executions, tasks", ("executions", "tasks")),
    ("share that Completed", ("completed_share",)),
    ("tasks/s, of the ceiling", ("tasks_per_s", "ceiling_ratio")),
    ("CPU of a plain pod by CPU of a task", ("cpu_ratio",)),
    ("duration, s", ("duration_s",)),
    ("end of a task to its successor's pod, p50 / p99, ms", ("successor_p50_ms", "successor_p99_ms")),
    ("creation to the first pod, p50 / p99, ms", ("first_pod_p50_ms", "first_pod_p99_ms")),
    ("creation to the end of an execution, p50 / p99, ms", ("execution_p50_ms", "execution_p99_ms")),
    ("CPU of the reconciler, ms a task", ("cpu_ms_per_task_reconciler",)),
    ("CPU of API server / etcd, ms a task", ("cpu_ms_per_task_apiserver", "cpu_ms_per_task_etcd")),
    ("what the API server allocates, KiB a task", ("apiserver_alloc_kib_per_task",)),
    (
        "CPU of controller-manager / scheduler, ms a task",
        ("cpu_ms_per_task_controller_manager", "cpu_ms_per_task_scheduler"),
    ),
    (
        "CPU of admission / fake node / observer / load, ms a task",
        (
            "cpu_ms_per_task_admission",
            "cpu_ms_per_task_fake_node",
            "cpu_ms_per_task_observer",
            "cpu_ms_per_task_load",
        ),
    ),
    ("CPU of whatever else ran, ms a task; its share", ("cpu_ms_per_task_other", "other_share")),
    ("memory of the reconciler, peak, MB", ("memory_peak_mb",)),
    ("largest Execution, KiB", ("execution_max_kib",)),
    (
        "pods POST / status PATCH / pods GET / events POST, a task",
        ("pods_post_per_task", "status_patch_per_task", "pods_get_per_task", "events_post_per_task"),
    ),
    ("revisions GET / PUT, a task", ("revisions_get_per_task", "revisions_put_per_task")),
    (
        "all requests GET / POST / PATCH / PUT, a task",
        (
            "requests_per_task_get",
            "requests_per_task_post",
            "requests_per_task_patch",
            "requests_per_task_put",
        ),
    ),
    ("removing the pods: DELETE a task / CPU ms a task", ("clean_delete_per_task", "clean_cpu_ms_per_task")),
    ("start until idle, s / CPU s / MB", ("start_s", "start_cpu_s", "start_memory_mb")),
)


def number(value: float | None) -> str:
    """Three or so digits that matter."""
    if value is None or math.isnan(value):
        return "-"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(figures: Mapping[str, Figures]) -> list[list[str]]:
    """Head and rows; rows without any figure are left out."""
    rows = [["", *figures]]
    for label, names in ROWS:
        if any(name in held for held in figures.values() for name in names):
            rows.append([label, *(" / ".join(number(held.get(name)) for name in names) for held in figures.values())])
    return rows


def as_text(figures: Mapping[str, Figures]) -> str:
    """For a terminal."""
    rows = table(figures)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) if not column else cell.rjust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (zip(row, widths, strict=True) for row in rows)
    ]
    return "\n".join(lines)


def as_markdown(figures: Mapping[str, Figures]) -> str:
    """For docs/performance.md."""
    head, *rows = table(figures)
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join([*lines, ""])
