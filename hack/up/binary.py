"""The devcluster's binary: compiled once, kept in the cache under a hash of all that it is made of."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from . import garbage, paths, tools
from .steps import Failure, Job

SOURCES = paths.REPO / "hack" / "devcluster"
VERSION = "1.34.4"
_MAJOR, _MINOR, _ = VERSION.split(".")
_PACKAGE = "k8s.io/component-base/version"
# Without the version, kubectl and client libraries cannot parse what the server says of itself.
_LDFLAGS = (
    f"-s -w -X {_PACKAGE}.gitVersion=v{VERSION} -X {_PACKAGE}.gitMajor={_MAJOR}"
    f" -X {_PACKAGE}.gitMinor={_MINOR} -X {_PACKAGE}.gitTreeState=clean"
)
_FLAGS = ("-trimpath", "-buildvcs=false")
_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
_KEPT = 3


def check() -> None:
    if tools.machine_go() is None and tools.pip_needs_apt() and shutil.which("apt-get") is None:
        raise Failure("there is no Go on this machine, and neither pip nor apt-get to bring one along")


def home(go: Path | None) -> Path:
    version = "unknown"
    if go is not None:
        answer = subprocess.run(
            [str(go), "env", "GOVERSION", "GOARCH"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **_ENVIRONMENT},
        )
        version = answer.stdout
    sources = [f for f in paths.files_of(SOURCES) if f.suffix == ".go" or f.name in {"go.mod", "go.sum"}]
    return paths.CACHE / "devcluster" / paths.digest(sources, version, _LDFLAGS, *_FLAGS, str(_ENVIRONMENT))


def build_pause(job: Job) -> None:
    """The pause program alone, first: it is tiny, and containerd can work as soon as it is there."""
    go = tools.go(job)
    _build(job, go, "./pause", "pause", "-s -w")


def build(job: Job) -> None:
    go = tools.go(job)
    _build(job, go, ".", "devcluster", _LDFLAGS)
    mine = home(go)
    os.utime(mine)
    others = sorted((d for d in mine.parent.iterdir() if d != mine), key=lambda d: d.stat().st_mtime, reverse=True)
    for old in others[_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def _build(job: Job, go: Path, package: str, name: str, ldflags: str) -> None:
    target = home(go) / name
    if target.is_file():
        job.note = "cached"
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".new")
    job.run(
        [go, "build", *_FLAGS, "-ldflags", ldflags, "-o", temporary, package],
        cwd=SOURCES,
        env={**_ENVIRONMENT, **garbage.compilers()},
        sentence=f"{name} could not be compiled",
    )
    temporary.rename(target)
