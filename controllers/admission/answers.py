"""Answers to admission reviews, as the API server takes them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def answered(request: Mapping[str, Any], *, allowed: bool, **more: Any) -> dict[str, Any]:
    """The AdmissionReview that answers a request; more: fields of its response."""
    response = {"uid": request.get("uid", ""), "allowed": allowed, **more}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
