"""JSON Schema of inputs and outputs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossa.api.base import JSONObject
from ossa.api.schema import DEFAULTS_MAX_DEPTH, MESSAGE_MAX_LENGTH, fill_defaults, schema_problems, violations

RECORDS: JSONObject = {
    "type": "object",
    "required": ["records"],
    "additionalProperties": False,
    "properties": {
        "records": {"type": "array", "items": {"$ref": "#/$defs/record"}},
        "limit": {"type": "integer", "default": 3},
        "mode": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]},
    },
    "$defs": {"record": {"type": "object", "properties": {"age": {"type": "integer"}}}},
}


def test_a_sound_schema_has_no_problems() -> None:
    assert schema_problems(RECORDS, "spec.inputs") == []
    assert schema_problems({}, "spec.inputs") == []


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"properties": {"x": {"type": "strng"}}}, "p.properties.x.type: 'strng' is not a type; types are array,"),
        ({"required": "x"}, "p.required: 'x' is not of type 'array'"),
        ({"items": {"minimum": "1"}}, "p.items.minimum: '1' is not of type 'number'"),
        ({"properties": {"a b": {"$ref": "#/$defs/no"}}}, "p.properties['a b']: $ref '#/$defs/no' names nothing"),
        ({"$ref": "https://example.com/schema"}, "p: $ref 'https://example.com/schema' leaves the schema"),
        ({"$ref": "other.json"}, "p: $ref 'other.json' leaves the schema"),
        ({"$ref": "#no-anchor"}, "p: $ref '#no-anchor' names nothing"),
        ({"$ref": "#"}, "p: $ref '#' refers to itself without end"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}}, "p.$defs.a: $ref '#/$defs/a' refers to itself without end"),
        ({"pattern": "("}, "p: '(' is not a regular expression"),
        ({"patternProperties": {"(": {}}}, "p: '(' is not a regular expression"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "p: $schema is 'http://json-schema.org/draft-07"),
        ({"properties": {"x": {"$id": "urn:x"}}}, "p.properties.x: $id is allowed at the top alone"),
    ],
)
def test_a_problem_of_a_schema_names_its_field(schema: JSONObject, problem: str) -> None:
    problems = schema_problems(schema, "p")
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_data_in_a_schema_is_no_schema() -> None:
    looks_like_one = {"$ref": "https://example.com/", "type": "nonsense"}
    schema = {"properties": {"$ref": {"enum": [looks_like_one], "default": looks_like_one}}, "const": looks_like_one}
    assert schema_problems(schema, "p") == []


def test_references_within_are_followed_by_pointer_and_anchor() -> None:
    schema = {
        "properties": {"a": {"$ref": "#/$defs/a~1b"}, "b": {"$ref": "#here"}, "tree": {"$ref": "#"}},
        "$defs": {"a/b": {"type": "integer"}, "x": {"$anchor": "here", "type": "string"}},
    }
    assert schema_problems(schema, "p") == []
    assert violations(schema, {"a": "x", "b": 1, "tree": {"a": "y"}}) == [
        "a: 'x' is not of type 'integer'",
        "b: 1 is not of type 'string'",
        "tree.a: 'y' is not of type 'integer'",
    ]


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ({"records": [{"age": 1}, {"age": "x"}]}, ["records[1].age: 'x' is not of type 'integer'"]),
        ({}, ["records: is required, and missing"]),
        ({"records": [], "limt": 1}, ["limt: is not a known field; did you mean 'limit'?"]),
        ({"records": [], "zzz": 1}, ["zzz: is not a known field; known are records, limit, mode"]),
        ({"records": [], "mode": {"nam": 1}}, ["mode.name: is required, and missing"]),
        ([], ["[] is not of type 'object'"]),
    ],
)
def test_a_violation_names_the_field(value: object, texts: list[str]) -> None:
    assert violations(RECORDS, value) == texts


def test_a_violation_starts_with_the_name_of_the_value() -> None:
    assert violations(RECORDS, {}, name="input") == ["input.records: is required, and missing"]
    assert violations(RECORDS, 1, name="input") == ["input: 1 is not of type 'object'"]


def test_without_a_schema_anything_is_valid() -> None:
    assert violations(None, object()) == []


def test_there_are_only_as_many_texts_as_wanted() -> None:
    value = {"records": [{"age": "x"}] * 100_000}
    assert violations(RECORDS, value) == [f"records[{n}].age: 'x' is not of type 'integer'" for n in range(3)]
    assert len(violations(RECORDS, value, limit=1)) == 1


def test_a_long_value_is_cut_out_of_its_text() -> None:
    text = violations(RECORDS, {"records": "x" * 1_000_000})[0]
    assert len(text) <= MESSAGE_MAX_LENGTH + len("records: ")
    assert text.startswith("records: 'xxx")
    assert text.endswith("is not of type 'array'")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"x": {"type": "string"}}},
        {"properties": {"x": {"enum": [1]}}},
        {"properties": {"x": {"not": {"type": "object"}}}},
        {"properties": {"x": {"oneOf": [{"type": "string"}, {"type": "integer"}]}}},
        {"properties": {"x": {"required": ["a"], "additionalProperties": False}}},
        {"additionalProperties": {"type": "array"}},
    ],
)
def test_a_reference_to_an_artifact_passes_any_schema(schema: JSONObject) -> None:
    assert violations(schema, {"x": {"$artifact": "id"}}) == []
    assert violations({"items": schema}, [{"x": {"$artifact": "id"}}]) == []


def test_a_schema_without_end_is_no_crash() -> None:
    assert "without end" in violations({"allOf": [{"$ref": "#"}]}, {})[0]
    deep: Any = {}
    for _ in range(5000):
        deep = {"items": deep}
    assert schema_problems(deep, "p") == ["p: the schema is nested too deeply"]


def test_nothing_is_fetched() -> None:
    texts = violations({"$ref": "http://127.0.0.1:9/schema.json"}, {})
    assert texts == ["the schema refers to 'http://127.0.0.1:9/schema.json', which it does not hold"]


def test_defaults_are_filled_in_at_any_depth() -> None:
    schema = {
        "properties": {
            "a": {"default": [1]},
            "b": {"properties": {"c": {"default": None}, "d": {"properties": {"e": {"default": 1}}}}},
            "f": {"$ref": "#/$defs/f"},
        },
        "$defs": {"f": {"default": {}, "properties": {"g": {"default": 7}}}},
    }
    assert fill_defaults(schema, {}) == {"a": [1], "f": {"g": 7}}
    assert fill_defaults(schema, {"a": 0, "b": {"d": {}}}) == {
        "a": 0, "b": {"c": None, "d": {"e": 1}}, "f": {"g": 7}
    }  # fmt: skip
    assert fill_defaults(schema, {"b": {"$artifact": "id"}})["b"] == {"$artifact": "id"}
    assert fill_defaults(None, {"x": 1}) == {"x": 1}


def test_a_default_that_holds_itself_ends() -> None:
    filled = fill_defaults({"properties": {"x": {"$ref": "#", "default": {}}}}, {})
    assert str(filled).count("x") == DEFAULTS_MAX_DEPTH + 1


def test_defaults_are_copies() -> None:
    schema: JSONObject = {"properties": {"a": {"default": []}}}
    fill_defaults(schema, {})["a"].append(1)
    assert fill_defaults(schema, {}) == {"a": []}


KEYS = ["type", "properties", "items", "$ref", "default", "required", "$defs", "x"]
TEXTS = st.sampled_from(["object", "array", "integer", "#", "#/properties/x", "#/$defs/x", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), JSON, max_size=4)


@given(schema=OBJECTS, value=OBJECTS)
def test_any_schema_is_either_refused_or_usable(schema: JSONObject, value: JSONObject) -> None:
    before = copy.deepcopy((schema, value))
    if not schema_problems(schema, "p"):
        violations(schema, value)
        filled = fill_defaults(schema, value)
        assert filled.keys() >= value.keys()
    assert (schema, value) == before
