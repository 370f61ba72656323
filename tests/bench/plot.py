"""The plot for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

Figures = Mapping[str, float]

# Processes in the order in which their CPU is stacked, and what they are called.
STACKED = {
    "reconciler": "reconciler",
    "apiserver": "API server",
    "etcd": "etcd",
    "controller_manager": "controller-manager",
    "scheduler": "scheduler",
    "admission": "admission",
    "fake_node": "fake node",
    "observer": "observer",
    "load": "load",
    "other": "other",
}


def write(file: Path, found: Mapping[str, Figures], *, ceiling: str) -> None:
    """Three panels: throughput against the ceiling, from end to successor, and where the CPU goes."""
    import matplotlib  # noqa: PLC0415 - half a second that a run without a plot need not pay

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    names = [name for name in found if name != ceiling]
    drawing, (left, middle, right) = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    left.bar(names, [found[name]["tasks_per_s"] for name in names], color="tab:blue")
    left.axhline(found[ceiling]["tasks_per_s"], color="black", linestyle="--", label="ceiling: plain pods")
    left.set(title="Tasks a second", xlabel="executions at once", ylim=(0, None))
    left.legend()
    for share in ("p50", "p99"):
        middle.plot(names, [found[name][f"successor_{share}_ms"] for name in names], marker="o", label=share)
    middle.set(title="End of a task to its successor's pod", xlabel="executions at once", ylabel="ms", yscale="log")
    middle.legend()
    floor = [0.0] * len(found)
    for key, label in STACKED.items():
        heights = [held.get(f"cpu_ms_per_task_{key}", 0.0) for held in found.values()]
        right.bar(list(found), heights, bottom=floor, label=label)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    right.set(title="CPU a task", xlabel="executions at once", ylabel="ms")
    right.legend(fontsize="small")
    for axes in (left, middle, right):
        axes.tick_params(axis="x", rotation=30)
    drawing.savefig(file, dpi=110)
    pyplot.close(drawing)
