"""Structural schemas, which the API server validates by, made from the models."""

from __future__ import annotations

from typing import Literal

from ossa.api.base import JSONObject, Resource
from ossa.api.contract import GROUP, VERSION
from ossa.api.crds.rules import FIELDS, MODELS, QUANTITY, RULES

# Whether the API server writes a default, its description tells of it, or neither.
Defaults = Literal["written", "told", "none"]
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
# What a structural schema shares with pydantic's, in the order in which it reads best.
_KEPT = (
    *("type", "description", "format", "pattern", "enum", "default", "minimum", "maximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "required"),
)


def structural(model: type[Resource]) -> JSONObject:
    """The structural schema of a kind."""
    return _Schema(model).whole()


class _Schema:
    """Turns pydantic's JSON Schema of one kind into a structural schema."""

    def __init__(self, model: type[Resource]) -> None:
        self.root: JSONObject = model.model_json_schema(by_alias=True)
        self.definitions: JSONObject = self.root.get("$defs", {})

    def whole(self) -> JSONObject:
        schema = self._convert(self.root, model=self.root["title"], defaults="written")
        properties = schema["properties"]
        properties["apiVersion"] = {
            "type": "string",
            "description": f"Version of this representation of the object: {GROUP}/{VERSION}.",
        }
        properties["kind"] = {"type": "string", "description": f"The kind: {self.root['title']}."}
        properties["metadata"] = {"type": "object"}  # the API server describes and validates it by itself
        schema["required"] = ["spec"]
        return schema

    def _convert(self, node: JSONObject, *, model: str, defaults: Defaults) -> JSONObject:
        """`node` as a structural schema; `model` is the one that it is or belongs to.

        No defaults in a status: the API server would write them into every task of every Execution.
        """
        if reference := node.get("$ref"):
            model = reference.rsplit("/", 1)[-1]
            node = {**self.definitions[model], **{k: v for k, v in node.items() if k != "$ref"}}
        if "anyOf" in node:
            return self._union(node, model=model, defaults=defaults)
        schema = {key: node[key] for key in _KEPT if key in node}
        if defaults != "written" or schema.get("default") in (None, "", [], {}, False):
            self._take_default(schema, told=defaults != "none")
        if "items" in node:
            # Tools that compare whole lists, such as ArgoCD, take a default within one for a change.
            schema["items"] = self._convert(
                node["items"], model=model, defaults="told" if defaults != "none" else "none"
            )
        if "properties" in node:
            schema["properties"] = self._properties(node["properties"], model=model, defaults=defaults)
            schema |= MODELS.get(model, {})
        elif schema.get("type") == "object":
            schema |= self._map(node, model=model, defaults=defaults)
        return schema

    def _take_default(self, schema: JSONObject, *, told: bool) -> None:
        """A default that the API server is not to write is told all the same."""
        value = schema.pop("default", None)
        if told and value and isinstance(value, str | int | float) and "description" in schema:
            schema["description"] = f"{schema['description']} Default: {value}."

    def _union(self, node: JSONObject, *, model: str, defaults: Defaults) -> JSONObject:
        options = [option for option in node["anyOf"] if option.get("type") != "null"]
        if len(options) == 1:
            rest = {key: value for key, value in node.items() if key != "anyOf"}
            return self._convert({**options[0], **rest}, model=model, defaults=defaults)
        if {option.get("type") for option in options} == {"integer", "string"}:
            schema = {key: node[key] for key in ("description",) if key in node}
            return {**schema, "x-kubernetes-int-or-string": True, "pattern": node.get("x-ossa-pattern", QUANTITY)}
        raise ValueError(f"{model}: a union of {options} has no structural schema; give the field one type")

    def _map(self, node: JSONObject, *, model: str, defaults: Defaults) -> JSONObject:
        values = node.get("additionalProperties")
        if isinstance(values, dict) and values:
            return {"additionalProperties": self._convert(values, model=model, defaults=defaults)}
        return {_PRESERVE: True}

    def _properties(self, properties: JSONObject, *, model: str, defaults: Defaults) -> JSONObject:
        return {
            name: _with_more(
                self._convert(node, model=model, defaults="none" if name == "status" else defaults),
                FIELDS.get(f"{model}.{name}", {}),
            )
            for name, node in properties.items()
        }


def _with_more(schema: JSONObject, more: JSONObject) -> JSONObject:
    """The schema of a field with what is added to it; rules of the model that it is of hold as well."""
    rules = [*schema.get(RULES, ()), *more.get(RULES, ())]
    return {**schema, **more, **({RULES: rules} if rules else {})}
