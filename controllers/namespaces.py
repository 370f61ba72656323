"""What the platform reads of namespaces: what whoever governs one allows to its agents and executions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ossa.api.contract import ANNOTATION_PARALLELISM, ANNOTATION_SERVICE_ACCOUNTS, DEFAULT_SERVICE_ACCOUNT


class Namespaces:
    """A `Listener` of the namespaces' watch."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._allowed: dict[str, frozenset[str]] = {}
        self._parallelism: dict[str, int] = {}
        self.synced = False

    def parallelism(self, namespace: str) -> int | None:
        """How many worker pods may run in a namespace; None where nothing, or no number, is said."""
        return self._parallelism.get(namespace)

    def allows(self, namespace: str, account: str) -> bool:
        """Whether agents of a namespace may run as a service account."""
        return account == DEFAULT_SERVICE_ACCOUNT or account in self._allowed.get(namespace, ())

    def replaced(self, items: list[dict[str, Any]], version: int) -> None:  # noqa: ARG002 - of the interface
        before, self._allowed = self._allowed, {item["metadata"]["name"]: _listed(item) for item in items}
        self._parallelism = {item["metadata"]["name"]: most for item in items if (most := _most(item)) is not None}
        first, self.synced = not self.synced, True
        for name in before.keys() | self._allowed.keys():
            if first or before.get(name) != self._allowed.get(name):
                self._changed(name)

    def changed(self, kind: str, item: dict[str, Any]) -> None:
        name = item["metadata"]["name"]
        most = None if kind == "DELETED" else _most(item)
        if most is None:
            self._parallelism.pop(name, None)
        else:
            self._parallelism[name] = most
        if kind == "DELETED":
            self._allowed.pop(name, None)
            return
        before, self._allowed[name] = self._allowed.get(name), _listed(item)
        if before != self._allowed[name]:
            self._changed(name)

    def advanced(self, version: int) -> None:
        """Nothing to do."""


def _most(namespace: dict[str, Any]) -> int | None:
    text = (namespace["metadata"].get("annotations") or {}).get(ANNOTATION_PARALLELISM, "")
    return int(text) if text.isdecimal() else None


def _listed(namespace: dict[str, Any]) -> frozenset[str]:
    text = (namespace["metadata"].get("annotations") or {}).get(ANNOTATION_SERVICE_ACCOUNTS, "")
    return frozenset(name.strip() for name in text.split(",") if name.strip())
