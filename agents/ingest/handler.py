"""Loads a data set as records. On request it spoils some rows, so that validation has something to find."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

from ossa.worker import Task

Record = dict[str, Any]


def run(task: Task) -> dict[str, Any]:
    """The records of `dataset`, `spoil` of them spoiled, and a ledger of what was done to which row.

    Raises ValueError where more rows should be spoiled than there are (one row always stays as it was).
    """
    dataset = task.input.get("dataset", "wine")
    records, classes = _load(dataset)
    spoiled = spoil(records, task.input.get("spoil", 0), seed=task.input.get("seed", 7))
    task.log.info("loaded %d records of %s, spoiled %d", len(records), dataset, len(spoiled))
    return {
        "dataset": dataset,
        "classes": classes,
        "count": len(records),
        "records": records,
        "spoiled": spoiled,
    }


def _load(dataset: str) -> tuple[list[Record], list[str]]:
    # One small pod on a shared node: more threads than its share of a CPU only slow each other down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from sklearn import datasets  # noqa: PLC0415 - takes a second, and only this function needs it

    bunch = {"wine": datasets.load_wine, "breast_cancer": datasets.load_breast_cancer}[dataset]()
    names = [name.replace(" ", "_").replace("/", "_") for name in bunch.feature_names]
    classes = [str(name) for name in bunch.target_names]
    records = [
        {
            "id": f"{dataset}-{number:04d}",
            "label": classes[label],
            "values": dict(zip(names, row, strict=True)),
        }
        for number, (row, label) in enumerate(zip(bunch.data.tolist(), bunch.target.tolist(), strict=True), 1)
    ]
    return records, classes


def spoil(records: list[Record], count: int, *, seed: int) -> list[dict[str, Any]]:
    """Spoil `count` records in place in four ways; what was done to which: row (from 0), way, field.

    The same seed spoils the same rows in the same way. Row 0 stays whole: a duplicate needs an original.
    """
    if count > len(records) - 1:
        raise ValueError(
            f"spoil: {count} rows cannot be spoiled, the data set has {len(records)} and one must stay whole"
        )
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    rows = sorted(chance.sample(range(1, len(records)), count))
    ledger = []
    for number, row in enumerate(rows):
        way = ("missing", "wrong-type", "out-of-range", "duplicate-id")[number % 4]
        if way == "duplicate-id":
            original = chance.choice([r for r in range(row) if r not in rows])
            records[row]["id"] = records[original]["id"]
            field = "id"
        else:
            values = records[row]["values"]
            field = chance.choice(list(values))
            _SPOILERS[way](values, field, chance)
        ledger.append({"row": row, "way": way, "field": field})
    return ledger


def _missing(values: dict[str, Any], field: str, chance: random.Random) -> None:
    if chance.random() < 0.5:
        del values[field]
    else:
        values[field] = None


def _wrong_type(values: dict[str, Any], field: str, chance: random.Random) -> None:
    # A decimal comma, a placeholder, a tick box: what exports from spreadsheets are full of.
    values[field] = chance.choice([str(values[field]).replace(".", ","), "n/a", True])


def _out_of_range(values: dict[str, Any], field: str, chance: random.Random) -> None:
    # A lost sign or a unit mixed up. The added 1 spoils a zero, too.
    values[field] = (values[field] + 1) * chance.choice([-1, 1000])


_SPOILERS: dict[str, Callable[[dict[str, Any], str, random.Random], None]] = {
    "missing": _missing,
    "wrong-type": _wrong_type,
    "out-of-range": _out_of_range,
}
