"""Rights of a test's users; what gives one comes back once the API server knows of it: its caches are a moment late."""

from __future__ import annotations

import contextlib
from typing import Final

from ossa.gateway.authorization import ACCESS_REVIEWS
from ossa.kube.client import NotFound
from tests.e2e.harness.cluster import Cluster
from tests.e2e.harness.namespace import RBAC, Namespace
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.waiting import wait_for

RBAC_GROUP: Final = "rbac.authorization.k8s.io"
OSSA: Final = "ossa.dev"
WRITES_POLICIES: Final[JSONObject] = {
    "apiGroups": [OSSA],
    "resources": ["agentpolicies", "agentpolicyexceptions"],
    "verbs": ["get", "list", "create", "patch", "update", "delete"],
}
# By which right it is seen that one is bound.
TELLING: Final = {"ossa-edit": ("create", "executions"), "ossa-approver": ("patch", "approvals")}


async def grant(namespace: Namespace, role: str, *, group: str = "", user: str = "") -> None:
    """Binds a ClusterRole to a group, or to a user, in the namespace."""
    who = group or user
    await namespace.apply(
        {
            "apiVersion": RBAC,
            "kind": "RoleBinding",
            "metadata": {"name": f"{role}-{who.replace(':', '-')}"},
            "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": RBAC_GROUP, "kind": "Group" if group else "User", "name": who}],
        }
    )
    verb, resource = TELLING[role]
    asked = {"user": user or "nobody", "groups": [group] if group else []}
    await _known(namespace.cluster, asked, verb, resource, namespace.name)


async def bind(cluster: Cluster, name: str, user: str, rules: list[JSONObject]) -> None:
    """Gives a user rights in the whole cluster."""
    role = {"apiVersion": RBAC, "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}
    binding = {
        "apiVersion": RBAC,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC_GROUP, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": RBAC_GROUP, "kind": "User", "name": user}],
    }
    for plural, item in (("clusterroles", role), ("clusterrolebindings", binding)):
        await cluster.api.post(f"/apis/{RBAC}/{plural}", item)
    await _known(cluster, {"user": user}, rules[0]["verbs"][0], rules[0]["resources"][0])


async def unbind(cluster: Cluster, name: str) -> None:
    """Takes away what `bind` made."""
    for plural in ("clusterrolebindings", "clusterroles"):
        with contextlib.suppress(NotFound):
            await cluster.api.delete(f"/apis/{RBAC}/{plural}/{name}")


def governs(policy: str) -> JSONObject:
    """The right to govern one policy."""
    return {"apiGroups": [OSSA], "resources": ["agentpolicies"], "resourceNames": [policy], "verbs": ["govern"]}


async def _known(cluster: Cluster, who: JSONObject, verb: str, resource: str, namespace: str = "") -> None:
    attributes = {"group": OSSA, "verb": verb, "resource": resource, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {**who, "resourceAttributes": attributes},
    }

    async def allowed() -> bool:
        return bool((await cluster.api.post(ACCESS_REVIEWS, review))["status"]["allowed"])

    await wait_for(allowed, f"{who} to have the right to {verb} {resource}", timeout=30)
