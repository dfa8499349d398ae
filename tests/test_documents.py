"""README and docs/: links lead somewhere, every page is found, and flags are those that there are."""

import re

import pytest

from orchestrator.__main__ import _parser
from tests.documentation import REPOSITORY

DOCUMENTS = [
    REPOSITORY / "README.md",
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "data" / "README.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
INDEX = REPOSITORY / "docs" / "README.md"


def prose(path) -> str:
    """A document without its blocks of code, where brackets are no links and # is no heading."""
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(path) -> set[str]:
    """What headings are called in an address: small letters, words joined by hyphens, marks left out."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def links(path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(path))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_leads_to_a_file_and_a_heading_that_exist(path):
    for link in links(path):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_of_docs_is_in_the_index():
    linked = {(INDEX.parent / link).resolve() for link in links(INDEX)}
    pages = set((REPOSITORY / "docs").glob("*.md")) - {INDEX}
    assert pages and pages <= linked, sorted(path.name for path in pages - linked)


def test_every_flag_is_in_the_table_of_the_readme_and_the_other_way_round():
    table = "\n".join(re.findall(r"^\| `--.*$", (REPOSITORY / "README.md").read_text(), re.MULTILINE))
    flags = {flag for action in _parser()._actions for flag in action.option_strings if flag[:2] == "--"}
    assert set(re.findall(r"--[a-z][a-z-]*", table)) == flags - {"--help"}
