"""The artifact service: large values of tasks, handed out to those who may have them.

Every option has a variable of the environment, which the chart sets.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence

from aiohttp import web

from ossa.kube.client import ApiClient
from ossa.kube.config import NoCluster, load_config
from ossa.logs import log_to
from ossa.stopping import leave, told_to_stop
from ossa.store.access import Access
from ossa.store.blobs import Blobs
from ossa.store.cluster import ClusterAccess
from ossa.store.objects import StoreUnusable
from ossa.store.service import Service
from ossa.store.signing import KeyUnusable, Signer, load_key
from ossa.store.sweep import Sweeper, keep_sweeping

# Seconds that the last bytes of an answer may take once everything else has ended.
RESPONSE_TIMEOUT = 2.0
_log = logging.getLogger("ossa.artifacts")


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """The settings: options first, then the environment, then the defaults."""
    parser = argparse.ArgumentParser(description=__doc__)

    def option(name: str, default: str, kind: type, what: str) -> None:
        variable = f"OSSA_ARTIFACTS_{name.upper().replace('-', '_')}"
        parser.add_argument(
            f"--{name}", type=kind, default=environ.get(variable, default), help=f"{what} [${variable}]"
        )

    option("host", "0.0.0.0", str, "address to listen on")
    option("port", "8080", int, "port to listen on")
    option("store", "file:///data", str, "where artifacts lie: file:///folder, s3://bucket/prefix, …")
    option("key-file", "/etc/ossa/artifacts/key", str, "file with the signing key, at least 32 bytes")
    option("max-size", str(1 << 30), int, "bytes that one artifact may have")
    option("sweep-interval", "300", float, "seconds between two looks for executions that are gone")
    option("sweep-grace", "600", float, "seconds that artifacts outlive their execution at least")
    option("drain-delay", "3", float, "seconds between not being ready and not listening any more")
    option("drain-timeout", "25", float, "seconds that requests may take to end")
    return parser.parse_args(arguments)


async def serve(settings: argparse.Namespace, access: Access, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then finish what runs."""
    blobs = Blobs.open(settings.store)
    signer = Signer(load_key(settings.key_file))
    service = Service(blobs=blobs, access=access, signer=signer, max_size=settings.max_size)
    runner = web.AppRunner(service.app(), access_log=None, shutdown_timeout=RESPONSE_TIMEOUT)
    await runner.setup()
    sweeper = Sweeper(blobs, access, grace=settings.sweep_grace)
    sweeping = asyncio.create_task(keep_sweeping(sweeper, interval=settings.sweep_interval, metrics=service.metrics))
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        await site.start()
        _log.info("listening on %s, artifacts in %s", runner.addresses, settings.store)
        stopping = asyncio.create_task(stop.wait())
        # A sweep that raises is a defect: better to end than to fill the volume in silence.
        done, _ = await asyncio.wait({stopping, sweeping}, return_when=asyncio.FIRST_COMPLETED)
        if sweeping in done:
            stopping.cancel()
            sweeping.result()
        _log.info("stopping: requests may take %g s to end", settings.drain_timeout)
        service.draining = True
        await asyncio.sleep(settings.drain_delay)
        await site.stop()
        # Before the runner's clean-up: from there on aiohttp drops what still comes of a body.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(service.in_flight.none_left(), settings.drain_timeout)
    finally:
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
        await runner.cleanup()


async def run(settings: argparse.Namespace) -> None:
    """Serve with the cluster's API server until SIGTERM or SIGINT."""
    stop = told_to_stop()
    async with ApiClient(load_config()) as api:
        await serve(settings, ClusterAccess(api), stop)


def main() -> int:
    """The exit code: 0, or 1 where the settings do not fit; the last line on stderr says why."""
    log_to(sys.stderr)
    settings = parse(sys.argv[1:], os.environ)
    try:
        asyncio.run(run(settings))
    except (KeyUnusable, StoreUnusable, NoCluster, OSError) as error:
        _log.error("cannot start: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    leave(main())
