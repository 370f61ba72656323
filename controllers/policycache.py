"""The policies of this moment, with their exceptions and params, from watches; and the namespaces that they ask about.

A policy that cannot be judged by (its expressions do not compile, or its params lie where the operator may not read) is
in the set all the same: the webhook refuses such policies, but one may have come past it, or an older version may have
taken it. Each thing that it is about then has the outcome `error`, which follows its failurePolicy: under Fail an
Enforce policy refuses until somebody corrects it, under Ignore it warns. The last generation that did compile is not
kept: a process that starts later would not know it, and two replicas would say two things.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from controllers.mirror import Mirror, full_name
from ossa.api.base import JSONObject, Metadata
from ossa.api.policy import AgentPolicy
from ossa.api.policyexception import AgentPolicyException
from ossa.governance.policies import CompiledPolicy, InvalidPolicyError, broken_policy, compile_policy, params_problems
from ossa.governance.policyset import PolicySet
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.watch import list_and_watch

log = logging.getLogger(__name__)

R = TypeVar("R", AgentPolicy, AgentPolicyException)
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class PolicyCache:
    """One a process. `run` fills it; until `synced` it lacks something.

    params_namespaces: where ConfigMaps may be read; RBAC has to permit it.
    """

    def __init__(self, api: ApiClient, params_namespaces: Iterable[str]) -> None:
        self._api = api
        self._params_namespaces = tuple(sorted(set(params_namespaces)))
        self._callbacks: list[Callable[[], None]] = []
        self._set: PolicySet | None = None
        self._policies: Mirror[CompiledPolicy] = Mirror(self._compiled, self._changed)
        self._exceptions = Mirror(_exception, self._changed, key=full_name)
        self._namespaces = Mirror(_namespace, self._namespace_changed)
        self._params = {name: Mirror(_data, self._params_changed, key=full_name) for name in self._params_namespaces}

    def current(self) -> PolicySet:
        """The policies of this moment; the same object until one of them, an exception or their params change."""
        if self._set is None:
            self._set = PolicySet(
                policies=tuple(self._policies.items.values()),
                params=dict(self._found_params()),
                exceptions=tuple(self._exceptions.items.values()),
            )
        return self._set

    def names(self) -> frozenset[str]:
        """Of all policies that are there."""
        return frozenset(self._policies.items)

    def problems(self) -> Mapping[str, list[str]]:
        """Of the policies that cannot be judged by: what is wrong, by their names."""
        return {name: list(held.problems) for name, held in self._policies.items.items() if held.problems}

    def namespace(self, name: str) -> JSONObject | None:
        """The root `namespaceObject`: name, labels and annotations; None where it is not known."""
        return self._namespaces.items.get(name)

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """Labels of a namespace; none where it is not known."""
        found = self.namespace(name)
        labels: Mapping[str, str] = {} if found is None else found["metadata"]["labels"]
        return labels

    async def fetch_namespace(self, name: str) -> JSONObject:
        """The same, from the API server, for one that no watch has told of yet. Raises ApiError."""
        return _namespace(await self._api.get(paths.core("namespaces", name=name)))

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls it after each change of what policies say: of one, an exception, params or a namespace."""
        self._callbacks.append(callback)

    async def run(self) -> None:
        """Lists and watches until cancelled. The client is entered already."""
        collections: list[tuple[str, Mirror[Any]]] = [
            (paths.ossa("agentpolicies"), self._policies),
            (paths.ossa("agentpolicyexceptions"), self._exceptions),
            (paths.core("namespaces"), self._namespaces),
            *((paths.core("configmaps", name), mirror) for name, mirror in self._params.items()),
        ]
        async with asyncio.TaskGroup() as group:
            for path, mirror in collections:
                group.create_task(list_and_watch(self._api, path, {}, mirror))

    async def synced(self) -> None:
        """Returns once everything has been read for the first time."""
        first = (self._policies.synced, self._exceptions.synced, self._namespaces.synced)
        for known in (*first, *(mirror.synced for mirror in self._params.values())):
            await known.wait()

    def _compiled(self, item: JSONObject) -> CompiledPolicy | None:
        """Compiled anew where its generation is new."""
        metadata = item["metadata"]
        before = self._policies.items.get(metadata["name"])
        if before is not None and (before.uid, before.generation) == (metadata["uid"], metadata["generation"]):
            return before
        policy = parsed(AgentPolicy, item)
        if policy is None:
            return None
        problems = params_problems(policy, self._params_namespaces)
        try:
            compiled = compile_policy(policy)
        except InvalidPolicyError as error:
            problems = [*error.problems, *problems]
        if not problems:
            return compiled
        log.error("policy cannot be judged by", extra={"policy": policy.metadata.name, "problems": problems})
        return broken_policy(policy, problems)

    def _found_params(self) -> Iterator[tuple[tuple[str, str], Mapping[str, str]]]:
        for policy in self._policies.items.values():
            wanted = policy.spec.params
            mirror = self._params.get(wanted.namespace) if wanted is not None else None
            if wanted is not None and mirror is not None:
                data = mirror.items.get(f"{wanted.namespace}/{wanted.name}")
                if data is not None:
                    yield (wanted.namespace, wanted.name), data

    def _changed(self, key: str) -> None:
        del key
        self._set = None
        self._tell()

    def _params_changed(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        wanted = (policy.spec.params for policy in self._policies.items.values())
        if any(held is not None and (held.namespace, held.name) == (namespace, name) for held in wanted):
            self._changed(key)

    def _namespace_changed(self, key: str) -> None:
        del key
        self._tell()

    def _tell(self) -> None:
        for callback in self._callbacks:
            callback()


def parsed(kind: type[R], item: JSONObject) -> R | None:
    """None, and a line in the log, where it is not what this version knows: the API server's schema is another."""
    try:
        return kind.model_validate(item)
    except ValidationError as error:
        name = item["metadata"]["name"]
        log.error("object not understood", extra={"kind": kind.__name__, "object": name, "error": str(error)[:1000]})
        return None


def _exception(item: JSONObject) -> AgentPolicyException | None:
    found = parsed(AgentPolicyException, item)
    # What it says does not hang on these, and a status is written often.
    return None if found is None else found.model_copy(update={"metadata": _timeless(found)})


def _timeless(found: AgentPolicyException) -> Metadata:
    return found.metadata.model_copy(update={"resource_version": ""})


def _namespace(item: JSONObject) -> JSONObject:
    metadata = item["metadata"]
    annotations = {key: text for key, text in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    kept = {"name": metadata["name"], "labels": metadata.get("labels") or {}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": kept}


def _data(item: JSONObject) -> Mapping[str, str]:
    data: Mapping[str, str] = item.get("data") or {}
    return data
