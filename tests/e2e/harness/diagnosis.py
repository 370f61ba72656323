"""How things stand in a namespace, as text for the person who reads a failed test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError

JSONObject = dict[str, Any]


async def diagnose(api: ApiClient, namespace: str) -> str:
    """Executions, workflows, agents, approvals, pods with their logs, and events."""
    try:
        parts = await asyncio.gather(
            _ours(api, namespace, "executions"),
            _ours(api, namespace, "workflows"),
            _ours(api, namespace, "agents"),
            _ours(api, namespace, "approvals"),
            _pods(api, namespace),
            _events(api, namespace),
        )
    except ApiError as error:
        return f"(the namespace {namespace} could not be read: {error})"
    return "\n".join([f"--- namespace {namespace}", *(line for part in parts for line in part)])


async def _ours(api: ApiClient, namespace: str, plural: str) -> list[str]:
    items = (await api.get(paths.ossa(plural, namespace)))["items"]
    return [f"{plural}/{item['metadata']['name']}: {_status(item.get('status') or {})}" for item in items]


def _status(status: JSONObject) -> str:
    # Conditions say again what the other fields do, but for agents, which have nothing else.
    told = {key: value for key, value in status.items() if key != "conditions" or "phase" not in status}
    return json.dumps(told, indent=1)[:6000]


async def _pods(api: ApiClient, namespace: str) -> list[str]:
    items = (await api.get(paths.core("pods", namespace)))["items"]
    return [line for item in items for line in await _pod(api, item)]


async def _pod(api: ApiClient, pod: JSONObject) -> Iterable[str]:
    metadata, status = pod["metadata"], pod.get("status") or {}
    states = {held["name"]: held["state"] for held in status.get("containerStatuses") or []}
    told = {key: status[key] for key in ("phase", "reason", "message") if key in status} | {"containers": states}
    if "deletionTimestamp" in metadata:
        told["deletionTimestamp"] = metadata["deletionTimestamp"]
    lines = [f"pods/{metadata['name']}: {json.dumps(told)}"]
    if any("waiting" not in state for state in states.values()):
        log = await _log(api, metadata["namespace"], metadata["name"])
        lines += [f"  | {line}" for line in log.splitlines()]
    return lines


async def _log(api: ApiClient, namespace: str, pod: str) -> str:
    try:
        return await api.text(paths.core("pods", namespace, pod, "log"), {"container": "main", "tailLines": "20"})
    except ApiError as error:
        return f"(no log: {error})"


async def _events(api: ApiClient, namespace: str) -> list[str]:
    items = (await api.get(paths.core("events", namespace)))["items"]
    items.sort(key=lambda item: int(item["metadata"]["resourceVersion"]))
    return [
        f"event {item.get('lastTimestamp') or item.get('eventTime')} {item['type']} {item['reason']} "
        f"{item['involvedObject']['kind']}/{item['involvedObject'].get('name')}: {item.get('message')}"
        for item in items
    ]
