"""Checks records against the contract of their data set, and tells the good ones from the bad ones."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

from ossa.worker import Task

CONTRACTS = Path(__file__).with_name("contracts.json")


def run(task: Task) -> dict[str, Any]:
    """The valid records, and the rejected ones with every reason.

    Raises ValueError where more than `maxRejectedShare` of the records are rejected: then the source is
    broken, and what is left of it is no sample of anything.
    """
    contract = json.loads(CONTRACTS.read_text())[task.input["dataset"]]
    valid, rejected = check(task.input["records"], contract)
    total = len(valid) + len(rejected)
    most = task.input.get("maxRejectedShare", 0.5)
    if len(rejected) > most * total:
        first = rejected[0]
        raise ValueError(
            f"{len(rejected)} of {total} records were rejected, more than maxRejectedShare ({most}) allows; "
            f"the first reason: row {first['row']}: {first['reasons'][0]['message']}"
        )
    reasons = Counter(reason["check"] for entry in rejected for reason in entry["reasons"])
    task.log.info("%d of %d records are valid; rejected for %s", len(valid), total, dict(reasons))
    return {
        "records": valid,
        "rejected": rejected,
        "counts": {"total": total, "valid": len(valid), "rejected": len(rejected)},
        "reasons": dict(reasons),
    }


def check(records: list[Any], contract: dict[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """Split records into valid ones and entries {row, id, reasons}; a row is counted from 0."""
    valid: list[Any] = []
    rejected: list[dict[str, Any]] = []
    first_row: dict[str, int] = {}
    for row, record in enumerate(records):
        reasons = problems(record, contract)
        identity = record.get("id") if isinstance(record, dict) else None
        if isinstance(identity, str):
            earlier = first_row.setdefault(identity, row)
            if earlier != row:
                reasons.append(_reason("id", "duplicate", f"{identity!r} is already the id of row {earlier}"))
        if reasons:
            rejected.append({"row": row, "id": identity, "reasons": reasons})
        else:
            valid.append(record)
    return valid, rejected


def problems(record: Any, contract: dict[str, Any]) -> list[dict[str, str]]:
    """What is wrong with one record by itself: reasons {field, check, message}."""
    if not isinstance(record, dict):
        return [_reason("", "type", f"{record!r} is not an object")]
    found = []
    identity = record.get("id")
    if not isinstance(identity, str) or re.fullmatch(contract["id"], identity) is None:
        found.append(_reason("id", "format", f"{identity!r} does not match {contract['id']}"))
    if record.get("label") not in contract["labels"]:
        found.append(_reason("label", "enum", f"{record.get('label')!r} is none of {contract['labels']}"))
    values = record.get("values")
    if not isinstance(values, dict):
        return [*found, _reason("values", "type", f"{values!r} is not an object")]
    for name, bounds in contract["values"].items():
        found += _value_problems(name, values.get(name), bounds)
    found += [
        _reason(name, "unknown", "the contract has no such field") for name in values.keys() - contract["values"].keys()
    ]
    return found


def _value_problems(name: str, value: Any, bounds: dict[str, Any]) -> list[dict[str, str]]:
    if value is None:
        return [_reason(name, "missing", f"{name} has no value")]
    if isinstance(value, bool) or not isinstance(value, int | float):  # a bool is an int to Python
        return [_reason(name, "type", f"{name} is {value!r}, which is not a number")]
    low, high, unit = bounds["min"], bounds["max"], bounds["unit"]
    if not (math.isfinite(value) and low <= value <= high):
        return [_reason(name, "range", f"{name} is {value:g}, outside of {low} to {high} {unit}".rstrip())]
    return []


def _reason(field: str, check_name: str, message: str) -> dict[str, str]:
    return {"field": field, "check": check_name, "message": message}
