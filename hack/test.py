"""`make test`: unit tests, then on the cluster of `make up` the demo, end-to-end and fault tests; a summary of all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
RESULTS = REPO / ".dev" / "test"
# They run one after the other: end-to-end tests wait for pods, and unit tests would take the cores from them.
SUITES = ("unit", "e2e-alone", "e2e-side")
# Faults of every kind, for as long as a run of all tests can wait.
CHAOS, CHAOS_DURATION = "chaos", "3m"


@dataclass(frozen=True, slots=True)
class Result:
    """What one suite came to."""

    suite: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    code: int


def run(suite: str) -> Result:
    """Runs `make SUITE` with its output shown, and reads the counts that pytest wrote."""
    report = RESULTS / f"{suite}.xml"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    options = f"{os.environ.get('PYTEST_ADDOPTS', '')} --junitxml={report}".strip()
    code = subprocess.run(
        ["make", "--no-print-directory", suite], cwd=REPO, env={**os.environ, "PYTEST_ADDOPTS": options}, check=False
    ).returncode
    seconds = time.monotonic() - began
    if not report.is_file():
        return Result(suite, 0, 1, 0, seconds, code or 1)  # it broke before it could count
    held = ET.parse(report).getroot()  # noqa: S314 - our own pytest has just written it
    counts = {key: sum(int(s.get(key, 0)) for s in held.iter("testsuite")) for key in ("tests", "failures", "errors")}
    skipped = sum(int(s.get("skipped", 0)) for s in held.iter("testsuite"))
    failed = counts["failures"] + counts["errors"]
    return Result(suite, counts["tests"] - failed - skipped, failed, skipped, seconds, code)


def run_demo() -> Result:
    """What the README promises first, as a whole: it passes, or it does not."""
    began = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "hack.demo"], cwd=REPO, check=False).returncode
    return Result("demo", int(code == 0), int(code != 0), 0, time.monotonic() - began, code)


def seed() -> int:
    """Another one for each commit; the same for the same, so that a finding can be looked for again."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPO, capture_output=True, text=True, check=False).stdout
    return int(commit.strip() or "1", 16) % 1_000_000


def run_chaos() -> Result:
    """Faults at random moments: an Execution that came to what it must counts as passed, a finding as failed."""
    report = REPO / ".dev" / "chaos" / "report.json"
    report.unlink(missing_ok=True)
    began = time.monotonic()
    asked = [f"DURATION={CHAOS_DURATION}", f"SEED={seed()}"]
    code = subprocess.run(["make", "--no-print-directory", CHAOS, *asked], cwd=REPO, check=False).returncode
    seconds = time.monotonic() - began
    if not report.is_file():
        return Result(CHAOS, 0, 1, 0, seconds, code or 1)
    told = json.loads(report.read_text())
    return Result(CHAOS, max(0, told["executions"] - len(told["findings"])), len(told["findings"]), 0, seconds, code)


def main() -> int:
    """0 where every suite ended well and ran something."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    unit, *others = SUITES
    results = [run(unit), run_demo(), *(run(suite) for suite in others), run_chaos()]
    print(f"\n{'suite':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for held in results:
        print(f"{held.suite:<10}{held.passed:>8}{held.failed:>8}{held.skipped:>9}{held.seconds:>9.0f}")
    passed, failed, skipped = (sum(getattr(r, key) for r in results) for key in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if all(held.code == 0 and held.passed for held in results) else 1


if __name__ == "__main__":
    sys.exit(main())
