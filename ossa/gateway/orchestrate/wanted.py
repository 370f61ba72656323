"""What a request asks for, as a row and as an Execution. Pure: the same request always gives the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from uuid import UUID

import orjson

from ossa.api.base import JSONObject
from ossa.api.contract import (
    ANNOTATION_AUTHOR,
    ANNOTATION_CREATED_BY,
    ANNOTATION_REQUEST_ID,
    ANNOTATION_SOURCE,
    ANNOTATION_TRACEPARENT,
    API_VERSION,
)
from ossa.gateway.context import Call
from ossa.gateway.identity import Identity
from ossa.store.records.requests import Request

# Hex digits of a name: 80 bits, for names that are compared within a namespace.
_DIGITS = 20


def wanted(call: Call, namespace: str, spec: JSONObject, key: str | None) -> Request:
    """The row of a request.

    With an Idempotency-Key the Execution's name is made of who asks, where and the key, and the id besides of what is
    asked for: where PostgreSQL has lost the row, the Execution itself still tells the same request from another.
    """
    user = call.identity.user
    text = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS).decode()
    if key is None:
        id_, name = UUID(call.id), _name(call.id)
    else:
        id_, name = UUID(bytes=_digest(user, namespace, key, text)[:16], version=5), _name(user, namespace, key)
    return Request(
        id=id_,
        user=user,
        identity=orjson.dumps({"groups": call.identity.groups, "kind": call.identity.kind}).decode(),
        namespace=namespace,
        name=name,
        key=key,
        spec=text,
        traceparent=call.traceparent,
        source=call.source,
    )


def execution_of(request: Request) -> JSONObject:
    """The Execution to create."""
    annotations = {
        ANNOTATION_AUTHOR: request.user,
        ANNOTATION_REQUEST_ID: str(request.id),
        ANNOTATION_TRACEPARENT: request.traceparent,
    }
    if request.source != "api":
        annotations[ANNOTATION_SOURCE] = request.source
    return {
        "apiVersion": API_VERSION,
        "kind": "Execution",
        "metadata": {
            "name": request.name,
            "namespace": request.namespace,
            "annotations": annotations,
        },
        "spec": orjson.loads(request.spec),
    }


def is_of(item: Mapping[str, object], request: Request) -> bool:
    """Whether an Execution that has the name already was made for this request.

    Anybody may write the request's id into an Execution of theirs; whose it is only delegates may, and admission.
    Others may have changed it since: then the author is another, and who created it is not.
    """
    metadata = item.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    if not isinstance(annotations, Mapping):
        return False
    creator = annotations.get(ANNOTATION_CREATED_BY) or annotations.get(ANNOTATION_AUTHOR)
    return (annotations.get(ANNOTATION_REQUEST_ID), creator) == (str(request.id), request.user)


def identity_of(request: Request) -> Identity:
    """Whoever asked, with the groups that they had."""
    held = orjson.loads(request.identity)
    return Identity(request.user, tuple(held["groups"]), held["kind"])


def _name(*parts: str) -> str:
    return f"run-{_digest(*parts).hex()[:_DIGITS]}"


def _digest(*parts: str) -> bytes:
    # Each part says its length: none can pass for two.
    return hashlib.sha256(b"".join(f"{len(part)}:{part}".encode() for part in parts)).digest()
