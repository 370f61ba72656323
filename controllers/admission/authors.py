"""Authors: who made the last change of an object's spec, recorded in its annotations when it is admitted.

Pure. What is written the ValidatingAdmissionPolicy `ossa-authors` checks: it is that policy, held by the API server
itself, that keeps users from writing another name.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from controllers.admission.answers import answered
from ossa.api.contract import (
    ANNOTATION_AUTHOR,
    ANNOTATION_BREAK_GLASS,
    ANNOTATION_CREATED_BY,
    ANNOTATION_SPEC_CHANGED_BY,
)

Object = Mapping[str, Any]
KINDS = ("agents", "workflows", "executions", "agentpolicies", "agentpolicyexceptions")
PREFIX = "authors-"  # of the webhook's paths
ANNOTATIONS = "/metadata/annotations"


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


@dataclass(frozen=True, slots=True)
class Recorder:
    """Answers the reviews of the mutating webhook.

    delegates: users that act for others. break_glass: groups whose members policies do not refuse.
    """

    delegates: frozenset[str]
    break_glass: frozenset[str] = frozenset()

    def answer(self, request: Object) -> dict[str, Any]:
        """The AdmissionReview that answers a request about one of KINDS: allowed, and a JSON patch of annotations."""
        new, old, userinfo = request["object"], request.get("oldObject"), request.get("userInfo") or {}
        names = recorded(new, old, str(userinfo.get("username", "")), self.delegates)
        names |= broken_glass(request["resource"]["resource"], old, userinfo, self.break_glass)
        patch = patch_of(new, names)
        if not patch:
            return answered(request, allowed=True)
        text = base64.b64encode(orjson.dumps(patch)).decode()
        return answered(request, allowed=True, patchType="JSONPatch", patch=text)


def patch_of(item: Object, names: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """The JSON patch that sets annotations of an object, and removes those that are None."""
    held = item["metadata"].get("annotations")
    if not held:
        added = {key: name for key, name in names.items() if name is not None}
        return [{"op": "add", "path": ANNOTATIONS, "value": added}] if added else []
    return [
        {"op": "remove", "path": _pointer(key)} if name is None else {"op": "add", "path": _pointer(key), "value": name}
        for key, name in names.items()
        if name is not None or key in held
    ]


def _pointer(annotation: str) -> str:
    return f"{ANNOTATIONS}/{annotation.replace('~', '~0').replace('/', '~1')}"
