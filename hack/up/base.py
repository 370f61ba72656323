"""The base image where there is no registry to pull one from: Debian with Python, made by debootstrap."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from . import leftovers, paths
from .steps import Failure, Job

STORE = paths.CACHE / "buildah" / "root"
SUITE = "bookworm"
_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_RECIPE = "1"  # raise it when this file makes another image of the same packages
_DROPPED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/log",
    "usr/share/i18n",
)


def buildah(*arguments: str) -> list[str]:
    """buildah with its storage in the cache, so that layers outlive the cluster."""
    return [
        "buildah",
        "--root",
        str(STORE),
        "--runroot",
        str(STORE.parent / "run"),
        "--storage-driver",
        "overlay",
        *arguments,
    ]


def image_id(reference: str) -> str:
    """The id of an image in buildah's store, or nothing."""
    command = buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", reference)
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def key() -> str:
    return paths.digest((), SUITE, *_PACKAGES, _RECIPE, *_DROPPED)


def build(job: Job) -> None:
    tagged = f"{paths.IMAGES}/base:{key()}"
    if image_id(tagged):
        job.note = "cached"
    else:
        archive = _archive(job)
        container = job.run(buildah("from", "scratch")).strip()
        job.run(buildah("add", "--quiet", container, str(archive), "/"))
        job.run(
            buildah(
                "config",
                "--env",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "--env",
                "LANG=C.UTF-8",
                "--cmd",
                "/bin/sh",
                container,
            )
        )
        job.run(buildah("commit", "--quiet", "--rm", container, tagged))
    job.run(buildah("tag", tagged, paths.BASE_IMAGE))


def _archive(job: Job) -> Path:
    archive = paths.CACHE / "base" / f"{key()}.tar"
    if archive.is_file():
        return archive
    root = paths.CACHE / "base" / "root"
    leftovers.unmount_below(root)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    job.run(
        ["debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", SUITE, root, mirror()],
        env=_proxy(),
        sentence="debootstrap could not make the base image",
    )
    leftovers.unmount_below(root)
    for folder in _DROPPED:
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir()
    temporary = archive.with_suffix(".new")
    # Device nodes and the like do not belong in an image: a container gets its own /dev.
    job.run(
        [
            "tar",
            "-C",
            root,
            "--exclude=./dev/*",
            "--exclude=./proc/*",
            "--exclude=./sys/*",
            "--numeric-owner",
            "-cf",
            temporary,
            ".",
        ]
    )
    temporary.rename(archive)
    shutil.rmtree(root)
    return archive


def mirror() -> str:
    """The Debian mirror that this machine's own apt uses."""
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for file in lists:
        if not file.is_file():
            continue
        text = file.read_text(errors="replace")
        found = _deb822(text) if file.suffix == ".sources" else _one_line(text)
        if found:
            return found
    raise Failure(f"apt's sources on this machine name no mirror of Debian {SUITE}, which the base image is made of")


def _one_line(text: str) -> str:
    pattern = rf"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+{SUITE}\s+(?:\S+\s+)*?main\b"
    found = re.search(pattern, text, re.MULTILINE)
    return found.group(1) if found else ""


def _deb822(text: str) -> str:
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^(\w[\w-]*):[ \t]*(.*)$", paragraph, re.MULTILINE))
        enabled = fields.get("Enabled", "yes").strip() != "no"
        suites, components = fields.get("Suites", "").split(), fields.get("Components", "").split()
        if enabled and "deb" in fields.get("Types", "").split() and SUITE in suites and "main" in components:
            return str(fields["URIs"].split()[0])
    return ""


def _proxy() -> dict[str, str]:
    """debootstrap does not read apt's configuration, where a machine's proxy may be."""
    answer = subprocess.run(
        ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"], capture_output=True, text=True, check=False
    )
    found = re.search(r"PROXY='([^']+)'", answer.stdout)
    return {"http_proxy": found.group(1)} if found else {}
