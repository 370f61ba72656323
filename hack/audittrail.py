"""Proves the audit trail of the cluster from this machine: `ossa audit verify` over its archive and its records."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from hack.forward import forwarded

SYSTEM, POSTGRESQL, PORT = "ossa-system", "ossa-postgresql", 5432
ARCHIVED_SECONDS = 90.0  # a quiet trail is archived in few objects: each waits a while for more entries
LATE = re.compile(r"^\S+ +late ", re.MULTILINE)  # a row of findings: place and kind


def fetch_archive(kubectl: str, folder: Path) -> list[str]:
    """Copies the archive, once it holds something; the objects' names. SystemExit where nothing comes."""
    deadline = time.monotonic() + ARCHIVED_SECONDS
    while True:
        command = [kubectl, "-n", SYSTEM, "exec", "deploy/ossa-monitor", "--", "tar", "-C", "/audit", "-cf", "-", "."]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            subprocess.run(["tar", "-C", folder, "-xf", "-"], input=done.stdout, check=True)
        found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jsonl.gz"))
        if found:
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing is in the audit archive after {ARCHIVED_SECONDS:g} s: {done.stderr.decode()}")
        time.sleep(2)


def fetch_keys(kubectl: str, folder: Path) -> None:
    """Writes the public keys, a file each."""
    for name, key in _data(kubectl, "configmap", "ossa-audit-keys").items():
        (folder / name).write_text(key)


def verify(kubectl: str, ossa: str, folder: Path) -> None:
    """Shows what is archived and that it is proven. SystemExit where it is not."""
    archive, keys = folder / "archive", folder / "keys"
    archive.mkdir(parents=True)
    keys.mkdir()
    fetch_keys(kubectl, keys)
    secret = base64.b64decode(_data(kubectl, "secret", POSTGRESQL)["url"]).decode()
    command = [ossa, "audit", "verify", "--store", f"file://{archive}", "--keys", str(keys)]
    with forwarded(SYSTEM, POSTGRESQL, PORT) as address:
        parts = urlsplit(secret)
        user, _, _ = parts.netloc.rpartition("@")
        url = urlunsplit(parts._replace(netloc=f"{user}@{urlsplit(address).netloc}"))
        names, done = verified(lambda: fetch_archive(kubectl, archive), command, url)
    print("\n# the audit archive: compressed JSON lines, in chains of hashes with signed heads")
    for name in names:
        print(f"  {name}")
    print("\n# the archive and the rows of PostgreSQL, proven by the public key")
    print(f"$ ossa audit verify --store file://{archive} --records … --keys {keys}")
    print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        raise SystemExit(f"the audit trail is not proven (exit code {done.returncode}): {done.stderr}")


def verified(
    fetch: Callable[[], list[str]], command: Sequence[str], records_url: str, *, seconds: float = ARCHIVED_SECONDS
) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """The archive's objects, and what a verification of them and of the rows says.

    The archive is some seconds behind the rows: until it has what they have both are looked at again, for so long.
    """
    deadline = time.monotonic() + seconds
    while True:
        names = fetch()  # before the rows are read
        done = subprocess.run(
            command, env={**os.environ, "OSSA_RECORDS_URL": records_url}, capture_output=True, text=True, check=False
        )
        if not LATE.search(done.stdout) or time.monotonic() > deadline:
            return names, done
        time.sleep(2)


def _data(kubectl: str, kind: str, name: str) -> dict[str, str]:
    done = subprocess.run(
        [kubectl, "-n", SYSTEM, "get", kind, name, "-o", "json"], check=True, capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(done.stdout)["data"]
    return found
