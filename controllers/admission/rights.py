"""Whether the API server's authorizer grants a user a right: SubjectAccessReviews."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ossa.api.contract import GROUP
from ossa.kube.client import ApiClient

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
# Of AgentPolicies: who may make and change one, and who may grant and confirm exceptions from it.
Verb = Literal["govern", "except"]


async def may(api: ApiClient, userinfo: Mapping[str, Any], verb: Verb, policy: str) -> bool:
    """Whether the user of a request may do it to a policy. Raises ApiError where nobody answers."""
    attributes = {"group": GROUP, "resource": "agentpolicies", "verb": verb, "name": policy}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": userinfo.get("username", ""),
            "uid": userinfo.get("uid", ""),
            "groups": list(userinfo.get("groups") or ()),
            "extra": {key: list(values) for key, values in (userinfo.get("extra") or {}).items()},
            "resourceAttributes": attributes,
        },
    }
    answer = await api.post(PATH, review)
    return answer["status"].get("allowed") is True


def without(verb: Verb, policy: str) -> str:
    """What to say to whoever lacks the right."""
    return (
        f"you lack the verb {verb!r} on agentpolicies.ossa.dev {policy!r}; the ClusterRole ossa-governor has it, "
        "and a ClusterRole of your own may give it for this policy alone (resourceNames)"
    )
