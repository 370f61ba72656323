"""Lists whole kinds: before anything is judged, and now and then afterwards.

A watch that is taken up anew after a 410 never says what was deleted meanwhile, and an event may be missed for other
reasons. A list says both.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from controllers.cache import ObjectCache, key_of, version_of
from ossa.api.base import JSONObject
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError

log = logging.getLogger(__name__)

PAGE = 500
LEARN_PAUSE = 1.0  # seconds between two tries to read what is there
RESYNC_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Followed:
    """A kind: what is known of it, and who is told of an event (`DELETED`, or None for what is there)."""

    plural: str
    cache: ObjectCache
    seen: Callable[[str | None, JSONObject], None]


def deleted_unseen(known: Iterable[JSONObject], there: Collection[str], version: int) -> list[JSONObject]:
    """Pure: what is known and was not in the list of `version`, but for what is newer than the list.

    there: UIDs of what was in it.
    """
    return [item for item in known if item["metadata"]["uid"] not in there and version_of(item) <= version]


async def learn(api: ApiClient, kinds: Sequence[Followed]) -> None:
    """Reads what is there, until it succeeds.

    The watches of the kinds start at different moments: without this each restart would make Drafts of workflows whose
    agents were not seen yet, and triggers would start beside Executions that they did not see.
    """
    for kind in kinds:
        while not await _list(api, kind):  # noqa: ASYNC110 - the other side of the wait is the API server
            await asyncio.sleep(LEARN_PAUSE)


async def resync(api: ApiClient, kinds: Sequence[Followed], every: float = RESYNC_SECONDS) -> None:
    """Reads all again and again; runs until cancelled."""
    while True:
        await asyncio.sleep(every * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load
        for kind in kinds:
            await _list(api, kind)


async def _list(api: ApiClient, kind: Followed) -> bool:
    """Whether it succeeded. In pages, each of the same moment: a whole list of thousands would be in memory at once."""
    there: set[str] = set()
    more: dict[str, str] = {}
    while True:
        try:
            page = await api.get(paths.ossa(kind.plural), {"limit": str(PAGE), **more})
        except ApiError as error:
            log.warning("cannot read what is there", extra={"kind": kind.plural, "error": str(error)})
            return False
        version = version_of(page)
        for item in page["items"]:
            there.add(item["metadata"]["uid"])
            # Items of a list come without what they all share.
            _tell(kind, {"apiVersion": page["apiVersion"], "kind": page["kind"].removesuffix("List"), **item})
        token = page["metadata"].get("continue")
        if not token:
            break
        more = {"continue": token}
    for item in deleted_unseen(kind.cache.all(), there, version):
        kind.seen("DELETED", item)
    return True


def _tell(kind: Followed, item: JSONObject) -> None:
    """One that has the name of another, which was deleted unseen, must not hide that."""
    known = kind.cache.get(key_of(item))
    if (
        known is not None
        and known["metadata"]["uid"] != item["metadata"]["uid"]
        and version_of(known) < version_of(item)
    ):
        kind.seen("DELETED", known)
    kind.seen(None, item)
