"""Links between the pages of the documentation: every one leads somewhere, also to its heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
PAGES = sorted(
    [REPO / "README.md", *REPO.glob("docs/**/*.md"), *REPO.glob("charts/*/*.md"), *REPO.glob("hack/**/*.md")]
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_ADR = re.compile(r"\bdocs/adr/(\d{4})\b")


def prose(page: Path) -> str:
    """Without examples."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Those that GitHub gives the headings."""
    headings = re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> Iterator[str]:
    """Links that lead nowhere."""
    for link in _LINK.findall(_CODE.sub("", prose(page))):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_decisions_that_are_referred_to_exist() -> None:
    named = {number for page in PAGES for number in _ADR.findall(page.read_text(encoding="utf-8"))}
    there = {page.name[:4] for page in REPO.glob("docs/adr/*.md")}
    assert named <= there
    assert len(there) == len(list(REPO.glob("docs/adr/*.md"))), "two decisions have one number"


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in REPO.glob("docs/*.md") if f"(docs/{page.name})" not in readme] == []
