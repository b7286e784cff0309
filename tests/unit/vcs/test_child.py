"""The fetching process answers every failure with a sentence."""

import os
from pathlib import Path

import pytest

from annals.domain.origin import Origin
from annals.vcs import child
from annals.vcs.errors import RepositoryError
from annals.vcs.jobs import Bundled, FetchBounds, FetchJob, FetchResult, JobFailed


def job(folder: Path, **fields: object) -> FetchJob:
    standing = {
        "location": Bundled(),
        "reference_type": "branch",
        "reference": "main",
        "root_directory": "node/starter",
        "archive": str(folder / "source.tar.gz"),
        "folder": str(folder),
        "known": Origin(repository_url="https://github.com/appwrite/templates"),
        "bounds": FetchBounds(),
        "parent": os.getpid(),
    }
    return FetchJob(**{**standing, **fields})  # type: ignore[arg-type]


def test_result_has_origin_and_archive(tmp_path: Path) -> None:
    answer = child.answer(job(tmp_path))

    assert isinstance(answer, FetchResult)
    assert answer.files == 3
    assert answer.origin.branch_url == "https://github.com/appwrite/templates/blob/main"
    assert (tmp_path / "source.tar.gz").stat().st_size > 0


def test_lookup_writes_no_archive(tmp_path: Path) -> None:
    answer = child.answer(job(tmp_path, archive="", root_directory="none"))

    assert isinstance(answer, FetchResult)
    assert list(tmp_path.iterdir()) == []


def test_commit_keeps_the_branch_of_its_first_fetch(tmp_path: Path) -> None:
    found = child.answer(job(tmp_path, archive=""))
    assert isinstance(found, FetchResult)
    known = Origin(branch="main")

    by_commit = child.answer(
        job(tmp_path, archive="", reference_type="commit", reference=found.origin.commit_hash, known=known)
    )

    assert isinstance(by_commit, FetchResult)
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
def test_every_exception_becomes_a_failed_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, kind: str
) -> None:
    def fail(_job: FetchJob) -> FetchResult:
        raise failure

    monkeypatch.setattr(child, "carry_out", fail)

    answer = child.answer(job(tmp_path))

    assert isinstance(answer, JobFailed)
    assert answer.kind == kind
    assert answer.sentence.endswith(".") or "No space" in answer.sentence or "Error" in answer.sentence
