"""The one place that writes a status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ossa.api.base import JSONObject
from ossa.kube.client import JSON_PATCH, ApiClient


def status_operations(
    old: Mapping[str, Any], new: Mapping[str, Any], *, maps: tuple[str, ...] = ()
) -> list[JSONObject]:
    """RFC 6902 operations that turn `old` into `new`; fields named in `maps` are compared an entry at a time.

    A merge patch would be shorter, but it takes a null within an output for the wish to delete it.
    """
    operations: list[JSONObject] = []
    for key in [*new, *(k for k in old if k not in new)]:
        before, after, path = old.get(key), new.get(key), f"/status/{_escaped(key)}"
        if before == after and (key in old) == (key in new):
            continue
        if key not in new:
            operations.append({"op": "remove", "path": path})
        elif key in maps and isinstance(before, dict) and isinstance(after, dict) and before:
            operations += _entries(before, after, path)
        else:
            operations.append({"op": "add", "path": path, "value": after})
    return operations


def _entries(before: JSONObject, after: JSONObject, path: str) -> list[JSONObject]:
    changed = [
        {"op": "add", "path": f"{path}/{_escaped(name)}", "value": value}
        for name, value in after.items()
        if name not in before or before[name] != value
    ]
    removed = [{"op": "remove", "path": f"{path}/{_escaped(name)}"} for name in before if name not in after]
    return changed + removed


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


async def write_status(
    api: ApiClient, path: str, current: Mapping[str, Any], status: JSONObject, *, maps: tuple[str, ...] = ()
) -> JSONObject | None:
    """Writes `status` to the object `current` as it was read; the object as it is then, None where nothing differed.

    Raises:
        Conflict: the object has changed since it was read; nothing was written.
        NotFound: it is gone.
    """
    old = current.get("status")
    operations = status_operations(old or {}, status, maps=maps)
    if not operations:
        return None
    if old is None:
        operations = [{"op": "add", "path": "/status", "value": status}]
    lock = {
        "op": "replace",
        "path": "/metadata/resourceVersion",
        "value": current["metadata"]["resourceVersion"],
    }
    return await api.patch(path + "/status", [lock, *operations], content_type=JSON_PATCH)
