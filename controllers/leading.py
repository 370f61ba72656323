"""Two reconcilers, of which one leads: what the other does meanwhile, and what the leader may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from controllers.metrics import Metrics
from ossa.kube.config import KubeConfig
from ossa.kube.elector import Elector
from ossa.kube.probes import probes

# The Lease's name; the chart's policy for the epoch of pods reads it too.
LEASE = "ossa-reconciler"
# Seconds between the acquisition and the first look at pods. A pod of the leader before may have passed the policy just
# before the Lease changed and not be written yet; listed without it, its task would be given up as lost and run twice.
# And the API server learns of the new epoch by a watch, before which it refuses the new leader's pods.
SETTLE_SECONDS = 2.0


def fenced(config: KubeConfig, elector: Elector) -> KubeConfig:
    """`config` for requests that only the leader may send: each one looks at the clock first."""

    def token() -> str | None:
        elector.check()
        return config.token()

    return replace(config, token=token)


@asynccontextmanager
async def health(endpoint: str, elector: Elector) -> AsyncIterator[None]:
    """Serves the URL `endpoint` while the event loop runs, and beside it /readyz: whether the API server answers."""
    url = urlsplit(endpoint)
    if url.hostname is None or url.port is None:
        raise ValueError(f"{endpoint!r} names no host and port to serve at")
    async with probes(url.hostname, url.port, ready=elector.in_touch, path=url.path):
        yield


async def turn_to_lead(elector: Elector, metrics: Metrics) -> int:
    """Waits until this process may list and decide; the epoch."""
    elector.start()
    epoch = await asyncio.wrap_future(elector.elected)
    metrics.leads(epoch)
    await asyncio.sleep(SETTLE_SECONDS)
    return epoch
