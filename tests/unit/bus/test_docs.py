"""docs/bus.md tells each message as its model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from ossa.bus.messages import ALERTS, AUDIT, CHANNELS, EVENTS, METRICS, Alert, Event, Message, Metric, Parked
from ossa.monitor.rules import RULES

DOCS = Path(__file__).parents[3] / "docs" / "bus.md"


def kind_of(schema: dict[str, Any]) -> str:
    """A field's type in a few words: string, date-time, number or none, one of a, b."""
    match schema:
        case {"anyOf": options}:
            names = [kind_of(option) for option in options]
            return " or ".join(dict.fromkeys("none" if name == "null" else name for name in names))
        case {"const": value}:
            return str(value)
        case {"enum": values}:
            return ", ".join(values)
        case {"format": name}:
            return str(name)
    return str(schema.get("type", "any"))


def table(model: type[BaseModel], *, besides: type[BaseModel] | None = None) -> str:
    """The lines of a model's table; without the fields that `besides` has."""
    schema = model.model_json_schema()
    known = set(besides.model_fields) if besides is not None else set()
    rows = [
        f"| `{name}` | {kind_of(field)} | {field['description']} |"
        for name, field in schema["properties"].items()
        if name not in known
    ]
    return "\n".join(["| field | type | |", "|---|---|---|", *rows])


@pytest.mark.parametrize(
    ("model", "besides"), [(Message, None), (Event, Message), (Metric, Message), (Alert, Message), (Parked, None)]
)
def test_every_field_is_told_as_it_is(model: type[BaseModel], besides: type[BaseModel] | None) -> None:
    wanted = table(model, besides=besides)
    assert wanted in DOCS.read_text(), f"docs/bus.md: the table of {model.__name__} is to be\n{wanted}"


def test_streams_channels_and_rules_are_told() -> None:
    text = DOCS.read_text()
    for name in (EVENTS, METRICS, ALERTS, AUDIT, *CHANNELS, *(rule.name for rule in RULES)):
        assert f"`{name}`" in text, name
