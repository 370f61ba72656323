"""Authors: who made the last change of an object's spec, recorded in its annotations when it is admitted.

Pure but for its registration. What these handlers write the ValidatingAdmissionPolicy `ossa-authors` checks: it is that
policy, held by the API server itself, that keeps users from writing another name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import kopf

from ossa.api.contract import (
    ANNOTATION_AUTHOR,
    ANNOTATION_BREAK_GLASS,
    ANNOTATION_CREATED_BY,
    ANNOTATION_SPEC_CHANGED_BY,
    GROUP,
    VERSION,
)

Object = Mapping[str, Any]
KINDS = ("agents", "workflows", "executions", "agentpolicies", "agentpolicyexceptions")
PREFIX = "authors-"  # of the handlers' ids, which are the webhook's paths


class BadUsers(ValueError):
    """The list of users is none; names the variable."""


def users_from(variable: str, environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """Users, groups or namespaces: a JSON list of names in a variable of the environment. Raises BadUsers."""
    text = environment.get(variable) or "[]"
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadUsers(f"{variable}: {text!r} is not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise BadUsers(f"{variable}: {text!r} is not a list of names")
    return frozenset(found)


def annotations_of(item: Object | None) -> Mapping[str, str]:
    """The annotations of an object; none of no object."""
    metadata = (item or {}).get("metadata") or {}
    return metadata.get("annotations") or {}


def recorded(new: Object, old: Object | None, user: str, delegates: frozenset[str]) -> dict[str, str | None]:
    """The annotations to set, None for those to remove; what is right already is not among them.

    A name that the request itself brings is left for the policy to refuse, so that who tries it is told. A delegate's
    is replaced: it may restore an object with the annotations that it had.
    """
    held, before = annotations_of(new), annotations_of(old)
    delegated = user in delegates
    person = (held.get(ANNOTATION_AUTHOR) or None) if delegated else user
    wanted = {
        ANNOTATION_CREATED_BY: person if old is None else before.get(ANNOTATION_CREATED_BY),
        ANNOTATION_SPEC_CHANGED_BY: (
            person if old is None or new.get("spec") != old.get("spec") else before.get(ANNOTATION_SPEC_CHANGED_BY)
        ),
    }
    return {
        key: name
        for key, name in wanted.items()
        if held.get(key) != name and (delegated or held.get(key) in (None, before.get(key)))
    }


def broken_glass(kind: str, old: Object | None, userinfo: Object, groups: frozenset[str]) -> dict[str, str | None]:
    """The annotation of an Execution that a member of a break-glass group makes: policies do not refuse it later."""
    if kind != "executions" or old is not None or groups.isdisjoint(userinfo.get("groups") or ()):
        return {}
    return {ANNOTATION_BREAK_GLASS: str(userinfo.get("username", ""))}


def _handler(kind: str, delegates: frozenset[str], break_glass: frozenset[str]) -> Callable[..., Awaitable[None]]:
    async def handle(body: Object, old: Object | None, userinfo: Object, patch: kopf.Patch, **_: Any) -> None:
        names = recorded(body, old, str(userinfo.get("username", "")), delegates)
        for key, name in (names | broken_glass(kind, old, userinfo, break_glass)).items():
            patch.metadata.annotations[key] = name

    return handle


def register(
    registry: kopf.OperatorRegistry, delegates: frozenset[str], break_glass: frozenset[str] = frozenset()
) -> None:
    """Add the handlers to a registry. `break_glass` are the groups whose members policies do not refuse."""
    for kind in KINDS:
        handler = _handler(kind, delegates, break_glass)
        kopf.on.mutate(GROUP, VERSION, kind, id=PREFIX + kind, registry=registry)(handler)
