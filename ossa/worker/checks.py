"""Checking values against schemas, at no cost where there are none."""

from __future__ import annotations

from ossa.api.base import JSONObject


def problems_of(value: object, schema: JSONObject | None, name: str) -> str:
    """What `value`, called `name`, breaks of the schema, in one line; empty where it is valid."""
    if schema is None:
        return ""
    from ossa.api.schema import violations  # noqa: PLC0415 - a tenth of a second that not every task has to wait

    return "; ".join(violations(schema, value, name=name))
