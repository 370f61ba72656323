"""Ways to what runs in the cluster behind a Service: the gateway, PostgreSQL, Redis."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from hack.forward import forwarded
from tests.e2e.harness.cluster import SYSTEM_NAMESPACE
from tests.e2e.harness.command import UNREACHED, kubectl

DIRECT_TIMEOUT = 1.0  # seconds to find out whether this machine is on the cluster's network


def secret(name: str) -> dict[str, str]:
    """What a Secret of the installation holds, as text."""
    found = _read("secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in found.items()}


@contextmanager
def reached(service: str, port: int) -> Iterator[tuple[str, int]]:
    """Host and port of a Service, while the block runs.

    Its own address where this machine is a node of the cluster, as with the devcluster: it leads to whichever pod is
    ready. Else a forwarded port, which leads to one pod, and to the next one soon after that has ended.
    """
    address = str(_read("service", service)["spec"]["clusterIP"])
    if _answers(address, port):
        yield address, port
        return
    with forwarded(SYSTEM_NAMESPACE, service, port) as url:
        parts = urlsplit(url)
        yield str(parts.hostname), int(parts.port or 0)


@contextmanager
def reached_url(service: str) -> Iterator[str]:
    """The URL that the Secret of the Service's name holds, with an address that can be reached from here."""
    parts = urlsplit(secret(service)["url"])
    user, _, _ = parts.netloc.rpartition("@")
    with reached(service, int(parts.port or 0)) as (host, port):
        yield urlunsplit(parts._replace(netloc=f"{user}@{host}:{port}"))


@dataclass(frozen=True, slots=True)
class Records:
    """PostgreSQL. Each question has a connection of its own, since tests stop the server meanwhile."""

    url: str = field(repr=False)

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """What a query gives."""
        connection = await asyncpg.connect(self.url, timeout=30)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()


async def archived_lines(writer: str, epoch: str) -> list[str]:
    """What the archive of the audit trail has of a chain, as far as it can be seen now: its links, and signed heads."""
    # An object is members of gzip, and so are all of them, one after the other; as text on their way.
    script = 'cat "/audit/$1/$2/"*.jsonl.gz 2>/dev/null | base64'
    command = ("exec", "deploy/ossa-monitor", "--", "/bin/sh", "-c", script, "cat", writer, epoch)
    done = await kubectl("-n", SYSTEM_NAMESPACE, *command)
    if UNREACHED in done.err:
        return []
    packed = base64.b64decode(done.ok())
    return gzip.decompress(packed).decode().splitlines()


async def kill(pod: str) -> None:
    """Ends a pod of the installation as hard as its volume allows: the next one starts when its processes are gone."""
    (await kubectl("-n", SYSTEM_NAMESPACE, "delete", "pod", pod, "--grace-period=1", "--wait=false")).ok()


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=DIRECT_TIMEOUT).close()
    except OSError:
        return False
    return True


def _read(kind: str, name: str) -> dict[str, dict[str, str]]:
    command = ["kubectl", "-n", SYSTEM_NAMESPACE, "get", kind, name, "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    found: dict[str, dict[str, str]] = json.loads(done.stdout)
    return found
