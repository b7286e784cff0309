"""The docs build as a site, and every link of the repository's pages leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")

LOADED = re.compile(
    r"""<(?:script|img|iframe)[^>]*src="?(https?://[^"\s>]+)"""
    r"""|<link rel="?(?!canonical)[^>]*href="?(https?:[^"\s>]+)"""
)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, which GitHub and the site spell alike."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def build(target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(target), *arguments]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False)


def test_docs_site_builds_without_broken_links_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    built = build(tmp_path / "site")

    assert built.returncode == 0, built.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 50
    assert [(page.name, found) for page in pages for found in LOADED.findall(page.read_text())] == []


def test_broken_anchor_fails_the_build_of_the_docs_site(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("# Annals\n\n[nowhere](#not-there)\n")
    settings = (ROOT / "mkdocs.yml").read_text().split("\nnav:")[0]
    settings = settings.replace("docs_dir: docs", f"docs_dir: {docs}").replace("hooks: [", f"hooks: [{ROOT}/")
    (tmp_path / "mkdocs.yml").write_text(settings)

    built = build(tmp_path / "site", "--config-file", str(tmp_path / "mkdocs.yml"))

    assert built.returncode != 0
    assert "not-there" in built.stderr


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_links_of_the_pages_outside_the_site_lead_to_files_and_headings(page: str) -> None:
    links = [link.partition("#") for link in LINK.findall((ROOT / page).read_text())]

    assert [name for name, _, _ in links if not (ROOT / name).exists()] == []
    assert [(name, anchor) for name, _, anchor in links if anchor and anchor not in anchors(ROOT / name)] == []


@pytest.mark.parametrize("start", ["README.md", "docs/index.md"])
def test_each_page_is_linked_from_the_start(start: str) -> None:
    linked = {Path(link.partition("#")[0]).name for link in LINK.findall((ROOT / start).read_text())}

    assert {page.name for page in (ROOT / "docs").glob("*.md")} - linked <= {"index.md"}


def test_each_version_of_the_changelog_fits_on_two_pages() -> None:
    """After a merge that brought former text back, keep the shorter one and add the new lines to it."""
    versions = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]

    long = {version.splitlines()[0]: version.count("\n") for version in versions if version.count("\n") > 120}

    assert long == {}, "say in one line each what users notice; at most 120 lines a version"
