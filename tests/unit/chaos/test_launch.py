"""The clock that can be stepped, in a process of its own: it replaces what others use too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.chaos import launch

PROGRAM = """
import json, struct, sys, time
from datetime import UTC, date, datetime
from pathlib import Path
from tests.chaos import launch
file = Path(sys.argv[0]).with_name("clock")
real, mono = time.clock_gettime(time.CLOCK_REALTIME), time.monotonic()
ahead = datetime.now(UTC).timestamp() - real, time.time() - real
launch.put(file, -100.0)
back = datetime.now(UTC).timestamp() - real, time.time() - real
made = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
print(json.dumps({
    "ahead": ahead, "back": back, "monotonic": time.monotonic() - mono,
    "is": [isinstance(made, datetime), isinstance(datetime(2026, 1, 1), datetime), isinstance(date.today(), datetime)],
    "sum": (made - datetime(2025, 12, 31, tzinfo=UTC)).total_seconds(),
}))
"""


def test_both_clocks_are_stepped_and_nothing_else(tmp_path: Path) -> None:
    clock, program = tmp_path / "clock", tmp_path / "program.py"
    launch.put(clock, 240.0)
    program.write_text(PROGRAM)
    repo = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.launch", str(clock), str(program)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(repo)},
        cwd=repo,
    )
    told = json.loads(done.stdout)
    assert all(abs(value - 240) < 5 for value in told["ahead"])
    assert all(abs(value + 100) < 5 for value in told["back"])
    assert 0 <= told["monotonic"] < 5
    assert told["is"] == [True, True, False]
    assert told["sum"] == 86_400
