"""Approvals: asks people, and writes down what came of it."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime

from ossa.api.base import JSONObject
from ossa.engine.approvals import approval_status, approval_view
from ossa.engine.clock import to_text
from ossa.engine.decision import ApprovalRequest, Verdict
from ossa.engine.snapshot import ApprovalView
from ossa.kube import paths
from ossa.kube.approvals import build_approval, is_of
from ossa.kube.client import ApiClient, ApiError, Conflict, NotFound
from ossa.kube.status import write_status

log = logging.getLogger(__name__)


class Approvals:
    """A `Listener` of the Approvals' watch, and what is done with them. Keys are UIDs of Executions."""

    def __init__(self, api: ApiClient, touched: Callable[[str], None]) -> None:
        self._api = api
        self._touched = touched
        self._items: dict[str, dict[str, JSONObject]] = defaultdict(dict)
        self.synced = False

    def of(self, uid: str) -> Mapping[str, ApprovalView]:
        """The Approvals of an Execution, by name."""
        return {name: approval_view(item) for name, item in self._items.get(uid, {}).items()}

    def replaced(self, items: list[JSONObject], version: int) -> None:  # noqa: ARG002 - of the interface
        before = set(self._items)
        self._items.clear()
        for item in items:
            self._items[_execution(item)][item["metadata"]["name"]] = item
        self.synced = True
        for uid in before | set(self._items):
            self._touched(uid)

    def changed(self, kind: str, item: JSONObject) -> None:
        uid, name = _execution(item), item["metadata"]["name"]
        if kind == "DELETED":
            self._items[uid].pop(name, None)
        else:
            self._put(item)
        self._touched(uid)

    def advanced(self, version: int) -> None:
        """Nothing to do."""

    async def ask(self, request: ApprovalRequest) -> None:
        """Creates an Approval, once however often it is asked for."""
        namespace = request.identity.namespace
        try:
            made = await self._api.post(
                paths.ossa("approvals", namespace), build_approval(request.identity, request.spec)
            )
        except Conflict as error:
            made = await self._api.get(paths.ossa("approvals", namespace, request.name))
            if not is_of(made, request.identity):
                raise ApiError(0, "NameTaken", f"another object has the name of Approval {request.name}") from error
        self._put(made)
        self._touched(request.identity.uid)

    async def decide(self, namespace: str, verdict: Verdict, now: datetime) -> None:
        """Writes what came of an Approval.

        Raises:
            Conflict: somebody has decided meanwhile; look again.
        """
        uid = verdict.spec.execution.uid
        item = self._items.get(uid, {}).get(verdict.name)
        if item is None:
            return
        status = approval_status(item, verdict.spec, verdict.outcome, to_text(now))
        try:
            written = await write_status(
                self._api, paths.ossa("approvals", namespace, verdict.name), item, status.to_json()
            )
        except NotFound:
            self._items[uid].pop(verdict.name, None)
            written = None
        if written is not None:
            self._put(written)
        self._touched(uid)

    def forget(self, uid: str) -> None:
        """The Execution is gone."""
        self._items.pop(uid, None)

    def _put(self, item: JSONObject) -> None:
        held = self._items[_execution(item)]
        before = held.get(item["metadata"]["name"])
        if before is None or _version(before) < _version(item):
            held[item["metadata"]["name"]] = item


def _execution(item: JSONObject) -> str:
    return str(item["spec"]["execution"]["uid"])


def _version(item: JSONObject) -> int:
    return int(item["metadata"]["resourceVersion"])
