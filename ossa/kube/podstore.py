"""All worker pods as slim records, and what was asked for and is not yet seen.

A watch lags behind one's own writes. Without expectations a stale store would make a task whose pod was just created
look lost, and start it twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ossa.engine.snapshot import PodView
from ossa.kube.pods import identity_of, pod_view

_NONE: Mapping[str, PodView] = MappingProxyType({})


def pending_reason(pod: PodView) -> str:
    """Why a pending pod does not run, in the kubelet's word where the pod has a node."""
    if pod.waiting_reason is not None:
        return pod.waiting_reason
    return "Unschedulable" if pod.unschedulable is not None else "Scheduling"


class PodStore:
    """A `Listener` of the pods' watch. Keys are UIDs of Executions."""

    def __init__(self, touched: Callable[[str], None]) -> None:
        self._touched = touched
        self._pods: dict[str, dict[str, PodView]] = defaultdict(dict)
        # name -> resourceVersion at its creation, 0 while the API server has not answered yet
        self._expected: dict[str, dict[str, int]] = defaultdict(dict)
        self.synced = False

    def of(self, execution: str) -> Mapping[str, PodView]:
        """The pods of an Execution, by name."""
        return self._pods.get(execution, _NONE)

    def in_flight(self, execution: str) -> frozenset[str]:
        """Names whose creation was asked for and that the watch has not told of yet."""
        return frozenset(self._expected.get(execution, ()))

    def pending(self) -> list[str]:
        """Why pods do not run yet, one word for each of them. /metrics asks from a thread of its own."""
        held = [pod for pods in list(self._pods.values()) for pod in list(pods.values())]
        return [pending_reason(pod) for pod in held if pod.phase == "Pending" and not pod.ended and not pod.deleting]

    def expect(self, execution: str, name: str) -> None:
        """A pod is about to be asked for."""
        self._expected[execution].setdefault(name, 0)

    def created(self, execution: str, name: str, version: int) -> None:
        """The API server has created it at `version`; from then on the watch must tell of it."""
        if name in self._expected.get(execution, ()):
            self._expected[execution][name] = version

    def unexpect(self, execution: str, name: str) -> None:
        """It will not come: its creation was refused."""
        self._expected.get(execution, {}).pop(name, None)

    def forget(self, execution: str) -> None:
        """The Execution is gone."""
        self._pods.pop(execution, None)
        self._expected.pop(execution, None)

    def replaced(self, items: list[dict[str, Any]], version: int) -> None:
        before = set(self._pods)
        self._pods.clear()
        for item in items:
            self._put(item)
        self._expire(version)
        self.synced = True
        for execution in before | set(self._pods):
            self._touched(execution)

    def changed(self, kind: str, item: dict[str, Any]) -> None:
        identity = identity_of(item)
        if identity is None:
            return
        name = item["metadata"]["name"]
        if kind == "DELETED":
            self._pods.get(identity.uid, {}).pop(name, None)
            self.unexpect(identity.uid, name)
        elif self._put(item) is None:
            return
        self._touched(identity.uid)

    def advanced(self, version: int) -> None:
        self._expire(version)

    def _put(self, item: dict[str, Any]) -> str | None:
        """Returns the Execution's UID where the record has changed."""
        identity = identity_of(item)
        if identity is None:
            return None
        view = pod_view(item, identity)
        self.unexpect(identity.uid, view.name)
        pods = self._pods[identity.uid]
        if pods.get(view.name) == view:
            return None
        pods[view.name] = view
        return identity.uid

    def _expire(self, version: int) -> None:
        """What was created before `version` and is not there was deleted unseen."""
        for execution, names in self._expected.items():
            gone = [name for name, at in names.items() if 0 < at <= version]
            for name in gone:
                del names[name]
            if gone:
                self._touched(execution)
