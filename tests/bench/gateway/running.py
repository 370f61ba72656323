"""A gateway as it is installed: its process, a PostgreSQL, a server that speaks Redis' protocol, and the cluster."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ossa.api.gateway import SIGN_IN
from tests.bench.processes import REPO
from tests.ports import free_port
from tests.unit.servers import Postgres, Redis

USER = "admin"  # the first user that a gateway makes
START_SECONDS = 60.0


class GatewayError(Exception):
    """It does not run; says why."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where it is, and a token of its first user."""

    url: str
    token: str = field(repr=False)
    password: str = field(repr=False)
    process: subprocess.Popen[bytes]


@asynccontextmanager
async def gateway(**more: str) -> AsyncIterator[Gateway]:
    """Runs with servers of its own until the block ends. more: variables of its environment."""
    with tempfile.TemporaryDirectory(prefix="ossa-bench-") as folder:
        postgres, redis = Postgres(), Redis(fsync="everysec")
        try:
            await asyncio.gather(asyncio.to_thread(postgres.start), asyncio.to_thread(redis.start))
            async with serving_with(Path(folder), postgres.url, redis.url, **more) as held:
                yield held
        finally:
            postgres.remove()
            redis.remove()


@asynccontextmanager
async def serving_with(folder: Path, records: str, bus: str, **more: str) -> AsyncIterator[Gateway]:
    """Runs with these servers until the block ends; its log is in the folder. more: as in `gateway`.

    Its secrets are in the folder, too: one that is started again there is the next life of the same gateway.
    """
    port = int(more.get("OSSA_GATEWAY_PORT") or free_port())
    _kept(folder / "key", secrets.token_bytes(32))
    password = _kept(folder / "password", secrets.token_urlsafe(16).encode()).decode()
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _kept(folder / "audit.pem", key)
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPO),
        "OSSA_RECORDS_URL": records,
        "OSSA_BUS_URL": bus,
        "OSSA_GATEWAY_HOST": "127.0.0.1",
        "OSSA_GATEWAY_PORT": str(port),
        "OSSA_METRICS_PORT": str(free_port()),
        "OSSA_GATEWAY_URL": f"http://127.0.0.1:{port}",
        "OSSA_GATEWAY_KEY_FILE": str(folder / "key"),
        "OSSA_GATEWAY_ADMIN_PASSWORD_FILE": str(folder / "password"),
        "OSSA_AUDIT_KEY_FILE": str(folder / "audit.pem"),
        "OSSA_GATEWAY_DRAIN_DELAY": "0",
        **more,
    }
    log = folder / "log"
    process = _started(environment, log)
    try:
        url = f"http://127.0.0.1:{port}"
        yield Gateway(url, await _signed_in(url, password, process, log), password, process)
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 40)
        process.kill()
        process.wait()


def _kept(file: Path, otherwise: bytes) -> bytes:
    """What the file holds; where there is none, it is written."""
    if not file.is_file():
        file.write_bytes(otherwise)
    return file.read_bytes()


def _started(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(REPO / "operator" / "gateway.py")]
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=REPO)


async def _signed_in(url: str, password: str, process: subprocess.Popen[bytes], log: Path) -> str:
    async with aiohttp.ClientSession() as session, asyncio.timeout(START_SECONDS):
        while process.poll() is None:
            with suppress(aiohttp.ClientError):
                async with session.post(url + SIGN_IN, json={"name": USER, "password": password}) as answer:
                    if answer.status == 200:
                        return str((await answer.json())["access_token"])
            await asyncio.sleep(0.2)
    said = await asyncio.to_thread(log.read_text)
    raise GatewayError(f"the gateway did not start:\n{said[-4000:]}")


@asynccontextmanager
async def bare_route() -> AsyncIterator[str]:
    """The URL of a bare route of the same framework and server, in a process of its own."""
    port = free_port()
    code = (
        "from fastapi import FastAPI\nimport uvicorn\napp = FastAPI()\n"
        "@app.get('/')\nasync def bare():\n    return {'ok': True}\n"
        f"uvicorn.run(app, port={port}, loop='uvloop', http='httptools', access_log=False, log_level='error')"
    )
    with closing(_Child([sys.executable, "-c", code])):
        url = f"http://127.0.0.1:{port}/"
        async with aiohttp.ClientSession() as session, asyncio.timeout(START_SECONDS):
            while True:
                with suppress(aiohttp.ClientError):
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.1)
        yield url


class _Child:
    """A process that ends with the block."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
