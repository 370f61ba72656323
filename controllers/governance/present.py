"""The objects that policies are asked about as they are: Agents, Workflows, and Executions that have not ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from controllers.cache import bare
from controllers.policycache import PolicyCache
from ossa.api.base import JSONObject
from ossa.engine.states import EXECUTION_TERMINAL, is_finished
from ossa.governance.findings import ObjectKey
from ossa.governance.inline import workflow_of
from ossa.governance.question import SubjectKind
from ossa.governance.world import SUBJECTS, Key, World

_Object = Mapping[str, Any]


class Present:
    """What is there, with who refers to whom. Of a change of a status nothing is heard: policies are asked of specs."""

    def __init__(self, policies: PolicyCache) -> None:
        self._held: dict[str, dict[Key, _Object]] = {kind: {} for kind in SUBJECTS}
        self._names: dict[tuple[SubjectKind, str], set[str]] = defaultdict(set)  # kind and namespace
        self._policies = policies
        self._world: World | None = None

    def world(self) -> World:
        """All of it. Agents are read once for many questions, so that each change of one makes another world."""
        if self._world is None:
            self._world = World({**self._held, "Namespace": _Namespaces(self._policies)})
        return self._world

    def get(self, key: ObjectKey) -> _Object | None:
        """An object; None where it is not there, or not any more."""
        kind, namespace, name = key
        return self._held[kind].get((namespace, name))

    def all(self) -> list[ObjectKey]:
        """All keys."""
        return [(kind, *key) for kind in SUBJECTS for key in self._held[kind]]

    def in_namespace(self, namespace: str) -> Iterator[ObjectKey]:
        """All keys of a namespace."""
        return ((kind, namespace, name) for kind in SUBJECTS for name in self._names.get((kind, namespace), ()))

    def namespaces(self) -> set[str]:
        """Those with anything in them."""
        return {namespace for (_, namespace), names in self._names.items() if names}

    def put(self, kind: SubjectKind, old: JSONObject | None, new: JSONObject | None) -> list[ObjectKey]:
        """Takes a change over. The keys of the objects of which other things may be said now."""
        metadata = (new or old or {})["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        if new is not None and is_present(kind, new):
            self._held[kind][namespace, name] = bare(new)
            if old is not None and is_present(kind, old) and not _differs(old, new):
                return []
            self._names[kind, namespace].add(name)
        elif self._held[kind].pop((namespace, name), None) is None:
            return []
        else:
            self._names[kind, namespace].discard(name)
        if kind == "Agent":
            self._world = None
        return [(kind, namespace, name), *self._users(kind, namespace, {name})]

    def _users(self, kind: SubjectKind, namespace: str, names: set[str]) -> Iterator[ObjectKey]:
        """What refers to one of these, directly or not."""
        if kind == "Agent":
            flows = {
                name for name in self._names.get(("Workflow", namespace), ()) if self._uses(namespace, name, names)
            }
            yield from (("Workflow", namespace, name) for name in flows)
            yield from self._users("Workflow", namespace, flows)
            for name in self._names.get(("Execution", namespace), ()):
                inline = workflow_of(self._held["Execution"][namespace, name])
                if inline is not None and _uses(inline["spec"], names):
                    yield ("Execution", namespace, name)
        elif kind == "Workflow" and names:
            for name in self._names.get(("Execution", namespace), ()):
                if self._held["Execution"][namespace, name]["spec"].get("workflow") in names:
                    yield ("Execution", namespace, name)

    def _uses(self, namespace: str, workflow: str, agents: set[str]) -> bool:
        return _uses(self._held["Workflow"][namespace, workflow]["spec"], agents)


def _uses(workflow: _Object, agents: set[str]) -> bool:
    tasks = (*workflow.get("tasks", ()), *workflow.get("finally", ()))
    return any(task.get("agent") in agents for task in tasks)


class _Namespaces(Mapping[Key, _Object]):
    """The namespaces that the cache of policies knows, by keys of which the first part is ''."""

    def __init__(self, policies: PolicyCache) -> None:
        self._policies = policies

    def __getitem__(self, key: Key) -> _Object:
        found = self._policies.namespace(key[1])
        if found is None:
            raise KeyError(key)
        return found

    def __iter__(self) -> Iterator[Key]:
        return iter(())

    def __len__(self) -> int:
        return 0


def is_present(kind: SubjectKind, item: JSONObject) -> bool:
    """Whether an object is still to be judged: it is not being deleted, and is no Execution that has ended."""
    if item["metadata"].get("deletionTimestamp"):
        return False
    status = item.get("status") or {}
    if kind != "Execution" or status.get("phase") not in EXECUTION_TERMINAL:
        return True
    # A Failed one may be tried again.
    return status["phase"] != "Completed" and not is_finished(status)


def _differs(old: JSONObject, new: JSONObject) -> bool:
    """Whether other things may be said of an object now."""
    was, now = old["metadata"], new["metadata"]
    if any(was.get(field) != now.get(field) for field in ("uid", "generation", "labels", "annotations")):
        return True
    return (old.get("status") or {}).get("image") != (new.get("status") or {}).get("image")
