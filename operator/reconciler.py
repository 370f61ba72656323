"""The process ossa-reconciler: watches Agents, Workflows and Executions and carries the engine's decisions out.

Of several one leads, and the others wait for its Lease. Settings come from OSSA_* variables; controllers/settings.py
lists them. Exit codes: 0 after a signal, 1 where the settings do not fit, 75 where the Lease is lost.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import kopf

from controllers.leading import LEASE, fenced, health, turn_to_lead
from controllers.metrics import Metrics
from controllers.platform import Platform, registry_of
from controllers.settings import Settings, settings_from
from ossa.environment import BadSetting
from ossa.kube.config import KubeConfig, NoCluster, load_config
from ossa.kube.elector import Elector, LeaseClient
from ossa.kube.kinds import wait_for_kinds
from ossa.logs import log_to
from ossa.stopping import told_to_stop, unless

log = logging.getLogger("ossa.reconciler")

KINDS = ("agents", "workflows", "executions", "approvals", "agentpolicies", "agentpolicyexceptions")


async def serve(config: KubeConfig, settings: Settings, elector: Elector) -> None:
    """Waits and then leads, until SIGTERM or SIGINT, or until a part of it fails."""
    metrics = Metrics()
    metrics.serve(settings.metrics_port)
    stopped = told_to_stop()

    async def wait() -> int:
        await wait_for_kinds(config, KINDS)
        return await turn_to_lead(elector, metrics)

    async with health(settings.liveness, elector):
        epoch = await unless(stopped, wait())
        if epoch is not None:
            platform = Platform(fenced(config, elector), settings, epoch=epoch, metrics=metrics)
            await lead(platform, config, stopped)


async def lead(platform: Platform, config: KubeConfig, stopped: asyncio.Event) -> None:
    """Runs the controllers and kopf, until one of them ends or `stopped` is set; then the controllers end first.

    When kopf ends it takes each task of the loop for its own: it would wait for ours, and raise what they raise.
    """
    before, ended = asyncio.all_tasks(), asyncio.Event()
    controllers = asyncio.create_task(platform.run())
    watches = await kopf.spawn_tasks(
        registry=registry_of(platform, config), clusterwide=True, standalone=True, stop_flag=ended
    )
    told_to_stop(stopped)  # kopf has put handlers of its own in place
    operator = asyncio.create_task(kopf.run_tasks(watches, ignored=before | {controllers}))
    told = asyncio.create_task(stopped.wait())
    done, _ = await asyncio.wait({controllers, operator, told}, return_when=asyncio.FIRST_COMPLETED)
    controllers.cancel()
    told.cancel()
    await asyncio.gather(controllers, told, return_exceptions=True)
    ended.set()
    await operator
    for task in done:
        task.result()


def main() -> int:
    """The exit code; the last line on stderr says why where it is not 0."""
    log_to(sys.stderr)
    # kopf reports each event that it takes in; ours say what was decided.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        settings, config = settings_from(), load_config()
    except (BadSetting, NoCluster) as error:
        log.error("cannot start: %s", error)
        return 1
    elector = Elector(LeaseClient(config, settings.namespace, LEASE))
    asyncio.run(serve(config, settings, elector))
    # Nothing of this process runs any more, and no exception came here: another one may start at once.
    elector.resign()
    return 0


if __name__ == "__main__":
    sys.exit(main())
