"""JSON Schema (draft 2020-12) of inputs and outputs: is it sound, what are its defaults, what breaks it.

Every text that comes out names the field first: ``records[3].age: 'x' is not of type 'integer'``. A problem
of the whole value has no field before it. Schemas are never fetched: only references within one are followed.
"""

from __future__ import annotations

import copy
import difflib
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from ossa.api.artifact import is_reference
from ossa.api.base import JSONObject
from ossa.api.paths import joined_path

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# A value may hold megabytes; a message is for a person (and for a status of an object).
MESSAGE_MAX_LENGTH = 300
_MESSAGE_TAIL = 160
# Characters of JSON of a schema whose problems are kept.
KEPT_SCHEMA = 8192
# A default that holds itself (a tree whose branches default to a tree) ends here.
DEFAULTS_MAX_DEPTH = 16
_ENDLESS = "the value is nested too deeply, or the schema refers to itself without end"

_ONE_SCHEMA = (
    *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames"),
    *("then", "unevaluatedItems", "unevaluatedProperties"),
)
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCHEMA_MAPS = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")

_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")

Path = tuple[str | int, ...]
_Keyword = Callable[[Validator, Any, Any, JSONObject], Iterator[ValidationError] | None]


def schema_problems(schema: JSONObject, path: str) -> list[str]:
    """What makes `schema` unusable, each as ``PATH.properties.x.type: why``; empty where it is sound.

    `path` is the field of the resource that holds the schema, e.g. ``spec.inputs``.
    """
    try:
        text = json.dumps(schema)
        return list(_kept_problems(text, path)) if len(text) <= KEPT_SCHEMA else _problems(schema, path)
    except RecursionError:
        return [f"{path}: the schema is nested too deeply"]


# The same few schemas come with every change of an object, and to check one takes longer than all else that is checked.
@lru_cache(maxsize=256)
def _kept_problems(text: str, path: str) -> tuple[str, ...]:
    return tuple(_problems(json.loads(text), path))


def _problems(schema: JSONObject, path: str) -> list[str]:
    errors = list(Draft202012Validator(Draft202012Validator.META_SCHEMA).iter_errors(schema))
    if errors:
        # A broken keyword is reported once by every vocabulary that knows it.
        return list(dict.fromkeys(_meta_problem(error, path) for error in errors))
    return [
        f"{joined_path(where, path)}: {problem}"
        for where, part in _subschemas(schema)
        for problem in _keyword_problems(part, where, schema)
    ]


def fill_defaults(schema: JSONObject | None, value: JSONObject) -> JSONObject:
    """A copy of `value` with the defaults of the properties that it does not have.

    As in a CRD, the properties of an object that is itself absent are not filled in, unless it has a default.
    """
    if schema is None:
        return copy.deepcopy(value)
    return _filled(schema, copy.deepcopy(value), schema, DEFAULTS_MAX_DEPTH)


def violations(schema: JSONObject | None, value: object, *, limit: int = 3, name: str = "") -> list[str]:
    """What `value`, called `name`, breaks of `schema`: at most `limit` texts that name the field; empty where valid.

    A reference to an artifact passes any schema: what it refers to is checked where it is opened.
    """
    if schema is None:
        return []
    try:
        errors = _LenientValidator(schema, registry=EMPTY_REGISTRY).iter_errors(value)
        texts = itertools.chain.from_iterable(_violation_texts(error, name) for error in errors)
        return list(itertools.islice(texts, limit))
    except RecursionError:
        return [_ENDLESS]
    except Unresolvable as error:
        return [f"the schema refers to {error.ref!r}, which it does not hold"]


# --- values -------------------------------------------------------------------------------------------------


def _lenient(keyword: _Keyword) -> _Keyword:
    def check(validator: Validator, expected: Any, instance: Any, schema: JSONObject) -> Iterator[ValidationError]:
        if not is_reference(instance):
            yield from keyword(validator, expected, instance, schema) or ()

    return check


_LenientValidator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {name: _lenient(keyword) for name, keyword in Draft202012Validator.VALIDATORS.items()},
)


def _violation_texts(error: ValidationError, prefix: str) -> Iterator[str]:
    # anyOf and oneOf say only that nothing fits; the branch that came closest says why.
    error = best_match([error]) or error
    if error.validator == "required":
        missing = next(name for name in cast(list[str], error.validator_value) if error.message.startswith(repr(name)))
        yield f"{joined_path([*error.absolute_path, missing], prefix)}: is required, and missing"
    elif error.validator == "additionalProperties" and error.validator_value is False:
        yield from _unknown_fields(error, prefix)
    else:
        yield _described(error, list(error.absolute_path), prefix)


def _unknown_fields(error: ValidationError, prefix: str) -> Iterator[str]:
    schema = error.schema if isinstance(error.schema, dict) else {}
    known = list(schema.get("properties", {}))
    patterns = list(schema.get("patternProperties", {}))
    for name in cast(JSONObject, error.instance):
        if name in known or any(re.search(pattern, name) for pattern in patterns):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known) or 'none'}"
        yield _shortened(f"{joined_path([*error.absolute_path, name], prefix)}: is not a known field{hint}")


def _described(error: ValidationError, path: Sequence[str | int], prefix: str = "") -> str:
    where = joined_path(path, prefix)
    message = _shortened(error.message)
    return f"{where}: {message}" if where else message


def _shortened(message: str) -> str:
    """Cut in the middle: the value comes first in a message, and what is wrong with it last."""
    if len(message) <= MESSAGE_MAX_LENGTH:
        return message
    return f"{message[: MESSAGE_MAX_LENGTH - _MESSAGE_TAIL - 3]} … {message[-_MESSAGE_TAIL:]}"


def _filled(schema: JSONObject, filled: JSONObject, root: JSONObject, depth: int) -> JSONObject:
    """`filled` itself, with its defaults."""
    properties = _followed(schema, root).get("properties")
    for name, part in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(part, dict):
            continue
        resolved = _followed(part, root)
        if name not in filled and "default" in {**resolved, **part}:
            filled[name] = copy.deepcopy({**resolved, **part}["default"])
        if depth and isinstance(filled.get(name), dict) and not is_reference(filled[name]):
            _filled(resolved, filled[name], root, depth - 1)
    return filled


# --- schemas ------------------------------------------------------------------------------------------------


def _meta_problem(error: ValidationError, prefix: str) -> str:
    path = list(error.absolute_path)
    if path and path[-1] == "type" and isinstance(error.instance, str):
        return f"{joined_path(path, prefix)}: {error.instance!r} is not a type; types are {', '.join(_TYPES)}"
    return _described(error, path, prefix)


def _subschemas(schema: object, where: Path = ()) -> Iterator[tuple[Path, JSONObject]]:
    """Every schema within a schema, itself first; data (`const`, `default`) is none, like it as it may."""
    if not isinstance(schema, dict):
        return
    yield where, schema
    for keyword in _ONE_SCHEMA:
        yield from _subschemas(schema.get(keyword), (*where, keyword))
    for keyword in _SCHEMA_LISTS:
        for index, part in enumerate(schema.get(keyword, ())):
            yield from _subschemas(part, (*where, keyword, index))
    for keyword in _SCHEMA_MAPS:
        for name, part in schema.get(keyword, {}).items():
            yield from _subschemas(part, (*where, keyword, name))


def _keyword_problems(part: JSONObject, where: Path, root: JSONObject) -> Iterator[str]:
    """What the meta-schema does not find."""
    if part.get("$schema", DIALECT).rstrip("#") != DIALECT:
        yield f"$schema is {part['$schema']!r}; only draft 2020-12 is known ({DIALECT})"
    if where and "$id" in part:
        yield "$id is allowed at the top alone; put the part into $defs and refer to it by #/$defs/NAME"
    for keyword in ("$ref", "$dynamicRef"):
        if keyword in part:
            yield from _reference_problems(part[keyword], keyword, root)
    patterns = [part["pattern"]] if "pattern" in part else []
    for pattern in (*patterns, *part.get("patternProperties", {})):
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"{pattern!r} is not a regular expression: {error}"


def _reference_problems(reference: str, keyword: str, root: JSONObject) -> Iterator[str]:
    if not reference.startswith("#"):
        yield f"{keyword} {reference!r} leaves the schema; put it into $defs and refer to it by #/$defs/NAME"
        return
    target = _target(reference, root)
    if target is None:
        yield f"{keyword} {reference!r} names nothing in the schema"
        return
    seen = {reference}
    while isinstance(target, dict) and isinstance(following := target.get("$ref"), str):
        if following in seen:
            yield f"{keyword} {reference!r} refers to itself without end"
            return
        seen.add(following)
        target = _target(following, root)


def _target(reference: str, root: JSONObject) -> object | None:
    """What a reference within the schema names: a JSON pointer (``#/$defs/a``) or an anchor (``#name``)."""
    fragment = reference[1:]
    if fragment and not fragment.startswith("/"):
        anchors = ("$anchor", "$dynamicAnchor")
        return next((s for _, s in _subschemas(root) if fragment in (s.get(a) for a in anchors)), None)
    found: object = root
    for part in fragment.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
            found = found[int(key)]
        else:
            return None
    return found


def _followed(schema: JSONObject, root: JSONObject) -> JSONObject:
    """The schema that `schema` refers to, or itself. An endless chain ends where it began to repeat."""
    seen: set[str] = set()
    while isinstance(reference := schema.get("$ref"), str) and reference not in seen:
        seen.add(reference)
        target = _target(reference, root) if reference.startswith("#") else None
        if not isinstance(target, dict):
            break
        schema = target
    return schema
