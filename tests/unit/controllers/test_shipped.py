"""Whether the worker image holds a handler, found without running it."""

from __future__ import annotations

from pathlib import Path

import pytest

from controllers.shipped import handler_problem

AGENTS = Path(__file__).parents[3] / "agents"


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    for name, source in {
        "greet": "import no_such_package\n\ndef run(task): ...\n\nasync def later(task): ...\n\ndef _help(): ...\n",
        "empty": "run = 1\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "handler.py").write_text(source)
    (tmp_path / "notes").mkdir()
    return tmp_path


@pytest.mark.parametrize("handler", ["greet:run", "greet:later"])
def test_a_handler_that_is_there(agents: Path, handler: str) -> None:
    assert handler_problem(agents, handler) is None


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        ("great:run", ["'great'", "it has empty, greet", "spec.runtime.image"]),
        ("notes:run", ["'notes'"]),
        ("greet:walk", ["'walk'", "it has run, later"]),
        ("greet:_help", ["'_help'"]),
        ("empty:run", ["'run'", "it has none"]),
    ],
)
def test_what_is_missing_is_named_with_what_is_there(agents: Path, handler: str, words: list[str]) -> None:
    problem = handler_problem(agents, handler)
    assert problem is not None
    assert [word for word in words if word not in problem] == []


def test_an_image_without_agents_says_so(tmp_path: Path) -> None:
    assert "it has none" in (handler_problem(tmp_path / "nowhere", "a:run") or "")


def test_every_shipped_agent_is_found() -> None:
    folders = sorted(path.parent.name for path in AGENTS.glob("*/handler.py"))
    assert folders
    assert [name for name in folders if handler_problem(AGENTS, f"{name}:run") is not None] == []
