"""Who may write and read which artifact.

A pod of a task writes for its execution, and reads what it wrote and what its own input refers to.
Anybody else reads where the cluster allows them to get ``executions/artifacts`` of the namespace, and writes where it
allows them to create these: of the chart's roles only the reconciler's does.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import ValidationError

from ossa.api.artifact import REFERENCE_KEY, VALUE_MEDIA_TYPE, find_references
from ossa.api.base import JSONObject, Metadata
from ossa.api.contract import (
    ANNOTATION_IDENTITY,
    ANNOTATION_INPUT,
    ARTIFACTS_AUDIENCE,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    TaskIdentity,
)
from ossa.api.trace import identity_fields
from ossa.store.errors import Forbidden, Unauthenticated
from ossa.store.signing import Writer

# Seconds: a token that was good is not asked about again, nor a right that there was or what an execution has taken
# over; a pod that was running is taken to run still.
REVIEW_TTL = 60.0
POD_TTL = 10.0
# The writer of what belongs to no pod. No pod has this UID.
OPERATOR = "operator"
Verb = Literal["get", "create"]
_CACHE_SIZE = 4096
# Names and UIDs become paths in the storage.
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose token it is. `pod_name` and `pod_uid` are set where the token is bound to a pod."""

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    namespace: str = ""
    pod_name: str = ""
    pod_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPod:
    """A running pod of a task: for what it writes, and which IDs it was given in its input."""

    writer: Writer
    name: str
    task: str
    received: frozenset[str]
    values: frozenset[str] = frozenset()  # those of them that the operator stored, with references within
    lineage: tuple[str, ...] = ()  # UIDs of other Executions, whose artifacts it may have received
    about: Mapping[str, str] = field(default_factory=dict)  # what each line of the log about it has


class Access(Protocol):
    """What the service asks the cluster. All raise Unavailable where the API server does not answer."""

    async def review(self, token: str) -> Caller | None:
        """Whose token this is; None where it is not good for the audience `ossa-artifacts`."""

    async def pod(self, namespace: str, name: str) -> JSONObject | None:
        """The Pod; None where there is none."""

    async def may(self, caller: Caller, verb: Verb, namespace: str) -> bool:
        """Whether the caller may `get` or `create` `executions/artifacts` in the namespace."""

    async def lineages(self, namespace: str) -> Mapping[str, tuple[str, ...]]:
        """All Executions of the namespace: by UID, those of others whose artifacts they have taken over."""


class Identities:
    """Callers and task pods, looked up and remembered for a moment."""

    def __init__(self, access: Access, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._access = access
        self._callers: Remembered[Caller] = Remembered(REVIEW_TTL, clock)
        self._pods: Remembered[TaskPod] = Remembered(POD_TTL, clock)
        self._allowed: Remembered[bool] = Remembered(REVIEW_TTL, clock)
        self._lineages: Remembered[tuple[str, ...]] = Remembered(REVIEW_TTL, clock)

    async def caller(self, token: str | None) -> Caller:
        """Whose token it is. Raises Unauthenticated."""
        if not token:
            raise Unauthenticated(
                "no token: send `Authorization: Bearer TOKEN`; a task's pod finds it in $OSSA_ARTIFACTS_TOKEN"
            )
        # Not the token itself: what is in memory can end in a dump.
        key = hashlib.sha256(token.encode()).hexdigest()
        known = self._callers.get(key)
        if known is None:
            known = await self._access.review(token)
            if known is None:
                raise Unauthenticated(
                    f"the cluster does not know this token for the audience {ARTIFACTS_AUDIENCE!r}: it is "
                    "expired, made for something else, or its pod is gone"
                )
            self._callers.put(key, known)
        return known

    async def task_pod(self, caller: Caller) -> TaskPod:
        """The running task pod that the caller is. Raises Forbidden."""
        if not caller.pod_uid:
            raise Forbidden(
                f"{caller.username} is no pod of a task; a person reads artifacts at "
                "/v1/namespaces/NAMESPACE/executions/UID/artifacts/ID"
            )
        known = self._pods.get(caller.pod_uid)
        if known is None:
            pod = await self._access.pod(caller.namespace, caller.pod_name)
            known = task_pod(pod, caller)
            self._pods.put(caller.pod_uid, known)
        return known

    def known_lineage(self, namespace: str, uid: str) -> tuple[str, ...]:
        """As `lineage`, as far as it was asked for lately; what was taken over since is not in it."""
        return self._lineages.get(f"{namespace}/{uid}") or ()

    async def lineage(self, namespace: str, uid: str) -> tuple[str, ...]:
        """UIDs of the Executions whose artifacts one has taken over. Costs a list of all in the namespace."""
        found = (await self._access.lineages(namespace)).get(uid, ())
        self._lineages.put(f"{namespace}/{uid}", found)
        return found

    async def require(self, caller: Caller, verb: Verb, namespace: str) -> None:
        """Raises Forbidden where the caller may not do this to the artifacts of the namespace.

        A refusal is not remembered: whoever was just given the right has it at once.
        """
        about = (caller.username, caller.uid, caller.groups, sorted(caller.extra.items()), verb, namespace)
        key = hashlib.sha256(repr(about).encode()).hexdigest()
        if self._allowed.get(key):
            return
        if not await self._access.may(caller, verb, namespace):
            raise Forbidden(
                f"{caller.username} may not {verb} executions/artifacts (ossa.dev) in namespace {namespace!r}"
            )
        self._allowed.put(key, True)


def task_pod(pod: JSONObject | None, caller: Caller) -> TaskPod:
    """What a Pod is to the service. Raises Forbidden where it is no running pod of a task."""
    name = f"{caller.namespace}/{caller.pod_name}"
    metadata = Metadata.model_validate(pod["metadata"]) if pod else Metadata()
    if pod is None or metadata.uid != caller.pod_uid:
        raise Forbidden(f"the pod {name} with UID {caller.pod_uid} is gone")
    if metadata.labels.get(LABEL_MANAGED_BY) != MANAGED_BY or ANNOTATION_IDENTITY not in metadata.annotations:
        raise Forbidden(f"the pod {name} is no pod of a task")
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        raise Forbidden(f"the pod {name} has finished; only a running task writes and reads artifacts")
    try:
        identity = TaskIdentity.model_validate_json(metadata.annotations[ANNOTATION_IDENTITY])
        given = json.loads(metadata.annotations.get(ANNOTATION_INPUT, "{}"))
    except (ValidationError, ValueError) as error:
        raise Forbidden(f"the annotations {ANNOTATION_IDENTITY} and input of the pod {name} are broken") from error
    if identity.namespace != caller.namespace or not is_safe_name(identity.uid):
        raise Forbidden(f"the pod {name} says that it runs for another namespace, or for no execution")
    lineage = tuple(uid for uid in identity.lineage if is_safe_name(uid))
    writer = Writer(namespace=caller.namespace, execution_uid=identity.uid, pod_uid=caller.pod_uid)
    return TaskPod(
        writer=writer,
        name=caller.pod_name,
        task=identity.task,
        received=referred(given),
        values=referred(given, media_type=VALUE_MEDIA_TYPE),
        lineage=lineage,
        about=identity_fields(identity),
    )


def referred(value: object, *, media_type: str | None = None) -> frozenset[str]:
    """The IDs of the references within a JSON value: of all, or of those of one media type."""
    return frozenset(
        reference[REFERENCE_KEY]
        for reference in find_references(value)
        if isinstance(reference[REFERENCE_KEY], str) and media_type in (None, reference.get("mediaType"))
    )


def is_safe_name(name: str) -> bool:
    """Whether a namespace or UID is one, and so can be a part of a path."""
    return _SAFE.fullmatch(name) is not None


_V = TypeVar("_V")


class Remembered(Generic[_V]):
    """At most `size` values for `ttl` seconds; the oldest go first."""

    def __init__(self, ttl: float, clock: Callable[[], float], *, size: int = _CACHE_SIZE) -> None:
        self._ttl = ttl
        self._clock = clock
        self._size = size
        self._values: dict[str, tuple[float, _V]] = {}

    def get(self, key: str) -> _V | None:
        found = self._values.get(key)
        if found is None or found[0] <= self._clock():
            self._values.pop(key, None)
            return None
        return found[1]

    def put(self, key: str, value: _V) -> None:
        self._values.pop(key, None)
        self._values[key] = (self._clock() + self._ttl, value)
        while len(self._values) > self._size:
            del self._values[next(iter(self._values))]
