"""List, then watch from there, for ever: the pattern of client-go's reflector.

The one who listens gets whole lists (what is not in one is gone, also when a 410 hid its deletion) and single changes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from typing import Any, Protocol

from ossa.backoff import backoff
from ossa.kube.client import ApiClient, ApiError, Gone

log = logging.getLogger(__name__)

PAGE = 500
WATCH_SECONDS = 300  # the server closes the watch then; a bookmark keeps the place
BACKOFF_FIRST, BACKOFF_MOST = 0.2, 15.0


class Listener(Protocol):
    """What a watch tells."""

    def replaced(self, items: list[dict[str, Any]], version: int) -> None:
        """The whole collection as of `version`."""

    def changed(self, kind: str, item: dict[str, Any]) -> None:
        """ADDED, MODIFIED or DELETED."""

    def advanced(self, version: int) -> None:
        """A bookmark: all changes up to `version` have been told."""


async def list_and_watch(api: ApiClient, path: str, params: Mapping[str, str], listener: Listener) -> None:
    """Runs until cancelled. Every failure is followed by a new try with backoff and jitter."""
    failures, version = 0, ""
    while True:
        try:
            if not version:
                version = await _list(api, path, params, listener)
            async for kind, item in api.watch(path, {**params, **_from(version)}):
                failures, version = 0, item["metadata"]["resourceVersion"]
                if kind == "BOOKMARK":
                    listener.advanced(int(version))
                else:
                    listener.changed(kind, item)
        except Gone:
            version = ""
        except ApiError as error:
            failures += 1
            pause = backoff(failures, first=BACKOFF_FIRST, most=BACKOFF_MOST)
            log.warning("watch failed, trying again", extra={"path": path, "error": str(error), "pause": pause})
            await asyncio.sleep(pause)


def _from(version: str) -> dict[str, str]:
    return {
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": str(int(WATCH_SECONDS * random.uniform(1.0, 1.5))),  # noqa: S311 - spreads reconnects
    }


async def _list(api: ApiClient, path: str, params: Mapping[str, str], listener: Listener) -> str:
    """Told whole, page by page; returns its resourceVersion. Without one asked for, a list is the newest state."""
    items: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = await api.get(path, {**params, "limit": str(PAGE), **more})
        items += page.get("items") or []
        token = page["metadata"].get("continue")
        if not token:
            break
        more = {"continue": token}
    version = str(page["metadata"]["resourceVersion"])
    listener.replaced(items, int(version))
    return version
