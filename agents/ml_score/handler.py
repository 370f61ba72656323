"""Trains a model on the training part, and judges the held-out part that it has never seen."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from ossa.worker import Task


def run(task: Task) -> dict[str, Any]:
    """A verdict {id, label, probability, probabilities} for each held-out record, and the metrics.

    Metrics: accuracy, macroF1, rocAuc (one against the rest where there are more than two classes) and
    baseline, the accuracy of always naming the class that is most frequent in training.
    """
    train, held_out = task.input["train"], task.input["heldOut"]
    kind = task.input.get("model", "logistic-regression")
    # One small pod on a shared node: more threads than its share of a CPU only slow each other down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    model = _model(kind, seed=task.input.get("seed", 7))
    model.fit([record["scaled"] for record in train], [record["label"] for record in train])
    classes = [str(name) for name in model.classes_]
    probabilities = model.predict_proba([record["scaled"] for record in held_out]).tolist()
    verdicts = [_verdict(record["id"], classes, row) for record, row in zip(held_out, probabilities, strict=True)]
    truth = [record["label"] for record in held_out]
    most_frequent = Counter(record["label"] for record in train).most_common(1)[0][0]
    metrics = _metrics(truth, [verdict["label"] for verdict in verdicts], probabilities)
    metrics["baseline"] = round(truth.count(most_frequent) / len(truth), 4)
    task.log.info("%s: %s on %d held-out records", kind, metrics, len(truth))
    return {
        "verdicts": verdicts,
        "metrics": metrics,
        "model": {
            "kind": kind,
            "trainedOn": len(train),
            "features": len(train[0]["scaled"]),
            "classes": classes,
        },
    }


def _model(kind: str, *, seed: int) -> Any:
    if kind == "gradient-boosting":
        from sklearn.ensemble import GradientBoostingClassifier  # noqa: PLC0415 - slow, and only one is needed

        return GradientBoostingClassifier(random_state=seed)
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    return LogisticRegression(max_iter=1000, random_state=seed)


def _verdict(identity: str, classes: list[str], probabilities: list[float]) -> dict[str, Any]:
    best = max(range(len(classes)), key=probabilities.__getitem__)
    return {
        "id": identity,
        "label": classes[best],
        "probability": round(probabilities[best], 4),
        "probabilities": {name: round(p, 4) for name, p in zip(classes, probabilities, strict=True)},
    }


def _metrics(truth: list[str], predicted: list[str], probabilities: list[list[float]]) -> dict[str, float]:
    from sklearn import metrics  # noqa: PLC0415

    # Columns are in the order of the sorted classes, as scikit-learn's models and this score have it.
    two = len(probabilities[0]) == 2
    positive = max(truth)
    auc = (
        metrics.roc_auc_score([label == positive for label in truth], [row[1] for row in probabilities])
        if two
        else metrics.roc_auc_score(truth, probabilities, multi_class="ovr", average="macro")
    )
    return {
        "accuracy": round(float(metrics.accuracy_score(truth, predicted)), 4),
        "macroF1": round(float(metrics.f1_score(truth, predicted, average="macro")), 4),
        "rocAuc": round(float(auc), 4),
    }
