"""Other users than the one of the kubeconfig, by impersonation, and the Approvals that they decide about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ossa.api.approval import ApprovalSpec
from ossa.api.contract import TaskIdentity
from ossa.engine.clock import to_text
from ossa.kube import paths
from ossa.kube.approvals import build_approval
from ossa.kube.client import NotFound
from tests.e2e.harness.cluster import RECONCILER, SYSTEM_NAMESPACE
from tests.e2e.harness.command import Output
from tests.e2e.harness.namespace import Namespace
from tests.e2e.harness.objects import JSONObject, execution

OPERATOR = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{RECONCILER}"
BOARD = "risk-board"


@dataclass(frozen=True, slots=True)
class Person:
    """A user in a namespace. `almighty` has every right, so that nothing but admission can refuse what they do."""

    name: str
    namespace: Namespace
    groups: tuple[str, ...] = ()
    almighty: bool = True

    async def kubectl(self, *arguments: str, objects: list[JSONObject] | None = None) -> Output:
        """`kubectl -n NAMESPACE ARGUMENTS` as this user."""
        groups = [*self.groups, *(["system:masters"] if self.almighty else [])]
        who = ["--as", self.name, *(part for group in groups for part in ("--as-group", group))]
        return await self.namespace.kubectl(*who, *arguments, objects=objects)

    async def create(self, item: JSONObject) -> Output:
        """`kubectl create`."""
        return await self.kubectl("create", "-f", "-", objects=[item])

    async def patch(self, kind: str, name: str, change: Any, *more: str) -> Output:
        """`kubectl patch`: a JSON patch where `change` is a list, else a merge patch."""
        form = "json" if isinstance(change, list) else "merge"
        return await self.kubectl("patch", kind, name, f"--type={form}", "-p", json.dumps(change), *more)

    async def decide(self, approval: str, verdict: str = "Approved", **entry: Any) -> Output:
        """Adds the user's own entry."""
        return await self.patch("approval", approval, {"decisions": {self.name: {"verdict": verdict, **entry}}})


def operator(namespace: Namespace) -> Person:
    """The operator, with no more rights than it has."""
    return Person(OPERATOR, namespace, almighty=False)


async def ask(namespace: Namespace, *, author: str = "alice", task: str = "release", **spec: Any) -> JSONObject:
    """The Approval of a task of the Execution `run`, as the operator makes it; the Execution waits for a workflow."""
    try:
        held = await namespace.get("executions", "run")
    except NotFound:
        (await Person(author, namespace).create(execution("run", "nothing"))).ok()
        held = await namespace.get("executions", "run")
    identity = TaskIdentity(
        namespace=namespace.name, execution="run", uid=held["metadata"]["uid"], workflow="nothing", task=task
    )
    fields = {"approverGroups": [BOARD], **spec}
    item = build_approval(identity, ApprovalSpec.model_validate({**_asked(identity, author), **fields}))
    (await operator(namespace).create(item)).ok()
    return await namespace.get("approvals", item["metadata"]["name"])


async def undecided(namespace: Namespace, name: str | None = "run", *, patience: float = 60.0) -> JSONObject:
    """The Approval that an Execution waits for; of any one, where there is no name."""

    async def look() -> JSONObject | None:
        items = (await namespace.cluster.api.get(paths.ossa("approvals", namespace.name)))["items"]
        of = (item for item in items if name in (None, item["spec"]["execution"]["name"]))
        return next((item for item in of if not (item.get("status") or {}).get("decidedAt")), None)

    return await namespace.wait(look, f"an Approval of {name or 'an Execution'}", patience=patience)


def _asked(identity: TaskIdentity, author: str) -> JSONObject:
    return {
        "execution": {"name": identity.execution, "uid": identity.uid},
        "task": identity.task,
        "message": "Release to production?",
        "author": author,
        "expiresAt": to_text(datetime.now(UTC) + timedelta(hours=1)),
    }
