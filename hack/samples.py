"""Writes manifests/samples/00-agents.yaml from agents/*/agent.yaml, so that one folder is enough."""

from __future__ import annotations

from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
TARGET = REPO / "manifests" / "samples" / "00-agents.yaml"
HEAD = "# Generated from agents/*/agent.yaml by `make crds`; edit those.\n"


def shipped_agents() -> str:
    """All shipped agents as one YAML stream, in the order of their folders."""
    sources = sorted((REPO / "agents").glob("*/agent.yaml"))
    return HEAD + "".join(f"---\n{source.read_text()}" for source in sources)


if __name__ == "__main__":
    TARGET.write_text(shipped_agents())
    print(f"wrote {TARGET.relative_to(REPO)}")
