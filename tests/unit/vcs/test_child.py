"""The fetching process tells every failure in a sentence; nothing it meets ends it without an answer."""

import os
from pathlib import Path

import pytest

from annals.domain.origin import Origin
from annals.vcs import child
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bounds, Bundled, Found, Job, JobRefused


def job(folder: Path, **fields: object) -> Job:
    standing = {
        "place": Bundled(),
        "reference_type": "branch",
        "reference": "main",
        "root_directory": "node/starter",
        "archive": str(folder / "source.tar.gz"),
        "folder": str(folder),
        "known": Origin(repository_url="https://github.com/appwrite/templates"),
        "bounds": Bounds(),
        "parent": os.getpid(),
    }
    return Job(**{**standing, **fields})  # type: ignore[arg-type]


def test_what_was_found_is_told_with_its_archive(tmp_path: Path) -> None:
    answer = child.answer(job(tmp_path))

    assert isinstance(answer, Found)
    assert answer.files == 3
    assert answer.origin.branch_url == "https://github.com/appwrite/templates/blob/main"
    assert (tmp_path / "source.tar.gz").stat().st_size > 0


def test_a_look_up_packs_nothing(tmp_path: Path) -> None:
    answer = child.answer(job(tmp_path, archive="", root_directory="none"))

    assert isinstance(answer, Found)
    assert list(tmp_path.iterdir()) == []


def test_a_commit_keeps_the_branch_it_was_found_on(tmp_path: Path) -> None:
    found = child.answer(job(tmp_path, archive=""))
    assert isinstance(found, Found)
    known = Origin(branch="main")

    by_commit = child.answer(
        job(tmp_path, archive="", reference_type="commit", reference=found.origin.commit_hash, known=known)
    )

    assert isinstance(by_commit, Found)
    assert (by_commit.origin.branch, by_commit.origin.commit_hash) == ("main", found.origin.commit_hash)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (RepositoryError("folder", "None."), "folder"),
        (MemoryError(), "too_large"),
        (RecursionError(), "too_large"),
        (AssertionError("x"), "failed"),
        (KeyError(b"abc"), "failed"),
        (OSError(28, "No space left on device"), "failed"),
    ],
)
def test_every_failure_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, kind: str
) -> None:
    def fail(_job: Job) -> Found:
        raise failure

    monkeypatch.setattr(child, "carry_out", fail)

    answer = child.answer(job(tmp_path))

    assert isinstance(answer, JobRefused)
    assert answer.kind == kind
    assert answer.sentence.endswith(".") or "No space" in answer.sentence or "Error" in answer.sentence
