"""What README and docs point to is there."""

import re
from pathlib import Path

import pytest

from pgdrill.settings import ROOT

pytestmark = pytest.mark.unit

DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")))
LINES = 170  # of the README: what a newcomer reads before the first command has ended


def name(document: Path) -> str:
    """Return its path in the repository."""
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    """A link to another site is not followed; any other has to be there."""
    targets = re.findall(r"\]\(([^)#\s]+)", document.read_text())
    missing = [
        target
        for target in targets
        if "://" not in target and not (document.parent / target).exists()
    ]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    """Of commands in code only: `make NAME ...`, or a line of a block."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert targets
    text = document.read_text()
    named = set(re.findall(r"`make ([a-z]+)", text)) | set(
        re.findall(r"^make ([a-z]+)", text, re.M)
    )
    assert not named - targets


def test_the_readme_is_for_a_newcomer() -> None:
    """Whatever is for later has a page of its own below docs, and each of those is linked."""
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= LINES
    pages = {path.name for path in ROOT.glob("docs/*.md")}
    assert not {page for page in pages if f"docs/{page}" not in text}
