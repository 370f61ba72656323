"""The process ossa-reconciler: watches Agents, Workflows and Executions and carries the engine's decisions out.

Settings come from OSSA_* variables; controllers/settings.py lists them.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import kopf

from controllers.platform import Platform, registry_of
from controllers.settings import BadSetting, Settings, settings_from
from ossa.kube.config import KubeConfig, NoCluster, load_config
from ossa.kube.kinds import wait_for_kinds
from ossa.logs import log_to

log = logging.getLogger("ossa.reconciler")


async def serve(config: KubeConfig, settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, or until a part of it fails."""
    await wait_for_kinds(config, ("agents", "workflows", "executions"))
    platform = Platform(config, settings)
    platform.metrics.serve(settings.metrics_port)
    controllers = asyncio.create_task(platform.run())
    operator = asyncio.create_task(
        kopf.operator(
            registry=registry_of(platform, config),
            clusterwide=True,
            standalone=True,
            liveness_endpoint=settings.liveness,
        )
    )
    done, pending = await asyncio.wait({controllers, operator}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


def main() -> int:
    """The exit code: 0 after a signal, 1 where the settings do not fit; the last line on stderr says why."""
    log_to(sys.stderr)
    # kopf reports each event that it takes in; ours say what was decided.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        settings, config = settings_from(), load_config()
    except (BadSetting, NoCluster) as error:
        log.error("cannot start: %s", error)
        return 1
    asyncio.run(serve(config, settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
