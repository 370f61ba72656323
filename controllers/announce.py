"""Kubernetes Events: what `kubectl describe` shows of what happened."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Conflict

log = logging.getLogger(__name__)

COMPONENT = "ossa-reconciler"
MESSAGE_MAX = 1024  # the API server's bound


async def announce(
    api: ApiClient, item: dict[str, Any], *, kind: Literal["Normal", "Warning"], reason: str, message: str
) -> None:
    """Tells of `item`; the same words about the same object are one event, however often they are said.

    An event that cannot be written is logged: the status holds what matters.
    """
    metadata = item["metadata"]
    # As the API server wants it of objects that have no namespace.
    namespace = metadata.get("namespace") or "default"
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name'][:200]}.{_digest(metadata['uid'], reason, message)}",
            "namespace": namespace,
        },
        "involvedObject": {
            "apiVersion": item["apiVersion"],
            "kind": item["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": kind,
        "reason": reason,
        "message": message[:MESSAGE_MAX],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        await api.post(paths.core("events", namespace), event)
    except Conflict:
        return  # it was told before a crash
    except ApiError as error:
        if "is being terminated" in error.message:
            return  # its namespace goes, and whoever could read it with it
        log.warning("event not written", extra={"reason": reason, "error": str(error)})


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
