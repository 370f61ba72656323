"""An object as the API server holds it: a user's own, with the defaults that the CRD writes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ossa.api.base import JSONObject
from ossa.api.crds import KINDS, crd


def written(item: Mapping[str, Any]) -> JSONObject:
    """The object with the defaults of its kind; of a kind that is not ours as it is. The given one is not changed."""
    schema = _schemas().get(str(item.get("kind")))
    if schema is None:
        return dict(item)
    spec = item.get("spec")
    held = dict(item)
    if isinstance(spec, dict):
        held["spec"] = _with_defaults(spec, schema["properties"]["spec"])
    return held


@lru_cache(maxsize=1)
def _schemas() -> Mapping[str, JSONObject]:
    """The schema of each of our kinds, by its name."""
    made = (crd(kind)["spec"] for kind in KINDS)
    return {spec["names"]["kind"]: spec["versions"][0]["schema"]["openAPIV3Schema"] for spec in made}


def _with_defaults(value: object, schema: JSONObject) -> Any:
    """As structural schemas default: what is not there is written, from the outside in."""
    if isinstance(value, dict):
        known: JSONObject = schema.get("properties", {})
        held = {name: part["default"] for name, part in known.items() if "default" in part} | value
        more = schema.get("additionalProperties")
        other = more if isinstance(more, dict) else {}
        return {name: _with_defaults(part, known.get(name, other)) for name, part in held.items()}
    if isinstance(value, list):
        return [_with_defaults(item, schema.get("items", {})) for item in value]
    return value
