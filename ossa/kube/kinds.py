"""Whether our kinds are installed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from ossa.api.contract import GROUP, VERSION
from ossa.kube.client import ApiClient, ApiError
from ossa.kube.config import KubeConfig

logger = logging.getLogger(__name__)

DISCOVERY_SECONDS = 2.0


async def wait_for_kinds(config: KubeConfig, plurals: Iterable[str]) -> None:
    """Return once the CRDs of `plurals` are installed, so that the charts may be installed in any order.

    kopf, told not to watch the CRDs, looks for kinds once, at its start.
    """
    async with ApiClient(config) as api:
        while True:
            try:
                found = await api.get(f"/apis/{GROUP}/{VERSION}")
                missing = sorted(set(plurals) - {item["name"] for item in found["resources"]})
                if not missing:
                    return
                logger.warning("waiting for the CRDs of %s", ", ".join(missing))
            except ApiError as error:
                logger.warning("waiting for the API server to serve %s/%s: %s", GROUP, VERSION, error)
            await asyncio.sleep(DISCOVERY_SECONDS)
