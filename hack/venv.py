"""`make venv`: the checkout's own Python environment, from the locked requirements. Standard library only."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hack.up import paths, tools
from hack.up.machine import machine_lock
from hack.up.steps import Failure, Job, Step, run_steps, say

VENV = paths.REPO / ".venv"
REQUIREMENTS = paths.REPO / "requirements" / "dev.txt"
STAMP = VENV / ".installed"
KEY = paths.digest([REQUIREMENTS], sys.version)


def packages(job: Job) -> None:
    """Debian ships `venv` without `ensurepip`."""
    if tools.pip_needs_apt():
        tools.install_packages(job)


def environment(job: Job) -> None:
    """An environment that a killed run left half-done is made anew."""
    if VENV.exists():
        shutil.rmtree(VENV)
    job.run([sys.executable, "-m", "venv", VENV], sentence="a Python virtual environment could not be made")


def install(job: Job) -> None:
    """All hashes are checked; the checkout itself is installed so that edits count at once."""
    pip: list[str | Path] = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    job.run([*pip, "--require-hashes", "-r", REQUIREMENTS], sentence="the locked packages could not be installed")
    job.run([*pip, "--no-deps", "--no-build-isolation", "--editable", paths.REPO], cwd=paths.REPO)
    STAMP.write_text(KEY)


def main() -> int:
    """The exit code."""
    if STAMP.is_file() and STAMP.read_text() == KEY:
        return 0
    try:
        with machine_lock():
            _make()
    except Failure as failure:
        print(f"make venv: {failure}", file=sys.stderr)
        return 1
    say(f"{VENV.name} is ready")
    return 0


def _make() -> None:
    run_steps(
        [
            Step("python packages", packages),
            Step("environment", environment, ("python packages",)),
            Step("requirements", install, ("environment",)),
        ],
        paths.DEV / "logs",
    )


if __name__ == "__main__":
    sys.exit(main())
