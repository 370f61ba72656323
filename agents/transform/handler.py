"""Derives features, splits the records into a training and a held-out part, and standardises both."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from statistics import fmean, pstdev
from typing import Any

from ossa.worker import Task

Record = dict[str, Any]
Values = dict[str, float]

# The contract of the data sets keeps every divisor above zero.
DERIVED: dict[str, dict[str, Callable[[Values], float]]] = {
    "wine": {
        "flavanoid_share": lambda v: v["flavanoids"] / v["total_phenols"],
        "colour_per_hue": lambda v: v["color_intensity"] / v["hue"],
    },
    "breast_cancer": {
        "shape_factor": lambda v: v["mean_perimeter"] ** 2 / v["mean_area"],
        "worst_to_mean_area": lambda v: v["worst_area"] / v["mean_area"],
    },
}


def run(task: Task) -> dict[str, Any]:
    """Records {id, label, values, scaled}: `values` in their units, `scaled` in the order of `features`.

    The scaling is measured on the training part alone: nothing of the held-out part leaks into training.
    Raises ValueError where a class has fewer than two records.
    """
    dataset = task.input["dataset"]
    records = [_with_derived(record, DERIVED[dataset]) for record in task.input["records"]]
    train, held_out = split(records, task.input.get("heldOutShare", 0.3), seed=task.input.get("seed", 7))
    scaling = measure(train)
    for record in (*train, *held_out):
        record["scaled"] = [
            round((record["values"][name] - by["mean"]) / by["deviation"], 6) for name, by in scaling.items()
        ]
    task.log.info("%d records to train on, %d held out, %d features", len(train), len(held_out), len(scaling))
    return {
        "train": train,
        "heldOut": held_out,
        "features": list(scaling),
        "scaling": scaling,
        "counts": {"train": len(train), "heldOut": len(held_out), "features": len(scaling)},
    }


def _with_derived(record: Record, derived: dict[str, Callable[[Values], float]]) -> Record:
    values = record["values"]
    more = {name: round(derive(values), 6) for name, derive in derived.items()}
    return {"id": record["id"], "label": record["label"], "values": {**values, **more}}


def split(records: list[Record], share: float, *, seed: int) -> tuple[list[Record], list[Record]]:
    """(training, held out): of every class the same share is held out, at least one record and never all."""
    by_label: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_label[record["label"]].append(record)
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    train: list[Record] = []
    held_out: list[Record] = []
    for label in sorted(by_label):
        group = sorted(by_label[label], key=lambda record: str(record["id"]))
        if len(group) < 2:
            raise ValueError(f"records: class {label!r} has one record; two are needed to train and to hold one out")
        chance.shuffle(group)
        cut = min(max(round(share * len(group)), 1), len(group) - 1)
        held_out += group[:cut]
        train += group[cut:]
    return train, held_out


def measure(records: list[Record]) -> dict[str, dict[str, float]]:
    """Mean and deviation of each feature; a feature that never changes has deviation 1, so it scales to 0."""
    if not records:
        raise ValueError("records: there are none to measure the scaling on")
    scaling = {}
    for name in records[0]["values"]:
        column = [record["values"][name] for record in records]
        scaling[name] = {"mean": fmean(column), "deviation": pstdev(column) or 1.0}
    return scaling
