"""Lists in the artifact service that a forEach goes over: read in the background, and kept while there is room."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import overload

import orjson

from controllers.background import Background, Late
from ossa.api.artifact import VALUE_MEDIA_TYPE, ArtifactRef
from ossa.api.contract import VALUE_LIMIT
from ossa.api.task import MAX_ITEMS
from ossa.engine.snapshot import ListValue
from ossa.engine.values import plain
from ossa.store.access import OPERATOR
from ossa.store.client import ArtifactClient
from ossa.store.errors import BadRequest, Damaged, NotFound, Problem, TooLarge
from ossa.store.signing import Signer

# Seconds between two attempts to read one.
PAUSE = 5.0
# Lists that are read at once: while it is parsed, one of 16 MiB takes ten times that.
AT_ONCE = 2
# Bytes of JSON that are kept, of all executions; what was not looked at for longest is read again when it is wanted.
KEPT = 2 * VALUE_LIMIT


class Values:
    """`wake` is told of an execution for which something was read after nobody waited for it any more."""

    def __init__(self, artifacts: ArtifactClient, signer: Signer, wake: Callable[[str], None]) -> None:
        self._artifacts = artifacts
        self._signer = signer
        self._reads: Background[ListValue] = Background(wake)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._found: dict[str, dict[str, ListValue]] = defaultdict(dict)
        self._sizes: OrderedDict[tuple[str, str], int] = OrderedDict()  # of those that are kept
        self._again: dict[tuple[str, str], float] = {}  # monotonic: when one that was not read is asked for again

    def of(self, uid: str) -> Mapping[str, ListValue]:
        """What is known of the lists of an execution, by the ID of the reference."""
        found, now = self._found.get(uid, {}), time.monotonic()
        for name in found:
            if (uid, name) in self._sizes:
                self._sizes.move_to_end((uid, name))
        return {name: value for name, value in found.items() if self._again.get((uid, name), math.inf) > now}

    async def read(self, namespace: str, uids: Sequence[str], refs: Sequence[ArtifactRef]) -> Mapping[str, ListValue]:
        """The lists, or why they are not there: each of `refs` is in the answer.

        uids: of the execution, and then of those whose artifacts it has taken over.
        """

        async def one(ref: ArtifactRef) -> ListValue:
            try:
                return await self._reads.result(uids[0], ref.id, lambda: self._read(namespace, uids, ref))
            except Late:
                return ListValue(waits="the artifact service takes long to answer")

        found = await asyncio.gather(*(one(ref) for ref in refs))
        return {ref.id: value for ref, value in zip(refs, found, strict=True)}

    def forget(self, uid: str) -> None:
        """The execution has ended or is gone."""
        self._reads.forget(uid)
        for name in self._found.pop(uid, {}):
            self._sizes.pop((uid, name), None)
            self._again.pop((uid, name), None)

    def close(self) -> None:
        """The process ends."""
        self._reads.close()

    async def _read(self, namespace: str, uids: Sequence[str], ref: ArtifactRef) -> ListValue:
        uid, found = uids[0], self._found[uids[0]]
        live = self._is_live(ref, namespace, uids)
        try:
            async with self._slots:
                body = await self._body(namespace, uids, ref)
                value = await asyncio.to_thread(parsed, body, live=live)
        except (NotFound, Damaged, TooLarge, BadRequest) as error:
            value = ListValue(problem=str(error))
        except Problem as error:
            value = ListValue(waits=str(error))
        found[ref.id] = value
        if value.waits is not None:
            self._again[uid, ref.id] = time.monotonic() + PAUSE
            return value
        self._again.pop((uid, ref.id), None)
        self._sizes[uid, ref.id] = ref.size if value.problem is None else 0
        while sum(self._sizes.values()) > KEPT:
            (owner, name), _ = self._sizes.popitem(last=False)
            self._found[owner].pop(name, None)
        return value

    async def _body(self, namespace: str, uids: Sequence[str], ref: ArtifactRef) -> bytes:
        for uid in uids[:-1]:
            try:
                return await self._artifacts.get(namespace, uid, ref, max_size=VALUE_LIMIT)
            except NotFound:
                continue
        return await self._artifacts.get(namespace, uids[-1], ref, max_size=VALUE_LIMIT)

    def _is_live(self, ref: ArtifactRef, namespace: str, uids: Sequence[str]) -> bool:
        """Whether the operator has stored it, for this execution or for one whose artifacts it may read."""
        return ref.media_type == VALUE_MEDIA_TYPE and any(
            self._signer.verify(ref, namespace=namespace, execution_uid=uid, pod_uid=OPERATOR) for uid in uids
        )


class JsonList(Sequence[object]):
    """A list whose items are kept as JSON, at a fraction of the memory, and made each time they are looked at."""

    def __init__(self, items: Sequence[object]) -> None:
        self._items = tuple(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode() for item in items)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> object: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[object]: ...
    def __getitem__(self, index: int | slice) -> object:
        if isinstance(index, slice):
            return [orjson.loads(item) for item in self._items[index]]
        return orjson.loads(self._items[index])


def parsed(body: bytes, *, live: bool) -> ListValue:
    """What an artifact is as the items of a forEach. `live`: references within it are a part of it."""
    try:
        value = plain(json.loads(body))
    except (ValueError, RecursionError) as error:
        return ListValue(problem=f"the artifact is no JSON that can be kept: {error}")
    if not isinstance(value, list):
        return ListValue(problem="the artifact is JSON, and no list")
    if len(value) > MAX_ITEMS:
        return ListValue(problem=f"the artifact has {len(value)} items; at most {MAX_ITEMS} are taken")
    return ListValue(JsonList(value), references=live)
