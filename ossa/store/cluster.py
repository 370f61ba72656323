"""What the artifact service asks the cluster, over the API server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from ossa.api.base import JSONObject
from ossa.api.contract import ARTIFACTS_AUDIENCE, GROUP
from ossa.kube.client import ApiClient, ApiError, NotFound
from ossa.kube.paths import core, ossa
from ossa.store.access import Caller, Verb
from ossa.store.errors import Unavailable

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
POD_NAME = "authentication.kubernetes.io/pod-name"
POD_UID = "authentication.kubernetes.io/pod-uid"
_SERVICE_ACCOUNT = "system:serviceaccount:"
_PAGE = 100


class ClusterAccess:
    """`ossa.store.access.Access` over a connected ApiClient."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def review(self, token: str) -> Caller | None:
        """Whose token this is (TokenReview); None where it is not good for our audience."""
        spec = {"token": token, "audiences": [ARTIFACTS_AUDIENCE]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        with _translated("review a token"):
            status = (await self._api.post(TOKEN_REVIEWS, body)).get("status", {})
        return reviewed(status)

    async def pod(self, namespace: str, name: str) -> JSONObject | None:
        """The Pod; None where there is none."""
        with _translated(f"read the pod {namespace}/{name}"):
            try:
                return await self._api.get(core("pods", namespace, name))
            except NotFound:
                return None

    async def may(self, caller: Caller, verb: Verb, namespace: str) -> bool:
        """Whether the caller may get or create executions/artifacts in the namespace (SubjectAccessReview)."""
        attributes = {
            "namespace": namespace,
            "verb": verb,
            "group": GROUP,
            "resource": "executions",
            "subresource": "artifacts",
        }
        spec = {
            "user": caller.username,
            "uid": caller.uid,
            "groups": list(caller.groups),
            "extra": {key: list(values) for key, values in caller.extra.items()},
            "resourceAttributes": attributes,
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        with _translated("review an access"):
            answer = await self._api.post(ACCESS_REVIEWS, body)
        return answer.get("status", {}).get("allowed") is True

    async def lineages(self, namespace: str) -> Mapping[str, tuple[str, ...]]:
        """All Executions of the namespace, read in pages: by UID, those of others whose artifacts they have."""
        found: dict[str, tuple[str, ...]] = {}
        params = {"limit": str(_PAGE)}
        while True:
            with _translated(f"list the executions of {namespace}"):
                page = await self._api.get(ossa("executions", namespace), params)
            for item in page["items"]:
                found[item["metadata"]["uid"]] = tuple((item.get("status") or {}).get("lineage") or ())
            token = page["metadata"].get("continue")
            if not token:
                return found
            params = {**params, "continue": token}


def reviewed(status: Mapping[str, Any]) -> Caller | None:
    """The caller in the status of a TokenReview; None where the token is not good for our audience."""
    # An authenticator that knows no audiences leaves the list empty: its tokens are good for anything.
    if status.get("authenticated") is not True or ARTIFACTS_AUDIENCE not in status.get("audiences", ()):
        return None
    user = status.get("user", {})
    extra = {key: tuple(values) for key, values in (user.get("extra") or {}).items()}
    username = str(user.get("username", ""))
    namespace = ""
    if username.startswith(_SERVICE_ACCOUNT):
        namespace = username.removeprefix(_SERVICE_ACCOUNT).partition(":")[0]
    return Caller(
        username=username,
        uid=str(user.get("uid", "")),
        groups=tuple(user.get("groups") or ()),
        extra=extra,
        namespace=namespace,
        pod_name=next(iter(extra.get(POD_NAME, ())), "") if namespace else "",
        pod_uid=next(iter(extra.get(POD_UID, ())), "") if namespace else "",
    )


@contextlib.contextmanager
def _translated(wanted: str) -> Iterator[None]:
    """Whatever keeps us from asking is not the caller's doing: it tries again."""
    try:
        yield
    except ApiError as error:
        raise Unavailable(f"the API server did not let the artifact service {wanted}: {error}") from error
