"""The process ossa-monitor: records what becomes of the resources, tells the bus, and processes what is on it.

Every replica consumes; the one that holds the Lease records. Settings come from OSSA_* variables, which
ossa/monitor/settings.py lists. Exit codes: 0 after a signal, 1 where the settings or the tables in PostgreSQL do not
fit, 75 without the Lease.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from ossa.audit.heads import BadKey
from ossa.environment import BadSetting
from ossa.kube.config import KubeConfig, NoCluster, load_config
from ossa.kube.elector import Elector, LeaseClient
from ossa.kube.kinds import wait_for_kinds
from ossa.logs import log_to
from ossa.monitor.auditing import audit_extras
from ossa.monitor.health import health
from ossa.monitor.metrics import Metrics
from ossa.monitor.process import Monitor
from ossa.monitor.settings import Settings, settings_from
from ossa.monitor.watching import KINDS
from ossa.stopping import leave, told_to_stop
from ossa.store.objects import StoreUnusable
from ossa.store.records.migrate import SchemaMismatch
from ossa.tracing import Tracing, tracing_from

LEASE = "ossa-monitor"
log = logging.getLogger("ossa.monitor")


async def serve(config: KubeConfig, settings: Settings, elector: Elector, *, tracing: Tracing | None) -> None:
    """Works until SIGTERM or SIGINT, or until a part of it fails."""
    stopped = told_to_stop()
    metrics = Metrics()

    async def elected() -> int:
        await wait_for_kinds(config, KINDS)
        elector.start()
        return await asyncio.wrap_future(elector.elected)

    serving = health(port=settings.port, metrics_port=settings.metrics_port, metrics=metrics, ready=elector.in_touch)
    async with serving, Monitor(config, settings, metrics, tracing=tracing) as monitor:
        await monitor.run(stopped, elected(), audit_extras(settings, api=monitor.api, records=monitor.records))


def main() -> int:
    """The exit code; the last line on stderr says why where it is not 0."""
    log_to(sys.stderr)
    try:
        settings, config, tracing = settings_from(), load_config(), tracing_from("ossa-orchestrator")
    except (BadSetting, NoCluster) as error:
        log.error("cannot start: %s", error)
        return 1
    elector = Elector(LeaseClient(config, settings.namespace, LEASE))
    try:
        asyncio.run(serve(config, settings, elector, tracing=tracing))
    except (BadKey, StoreUnusable, SchemaMismatch) as error:
        log.error("cannot start: %s", error)
        return 1
    finally:
        if tracing is not None:
            tracing.close()
    # Nothing of this process runs any more: another one may lead at once.
    elector.resign()
    return 0


if __name__ == "__main__":
    leave(main())
