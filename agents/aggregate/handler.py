"""Joins the verdicts of the model and of the rules, and measures both against what is known to be true."""

from __future__ import annotations

from typing import Any

from ossa.worker import Task


def run(task: Task) -> dict[str, Any]:
    """One row a record with both verdicts and the combined one, the disagreements, and the accuracies.

    Raises ValueError where the two did not judge the same records.
    """
    records = task.input["records"]
    by_model = {verdict["id"]: verdict for verdict in task.input["modelVerdicts"]}
    by_rules = {verdict["id"]: verdict for verdict in task.input["ruleVerdicts"]}
    _same_records({record["id"] for record in records}, by_model=set(by_model), by_rules=set(by_rules))
    trust = task.input.get("trustModelFrom", 0.8)
    rows = [join(record, model=by_model[record["id"]], rules=by_rules[record["id"]], trust=trust) for record in records]
    metrics = measure(rows)
    task.log.info("joined %d records: %s", len(rows), metrics)
    return {
        "records": rows,
        "disagreements": [row for row in rows if row["agree"] is False],
        "metrics": metrics,
    }


def _same_records(known: set[str], *, by_model: set[str], by_rules: set[str]) -> None:
    for name, judged in (("modelVerdicts", by_model), ("ruleVerdicts", by_rules)):
        if judged != known:
            odd = sorted(judged ^ known)
            raise ValueError(f"{name}: these records are judged or known, but not both: {', '.join(odd[:5])}")


def join(record: dict[str, Any], *, model: dict[str, Any], rules: dict[str, Any], trust: float) -> dict[str, Any]:
    """One row. Where the two disagree the model wins from the probability `trust` on, else the rules do.

    `agree` is null where the rules abstained; then the model decides alone.
    """
    if rules["label"] is None:
        agree, by = None, "model"
    elif rules["label"] == model["label"]:
        agree, by = True, "both"
    else:
        agree, by = False, "model" if model["probability"] >= trust else "rules"
    return {
        "id": record["id"],
        "truth": record["label"],
        "model": {"label": model["label"], "probability": model["probability"]},
        "rules": {"label": rules["label"], "rule": rules["rule"]},
        "agree": agree,
        "verdict": rules["label"] if by == "rules" else model["label"],
        "decidedBy": by,
    }


def measure(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy of both sides (of the rules: where they decided), and how often they agree."""
    decided = [row for row in rows if row["rules"]["label"] is not None]
    return {
        "records": len(rows),
        "modelAccuracy": _share([row["model"]["label"] == row["truth"] for row in rows]),
        "rulesAccuracy": _share([row["rules"]["label"] == row["truth"] for row in decided]),
        "rulesCoverage": _share([row["rules"]["label"] is not None for row in rows]),
        "combinedAccuracy": _share([row["verdict"] == row["truth"] for row in rows]),
        "agreements": sum(row["agree"] is True for row in rows),
        "disagreements": sum(row["agree"] is False for row in rows),
        "abstentions": len(rows) - len(decided),
    }


def _share(hits: list[bool]) -> float | None:
    return round(sum(hits) / len(hits), 4) if hits else None
