"""The process ossa-gateway: REST, WebSocket and sign-in, for persons that it names to the API server.

Settings come from OSSA_* variables, which ossa/gateway/settings.py and ossa/gateway/signin/settings.py list. Exit
codes: 0 after a signal, 1 where the settings do not fit; the last line on stderr says why.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import uvloop
from prometheus_client import start_http_server
from redis.asyncio import Redis

from ossa import heap
from ossa.audit.heads import BadKey, Signer
from ossa.bus.connection import connect
from ossa.environment import BadSetting
from ossa.gateway import intake
from ossa.gateway.assembly import assembled
from ossa.gateway.auditing import Auditing
from ossa.gateway.auditsinks import Sinks
from ossa.gateway.context import Collaborators, utc_now
from ossa.gateway.health import Health
from ossa.gateway.metrics import Metrics
from ossa.gateway.server import listen, server, serving
from ossa.gateway.settings import Settings, settings_from
from ossa.gateway.signin.assembly import security
from ossa.gateway.signin.login import BadBootstrap
from ossa.gateway.signin.secret import SecretUnusable
from ossa.gateway.signin.settings import SignInSettings, signin_settings_from
from ossa.gateway.starting import living
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig, NoCluster, load_config
from ossa.logs import log_to
from ossa.stopping import told_to_stop, unless
from ossa.store.records.migrate import SchemaMismatch, migrated
from ossa.store.records.pool import Records
from ossa.tracing import Tracing, tracing_from

# Connections to PostgreSQL of one replica; three of them and the monitors' stay below the server's 100.
POOL = 16
# Seconds that a statement may take: clients wait for it, and where PostgreSQL hangs they are to hear so.
STATEMENT = 5.0
# Seconds that the API server may say nothing; likewise.
SILENCE = 10.0
# What keeps it from starting, and a restart does not help.
UNUSABLE = (
    BadSetting,
    BadKey,
    NoCluster,
    SchemaMismatch,
    SecretUnusable,
    BadBootstrap,
    OSError,
)
_log = logging.getLogger("ossa.gateway")


@asynccontextmanager
async def auditing(signer: Signer, records: Records, bus: Redis, metrics: Metrics) -> AsyncIterator[Auditing]:
    """The audit trail, which ends after all requests have."""
    writer = os.environ.get("OSSA_POD") or socket.gethostname()
    trail = Auditing(Sinks(records, bus, metrics.audit), writer=writer, signer=signer, clock=utc_now)
    async with asyncio.TaskGroup() as group:
        group.create_task(trail.run())
        try:
            yield trail
        finally:
            trail.stop()


async def serve(
    config: KubeConfig, settings: Settings, signin: SignInSettings, signer: Signer, *, tracing: Tracing | None
) -> None:
    """Serves until SIGTERM or SIGINT, or until a part of it fails."""
    stopped = told_to_stop()
    metrics, health = Metrics(), Health()
    start_http_server(settings.metrics_port, registry=metrics.registry)
    sock = listen(settings.host, settings.port)
    async with living(settings, metrics, sock):
        # Nothing works on a schema that is not there yet.
        if await unless(stopped, migrated(settings.records_url)) is None:
            return
    async with AsyncExitStack() as stack:
        pool = Records(settings.records_url, application="ossa-gateway", size=POOL, statement=STATEMENT)
        records = await stack.enter_async_context(pool)
        redis = connect(settings.bus_url, name="ossa-gateway")
        stack.push_async_callback(redis.aclose)
        # Each of its calls is bounded by a breaker.
        quick = connect(settings.bus_url, name="ossa-gateway", answer=None)
        stack.push_async_callback(quick.aclose)
        api = await stack.enter_async_context(ApiClient(config, silence=SILENCE))
        safe = await stack.enter_async_context(security(signin, records=records, redis=quick, api=api, metrics=metrics))
        trail = await stack.enter_async_context(auditing(signer, records, redis, metrics))
        c = Collaborators(
            settings=settings,
            authenticator=safe.authenticator,
            authorizer=safe.authorizer,
            limiter=safe.limiter,
            api=api,
            records=records,
            trail=trail,
            metrics=metrics,
        )
        others = [safe.router(c), intake.router(c, intake.Intake(records, trail))]
        app, drain = await stack.enter_async_context(assembled(c, redis, others, health=health, tracing=tracing))
        # What has been made so far lives as long as the process: 80 ms, in which no request is answered, each time that
        # the collector walks over it.
        heap.settle()
        http = server(app, settings, metrics)
        await stack.enter_async_context(
            serving(http, sock, health=health, drain_delay=settings.drain_delay, drain=drain)
        )
        await stopped.wait()


def main() -> int:
    """The exit code."""
    log_to(sys.stderr)
    tracing: Tracing | None = None
    try:
        settings, signin, config = settings_from(), signin_settings_from(), load_config()
        tracing = tracing_from("ossa-gateway")
        signer = Signer.load(settings.audit_key_file)
        uvloop.run(serve(config, settings, signin, signer, tracing=tracing))
    except UNUSABLE as error:
        _log.error("cannot start: %s", error)
        return 1
    finally:
        if tracing is not None:
            tracing.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
