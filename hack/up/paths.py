"""Where things are, what they are called, and how their content is hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DEV = REPO / ".dev"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ossa"

# One devcluster a machine: it owns a bridge, iptables chains and a cgroup, so its record is machine-wide and
# not in a checkout, which may be deleted while the cluster runs.
RUN = Path("/run/ossa-dev")
OWNER = RUN / "owner"
LOCK = Path("/run/lock/ossa-dev.lock")
CONTAINERD_SOCKET = RUN / "containerd.sock"  # short, because a unix socket's path may have 107 characters

KUBECONFIG = DEV / "kubeconfig"
LOGS = DEV / "logs"
BIN = DEV / "bin"
PKI = DEV / "pki"
CONFIG = DEV / "config"
KUBELET = DEV / "kubelet"
# The kubelet puts sockets some 45 characters below its root.
KUBELET_ROOT = KUBELET if len(str(KUBELET)) <= 60 else RUN / "kubelet"  # a link to KUBELET
POD_LOGS = DEV / "pod-logs"
VOLUMES = DEV / "volumes"
CONTAINERD_ROOT = DEV / "containerd"
CONTAINERD_STATE = DEV / "containerd-state"

NAMESPACE = "ossa-system"
IMAGES = "localhost/ossa"
BASE_IMAGE = f"{IMAGES}/base:dev"
# What the samples ask for. The devcluster reaches no registry, and its base is a Debian of the same release.
SAMPLE_IMAGE = "docker.io/library/debian:bookworm-slim"

_IGNORED = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


def files_of(path: Path) -> list[Path]:
    """The files below a path (or the path itself), in a fixed order, without tools' droppings."""
    if path.is_file():
        return [path]
    found = (f for f in path.rglob("*") if f.is_file() and not _IGNORED & set(f.relative_to(path).parts))
    return sorted(f for f in found if f.suffix != ".pyc")


def digest(paths: Iterable[Path] = (), *texts: str) -> str:
    """A short hash over the names, the execute bits and the content of files, and over texts."""
    total = hashlib.sha256()
    for path in paths:
        for file in files_of(path):
            name = file.relative_to(REPO) if file.is_relative_to(REPO) else file
            total.update(f"{name}\0{file.stat().st_mode & 0o100}\0".encode())
            total.update(hashlib.sha256(file.read_bytes()).digest())
    for text in texts:
        total.update(b"\0" + text.encode())
    return total.hexdigest()[:16]


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that it is there whole or not at all, even when killed midway."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text)
    temporary.chmod(mode)
    temporary.rename(path)
