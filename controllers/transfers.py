"""Uploads of values of executions: a slow artifact service holds up nobody for long."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping

from controllers.background import Background, Late
from ossa.api.artifact import ArtifactRef
from ossa.api.base import JSONObject
from ossa.engine.decision import LargeField
from ossa.store.client import ArtifactClient
from ossa.store.errors import Unavailable

# References that are remembered an execution: many pods of a forEach are given the same value.
KEPT = 256


class Transfers:
    """`wake` is told of an execution for which an upload has ended after nobody waited for it any more."""

    def __init__(self, artifacts: ArtifactClient, wake: Callable[[str], None]) -> None:
        self._artifacts = artifacts
        self._uploads: Background[ArtifactRef] = Background(wake)
        self._stored: dict[str, dict[str, ArtifactRef]] = defaultdict(dict)

    async def store(self, namespace: str, uid: str, body: bytes, media_type: str) -> ArtifactRef:
        """The reference to the bytes. What this process has stored for the execution already is not stored again.

        Raises Problem; Unavailable also where it is still on its way: ask again.
        """
        key, stored = f"{media_type} {hashlib.sha256(body).hexdigest()}", self._stored[uid]
        if key not in stored:
            try:
                stored[key] = await self._uploads.result(
                    uid, key, lambda: self._artifacts.put(namespace, uid, body, media_type=media_type)
                )
            except Late as error:
                raise Unavailable("the artifact service takes long to answer") from error
            while len(stored) > KEPT:
                del stored[next(iter(stored))]
        return stored[key]

    async def references(self, namespace: str, uid: str, large: Mapping[str, LargeField]) -> dict[str, JSONObject]:
        """References in place of the fields of an input that are too large. Raises Problem."""
        refs = await asyncio.gather(
            *(self.store(namespace, uid, held.body, held.media_type) for held in large.values())
        )
        return {name: ref.to_json() for name, ref in zip(large, refs, strict=True)}

    def forget(self, uid: str) -> None:
        """The execution has ended or is gone."""
        self._stored.pop(uid, None)
        self._uploads.forget(uid)

    def close(self) -> None:
        """The process ends."""
        self._uploads.close()
