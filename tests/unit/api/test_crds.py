"""The CRDs in the repository are those of the models, and they teach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ossa.api import crds
from ossa.api.base import StatusModel
from ossa.api.crds.__main__ import main
from ossa.api.crds.rules import FIELDS, MODELS, QUANTITY

REPO = Path(__file__).parents[3]
FOLDERS = [REPO / "crds", REPO / "charts/ossa-crds/files"]
KINDS = {kind.plural: kind for kind in crds.KINDS}


def schema_of(plural: str) -> dict[str, Any]:
    schema: dict[str, Any] = crds.crd(KINDS[plural])["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def at(plural: str, path: str) -> dict[str, Any]:
    """The schema at a path such as spec.tasks[].dependsOn; {} stands for a map's values."""
    schema = schema_of(plural)
    for part in path.split("."):
        name = part.removesuffix("[]").removesuffix("{}")
        schema = schema["properties"][name]
        if part.endswith("[]"):
            schema = schema["items"]
        elif part.endswith("{}"):
            schema = schema["additionalProperties"]
    return schema


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], path + mark)


ALL_NODES = [node for plural in KINDS for node in nodes(schema_of(plural), plural)]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_files_are_what_the_models_say(folder: Path) -> None:
    expected = {crds.file_name(kind): crds.render(kind) for kind in crds.KINDS}
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.yaml")}
    hint = "run `python -m ossa.api.crds crds charts/ossa-crds/files`"
    assert found.keys() == expected.keys(), hint
    for name, text in expected.items():
        assert found[name] == text, f"{folder.name}/{name} has drifted: {hint}"


def test_the_program_writes_the_same_files(tmp_path: Path) -> None:
    assert main([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    written = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert written == sorted(crds.file_name(kind) for kind in crds.KINDS)
    assert "ossa.dev_workflows.yaml" in written
    for name in written:
        assert yaml.safe_load((tmp_path / "a" / name).read_text())["spec"]["group"] == "ossa.dev"
    assert main([]) == 2


def test_every_field_is_described() -> None:
    silent = [
        path for path, node in ALL_NODES if not path.endswith(("[]", "{}", ".metadata")) and not node.get("description")
    ]
    assert silent == []


def test_every_node_is_structural() -> None:
    for path, node in ALL_NODES:
        assert "type" in node or node.get("x-kubernetes-int-or-string"), path
        assert not node.keys() & {"$ref", "anyOf", "oneOf", "allOf", "title", "$defs"}, path
        if "properties" in node:
            assert "additionalProperties" not in node, path


def test_free_objects_keep_their_fields() -> None:
    for path, node in ALL_NODES:
        free = node.get("type") == "object" and not node.keys() & {"properties", "additionalProperties"}
        if free and not path.endswith(".metadata"):
            assert node["x-kubernetes-preserve-unknown-fields"] is True, path


def test_no_default_is_written_into_a_status() -> None:
    inner = [path for path, node in ALL_NODES if ".status." in path and "default" in node]
    assert inner == []
    assert at("executions", "status")["default"] == {"phase": "Pending"}


def test_lists_of_named_things_are_maps() -> None:
    for plural, path, key in [
        ("workflows", "spec.tasks", "name"),
        ("workflows", "spec.triggers", "name"),
        ("agents", "spec.capabilities", "name"),
        *((plural, "status.conditions", "type") for plural in KINDS),
    ]:
        node = at(plural, path)
        assert node["x-kubernetes-list-type"] == "map"
        assert node["x-kubernetes-list-map-keys"] == [key]
        assert key in node["items"]["required"]
    assert at("workflows", "spec.tasks[].dependsOn")["x-kubernetes-list-type"] == "set"


def test_bounds_defaults_and_enums_come_from_the_models() -> None:
    assert at("agents", "spec.type")["default"] == "worker"
    assert "judge" in at("agents", "spec.type")["enum"]
    assert at("workflows", "spec.tasks")["maxItems"] == 100
    assert at("workflows", "spec.published")["default"] is True
    assert at("workflows", "spec.tasks[].name")["pattern"].startswith("^[a-z0-9]")
    assert at("executions", "status.tasks{}.phase")["enum"][0] == "Pending"
    assert at("executions", "status.startedAt")["format"] == "date-time"
    quantity = at("agents", "spec.runtime.resources.limits{}")
    assert quantity == {"x-kubernetes-int-or-string": True, "pattern": QUANTITY}


def test_lists_under_a_rule_are_bounded() -> None:
    """The API server estimates a rule's cost by the bounds of what it may look at."""
    for path, node in ALL_NODES:
        if node.get("type") == "array":
            assert "maxItems" in node, path


def test_tables_name_fields_that_there_are() -> None:
    fields = {
        f"{model.__name__}.{info.alias or name}"
        for kind in crds.KINDS
        for model in models(kind.model)
        for name, info in model.model_fields.items()
    }
    assert FIELDS.keys() <= fields
    assert MODELS.keys() <= {field.split(".")[0] for field in fields}


def models(model: type[Any]) -> Iterator[type[Any]]:
    """A model and all that it is made of."""
    yield model
    for info in model.model_fields.values():
        for part in parts(info.annotation):
            yield from models(part)


def parts(annotation: Any) -> Iterator[type[Any]]:
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from parts(argument)


def test_a_union_that_kubernetes_cannot_say_is_refused() -> None:
    class Odd(StatusModel):
        value: bool | list[int] = False

    class OddKind(KINDS["agents"].model):  # type: ignore[misc]
        status: Odd = Odd()

    with pytest.raises(ValueError, match="give the field one type"):
        crds.crd(crds.Kind(OddKind, "odds", "odd", ()))


@pytest.mark.parametrize(
    ("plural", "shown", "wide"),
    [
        ("agents", ["Type", "Version", "Ready", "Age"], ["Image"]),
        ("workflows", ["Phase", "Tasks", "Version", "Message", "Age"], ["Revision"]),
        ("executions", ["Workflow", "Phase", "Progress", "Message", "Age"], ["Duration"]),
        ("approvals", ["Execution", "Task", "State", "Approved", "Age"], ["Message"]),
    ],
)
def test_columns(plural: str, shown: list[str], wide: list[str]) -> None:
    columns = crds.crd(KINDS[plural])["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [column["name"] for column in columns if not column.get("priority")] == shown
    assert [column["name"] for column in columns if column.get("priority")] == wide
    for column in columns:
        at(plural, column["jsonPath"].removeprefix(".")) if "metadata" not in column["jsonPath"] else None


def test_names() -> None:
    names = {plural: crds.crd(kind)["spec"]["names"] for plural, kind in KINDS.items()}
    short = {plural: name["shortNames"] for plural, name in names.items()}
    assert short == {
        "agents": ["oagent"],
        "workflows": ["owf"],
        "executions": ["exe"],
        "approvals": ["oappr"],
        "agentpolicies": ["apol"],
        "agentpolicyexceptions": ["apolex"],
    }
    assert all(name["categories"] == ["ossa"] for name in names.values())


def test_decisions_are_appended_in_bounds() -> None:
    node = at("approvals", "decisions")
    assert (node["maxProperties"], node["default"]) == (64, {})
    assert node["additionalProperties"]["properties"]["verdict"]["enum"] == ["Approved", "Rejected"]
    assert node["additionalProperties"]["properties"]["reason"]["maxLength"] == 1024
    assert "oldSelf.all(user, user in self && self[user] == oldSelf[user])" in str(node["x-kubernetes-validations"])
    assert "self == oldSelf" in [held["rule"] for held in at("approvals", "spec")["x-kubernetes-validations"]]
