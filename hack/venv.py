"""`make venv`: the checkout's own Python environment, from the locked requirements. Standard library only.

In two stages, so that a demo does not wait for linters: `cli` is what the `ossa` command needs, `dev` is everything.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hack.up import paths, tools
from hack.up.machine import machine_lock
from hack.up.steps import Failure, Job, Step, run_steps, say

VENV = paths.REPO / ".venv"
STAGES = ("cli", "dev")  # each holds the ones before it


def requirements(stage: str) -> Path:
    """The lock of a stage."""
    return paths.REPO / "requirements" / f"{stage}.txt"


def key(stage: str) -> str:
    """What the environment holds when the stage has been installed."""
    return paths.digest([requirements(stage)], sys.version)


def stamp(stage: str) -> Path:
    """The file that says that a stage has been installed whole."""
    return VENV / f".installed-{stage}"


def installed(stage: str) -> bool:
    """Whether it has, from the locks as they are now."""
    return stamp(stage).is_file() and stamp(stage).read_text() == key(stage)


def packages(job: Job) -> None:
    """Debian ships `venv` without `ensurepip`."""
    if tools.pip_needs_apt():
        tools.install_packages(job)


def environment(job: Job) -> None:
    """Kept where a stage of it is whole; what a killed run left half-done is made anew."""
    if any(installed(stage) for stage in STAGES):
        job.note = "kept"
        return
    if VENV.exists():
        shutil.rmtree(VENV)
    job.run([sys.executable, "-m", "venv", VENV], sentence="a Python virtual environment could not be made")


def install(job: Job, stage: str) -> None:
    """All hashes are checked; the checkout itself is found by a path file, so that edits count at once."""
    python = VENV / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    job.run(
        [*pip, "--require-hashes", "-r", requirements(stage)], sentence="the locked packages could not be installed"
    )
    job.run([*pip, "--no-deps", "--no-build-isolation", "--editable", paths.REPO], cwd=paths.REPO)
    stamp(stage).write_text(key(stage))


def make(stage: str) -> None:
    """Installs a stage."""
    run_steps(
        [
            Step("python packages", packages),
            Step("environment", environment, ("python packages",)),
            Step("requirements", lambda job: install(job, stage), ("environment",)),
        ],
        paths.DEV / "logs",
    )


def main() -> int:
    """The exit code. The one argument is the stage."""
    stage = sys.argv[1] if len(sys.argv) == 2 else ""
    if stage not in STAGES:
        print(f"usage: python3 -m hack.venv {'|'.join(STAGES)}", file=sys.stderr)
        return 2
    if any(installed(known) for known in STAGES[STAGES.index(stage) :]):
        return 0
    try:
        with machine_lock():
            make(stage)
    except Failure as failure:
        print(f"make venv: {failure}", file=sys.stderr)
        return 1
    say(f"{VENV.name} is ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
