"""Writes what the pipeline found as JSON, as Markdown and as a plot."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterable
from typing import IO, Any

from ossa.worker import File, Task

MOST_ROWS = 30


def run(task: Task) -> dict[str, Any]:
    """The files `json`, `markdown` and `plot`, and a `summary` that is small enough for a status."""
    report = build(dict(task.input))
    image = io.BytesIO()
    draw(report, image)
    task.log.info("report on %s: %s", report["dataset"], report["summary"])
    return {
        "summary": report["summary"],
        "json": File(json.dumps(report, indent=2).encode(), media_type="application/json"),
        "markdown": File(as_markdown(report).encode(), media_type="text/markdown"),
        "plot": File(image.getvalue(), media_type="image/png"),
    }


def build(found: dict[str, Any]) -> dict[str, Any]:
    """The report as one JSON object: a summary first, then all that it was made of."""
    counts, joined = found["counts"], found["aggregate"]
    metrics = joined["metrics"]
    return {
        "dataset": found["dataset"],
        "summary": {
            "dataset": found["dataset"],
            "records": counts["total"],
            "rejected": counts["rejected"],
            "heldOut": metrics["records"],
            "modelAccuracy": metrics["modelAccuracy"],
            "rulesAccuracy": metrics["rulesAccuracy"],
            "rulesCoverage": metrics["rulesCoverage"],
            "combinedAccuracy": metrics["combinedAccuracy"],
            "disagreements": metrics["disagreements"],
        },
        "quality": {"counts": counts, "rejected": found["rejected"]},
        "model": {**found["model"], "metrics": found["modelMetrics"]},
        "rules": found["rules"],
        "metrics": metrics,
        "disagreements": joined["disagreements"],
        "records": joined["records"],
    }


def as_markdown(report: dict[str, Any]) -> str:
    """The report as Markdown; long tables end with how many rows were left out."""
    return "\n".join(
        [
            f"# Report on `{report['dataset']}`",
            "",
            _overview(report),
            "",
            "## Accuracy on held-out records",
            "",
            _accuracy(report),
            "",
            "The model has not seen these records; the rules were written by somebody who had seen them all.",
            "",
            "## Rules",
            "",
            *_table(
                ("rule", "says", "decided", "why"),
                [(rule["name"], rule["label"], rule["fired"], rule["why"]) for rule in report["rules"]],
            ),
            "",
            "## Where model and rules disagree",
            "",
            *_disagreements(report["disagreements"]),
            "",
            "## Rejected records",
            "",
            *_rejected(report["quality"]["rejected"]),
            "",
        ]
    )


def _overview(report: dict[str, Any]) -> str:
    counts, model, metrics = report["quality"]["counts"], report["model"], report["metrics"]
    return (
        f"{counts['total']} records came in, {counts['rejected']} were rejected. A {model['kind']} model was "
        f"trained on {model['trainedOn']} records with {model['features']} features, and judged "
        f"{metrics['records']} that it had never seen."
    )


def _accuracy(report: dict[str, Any]) -> str:
    metrics, model = report["metrics"], report["model"]["metrics"]
    return "\n".join(
        _table(
            ("who", "accuracy", "of"),
            [
                (
                    "model",
                    _percent(metrics["modelAccuracy"]),
                    f"all; macro F1 {model['macroF1']}, ROC AUC {model['rocAuc']}",
                ),
                (
                    "rules",
                    _percent(metrics["rulesAccuracy"]),
                    f"the {_percent(metrics['rulesCoverage'])} they decided",
                ),
                ("both combined", _percent(metrics["combinedAccuracy"]), "all"),
                ("always the most frequent class", _percent(model["baseline"]), "all, for comparison"),
            ],
        )
    )


def _disagreements(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["Nowhere."]
    return _table(
        ("record", "model", "rules", "decided by", "verdict", "truth"),
        [
            (
                row["id"],
                f"{row['model']['label']} ({row['model']['probability']:.2f})",
                f"{row['rules']['label']} ({row['rules']['rule']})",
                row["decidedBy"],
                row["verdict"],
                row["truth"],
            )
            for row in rows
        ],
    )


def _rejected(entries: list[dict[str, Any]]) -> list[str]:
    if not entries:
        return ["None."]
    return _table(
        ("row", "record", "reasons"),
        [(e["row"], e["id"], "; ".join(reason["message"] for reason in e["reasons"])) for e in entries],
    )


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    lines = [_row(head), _row("---" for _ in head), *(_row(row) for row in rows[:MOST_ROWS])]
    if len(rows) > MOST_ROWS:
        lines += ["", f"… and {len(rows) - MOST_ROWS} more; the JSON report has them all."]
    return lines


def _row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def draw(report: dict[str, Any], target: IO[bytes]) -> None:
    """Draw the plot as a PNG of 1,000 x 420 pixels."""
    # Where the image brings no cache of fonts, matplotlib makes one, and home need not be writable.
    os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp(prefix="matplotlib-"))
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - must follow MPLCONFIGDIR
    from matplotlib.figure import Figure  # noqa: PLC0415 - without pyplot: no global state, a faster start

    figure = Figure(figsize=(10, 4.2), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _draw_accuracy(left, report)
    _draw_confusion(right, report)
    figure.suptitle(f"{report['dataset']}: {report['metrics']['records']} held-out records")
    canvas.print_png(target)


def _draw_accuracy(axes: Any, report: dict[str, Any]) -> None:
    metrics = report["metrics"]
    bars = {
        "baseline": (report["model"]["metrics"]["baseline"], "0.75"),
        "rules": (metrics["rulesAccuracy"] or 0.0, "tab:orange"),
        "model": (metrics["modelAccuracy"], "tab:blue"),
        "combined": (metrics["combinedAccuracy"], "tab:green"),
    }
    drawn = axes.bar(list(bars), [value for value, _ in bars.values()], color=[colour for _, colour in bars.values()])
    axes.bar_label(drawn, fmt="{:.1%}")
    axes.set_ylim(0, 1.1)
    axes.set_ylabel("accuracy")
    axes.set_title(f"Accuracy (the rules decided {metrics['rulesCoverage'] or 0.0:.0%})")


def _draw_confusion(axes: Any, report: dict[str, Any]) -> None:
    classes = report["model"]["classes"]
    pairs = [(row["truth"], row["verdict"]) for row in report["records"]]
    counts = [[pairs.count((truth, verdict)) for verdict in classes] for truth in classes]
    axes.imshow(counts, cmap="Blues")
    most = max(max(row) for row in counts)
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            axes.text(x, y, str(count), ha="center", va="center", color="white" if count > most / 2 else "black")
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("combined verdict")
    axes.set_ylabel("truth")
    axes.set_title("What is taken for what")
