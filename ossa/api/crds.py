"""The CustomResourceDefinitions, made from the models: `python -m ossa.api.crds crds charts/ossa-crds/files`.

The models say names, types, bounds and descriptions; `ossa.api.crdrules` what only Kubernetes knows; the table of
kinds below how they are called and shown.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from ossa.api.agent import Agent
from ossa.api.approval import Approval
from ossa.api.base import JSONObject, Resource
from ossa.api.contract import GROUP, VERSION
from ossa.api.crdrules import FIELDS, MODELS, QUANTITY, RULES
from ossa.api.execution import Execution
from ossa.api.policy import AgentPolicy
from ossa.api.policyexception import AgentPolicyException
from ossa.api.workflow import Workflow

GENERATED = "# Generated from ossa/api by `python -m ossa.api.crds`; a test fails when they drift.\n"
# Whether the API server writes a default, its description tells of it, or neither.
Defaults = Literal["written", "told", "none"]
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
# What a structural schema shares with pydantic's, in the order in which it reads best.
_KEPT = (
    *("type", "description", "format", "pattern", "enum", "default", "minimum", "maximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "required"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column; a wide one is shown under `-o wide` alone."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    wide: bool = False

    def to_json(self) -> JSONObject:
        column: JSONObject = {"name": self.name, "type": self.type, "jsonPath": self.path}
        if self.description:
            column["description"] = self.description
        if self.wide:
            column["priority"] = 1
        return column


_AGE = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind as it is known to the API server."""

    model: type[Resource]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    scope: Literal["Namespaced", "Cluster"] = "Namespaced"

    @property
    def name(self) -> str:
        return self.model.__name__


KINDS = (
    Kind(
        Agent,
        "agents",
        "oagent",
        (
            Column("Type", ".spec.type", description="Place in the taxonomy of agents."),
            Column("Version", ".spec.version"),
            Column("Ready", ".status.ready", description="Whether a task can run on it now."),
            Column("Image", ".status.image", wide=True),
            _AGE,
        ),
    ),
    Kind(
        Workflow,
        "workflows",
        "owf",
        (
            Column("Phase", ".status.phase", description="Draft, or Published: Executions can start."),
            Column("Tasks", ".status.tasks", "integer"),
            Column("Version", ".spec.version"),
            Column("Message", ".status.message", description="Why it is a Draft, and what to do."),
            Column("Revision", ".status.revision", wide=True),
            _AGE,
        ),
    ),
    Kind(
        Execution,
        "executions",
        "exe",
        (
            Column("Workflow", ".spec.workflow"),
            Column("Phase", ".status.phase"),
            Column("Progress", ".status.progress", description="Tasks that ended well of all tasks."),
            Column("Message", ".status.message", description="What it waits for, or why it failed."),
            Column("Duration", ".status.duration", description="Written when it ends.", wide=True),
            _AGE,
        ),
    ),
    Kind(
        Approval,
        "approvals",
        "oappr",
        (
            Column("Execution", ".spec.execution.name"),
            Column("Task", ".spec.task"),
            Column("State", ".status.state", description="Pending, Approved, Rejected or Expired."),
            Column("Approved", ".status.approved", description="Approvals given of those needed."),
            Column("Message", ".spec.message", description="What is asked.", wide=True),
            _AGE,
        ),
    ),
    Kind(
        AgentPolicy,
        "agentpolicies",
        "apol",
        (
            Column("Action", ".spec.action", description="Enforce, Warn or Audit."),
            Column("Ready", ".status.ready", description="Whether it is judged by."),
            Column("Violations", ".status.violations", "integer", "Objects that do not keep to it now."),
            Column("Native", ".status.native", description="Whether the API server enforces it too.", wide=True),
            Column("Severity", ".spec.severity", wide=True),
            Column("Message", ".status.message", wide=True),
            _AGE,
        ),
        scope="Cluster",
    ),
    Kind(
        AgentPolicyException,
        "agentpolicyexceptions",
        "apolex",
        (
            Column("Policy", ".spec.policy"),
            Column("Kind", ".spec.target.kind"),
            Column("Object", ".spec.target.name"),
            Column("State", ".status.state", description="Pending, Active, Expired or Refused."),
            Column("Expires", ".spec.expiresAt"),
            Column("Message", ".status.message", wide=True),
            _AGE,
        ),
    ),
)


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


def crd(kind: Kind) -> JSONObject:
    """The CustomResourceDefinition of a kind."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            # Deleting a CRD deletes every object of its kind: that is never a by-product of `helm uninstall`.
            "annotations": {"helm.sh/resource-policy": "keep"},
            "labels": {"app.kubernetes.io/part-of": "ossa"},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
                "categories": ["ossa"],
            },
            "scope": kind.scope,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.to_json() for column in kind.columns],
                    "schema": {"openAPIV3Schema": _Schema(kind.model).whole()},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def render(kind: Kind) -> str:
    """The CRD as YAML."""
    text = yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    return GENERATED + text


def file_name(kind: Kind) -> str:
    return f"{GROUP}_{kind.plural}.yaml"


def write(folder: Path) -> None:
    """Write one file a kind into `folder`, which is made when it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / file_name(kind)).write_text(render(kind), encoding="utf-8")


def main(arguments: list[str]) -> int:
    if not arguments:
        print("usage: python -m ossa.api.crds FOLDER...", file=sys.stderr)
        return 2
    for folder in arguments:
        write(Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
