"""The fetching process: reads one job from standard input, carries it out within bounds, and writes the result.

Each job has a process of its own, with the job's secrets only. So a hostile repository finds nothing else in it.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, urlsplit

import msgspec
from dulwich.errors import ObjectFormatException

from annals.domain.origin import Origin
from annals.vcs import archive, commits, git, guard
from annals.vcs.commits import Files, author_of, commit_of, message_of
from annals.vcs.errors import RepositoryError
from annals.vcs.github import GitHubRepository
from annals.vcs.jobs import Bundled, FetchJob, FetchResult, Folder, Git, GitHub, JobFailed, Location, Reply
from annals.vcs.references import ResolvedReference

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_MOST_FILES_OPEN = 256


def main() -> None:
    """Carry out the job of standard input."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=FetchJob)
    confine(job)
    sys.stdout.buffer.write(msgspec.json.encode(answer(job)))


def confine(job: FetchJob) -> None:
    """End with the parent process, stay within the bounds, connect to no internal address, start no program."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != job.parent:
        sys.exit(1)
    bounds = job.bounds
    seconds = int(bounds.seconds) + 1
    for kind, most in (
        (resource.RLIMIT_AS, bounds.memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, max(bounds.transfer_bytes, bounds.archive_bytes) * 2),
        (resource.RLIMIT_NOFILE, _MOST_FILES_OPEN),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    location = job.location
    locations = (location, job.template.location) if job.template else (location,)
    trusted = [urlsplit(each.url).hostname or "" for each in locations if isinstance(each, Git) and each.trusted]
    guard.install([*job.allowed_hosts, *trusted])


def answer(job: FetchJob) -> Reply:
    """Carry a job out; every failure becomes a JobFailed."""
    try:
        return carry_out(job)
    except RepositoryError as error:
        return JobFailed(kind=error.kind, sentence=error.sentence)
    except (MemoryError, RecursionError):
        return JobFailed(kind="too_large", sentence="The repository needs more memory than a fetch may use.")
    except (ObjectFormatException, AssertionError, KeyError, ValueError) as error:
        return JobFailed(
            kind="failed", sentence=f"The repository cannot be read: {type(error).__name__}: {error}"[:500]
        )
    except OSError as error:
        return JobFailed(kind="failed", sentence=f"The fetch failed in Annals: {error.strerror or error}")


def carry_out(job: FetchJob) -> FetchResult:
    """Return the origin of a reference; pack the folder if the job has an archive. Raises RepositoryError."""
    if isinstance(job.location, GitHub):
        return _at_github(GitHubRepository(job.location, now=time.time(), allowed_hosts=job.allowed_hosts), job)
    if job.report is not None:
        return FetchResult(origin=job.known)  # such a host shows no statuses
    fetched = (
        _with_template(job.location, job)
        if isinstance(job.location, Git) and job.template
        else _fetched(job.location, job, job)
    )
    web_url = job.location.web_url if isinstance(job.location, Git) else ""
    return FetchResult(origin=_origin(fetched, job, web_url), files=_packed_commit(fetched, job))


def _at_github(repository: GitHubRepository, job: FetchJob) -> FetchResult:
    if job.report is not None:
        repository.report(job.report)
        return FetchResult(origin=job.known)
    if job.template is None:
        origin = repository.find(job.reference_type, job.reference, job.root_directory, shown=job.known.branch)
        return FetchResult(
            origin=origin, files=_packed(repository.files(origin, job.bounds), job) if job.archive else 0
        )
    fetched = _with_template(repository.git(), job)
    origin = repository.find("commit", fetched.chosen.commit, job.root_directory, shown=fetched.chosen.name)
    return FetchResult(origin=origin, files=_packed_commit(fetched, job))


def _packed(entries: Iterable[archive.SourceFile], job: FetchJob) -> int:
    return archive.pack(entries, Path(job.archive), job.bounds)


def _packed_commit(fetched: git.Fetched, job: FetchJob) -> int:
    if not job.archive:
        return 0
    return _packed(Files(fetched.store, fetched.chosen.commit, job.root_directory, fetched.chosen.name), job)


def _fetched(location: Location, wanted: FetchJob | Folder, job: FetchJob, folder: str = "") -> git.Fetched:
    """Return a commit with its files, within the job's bounds; `folder` separates two fetches of one job."""
    if isinstance(location, Bundled):
        return git.open_bundled(wanted.reference_type, wanted.reference)
    if not isinstance(location, Git):
        raise RepositoryError("failed", "This repository has no git URL.")
    workspace = Path(job.folder) / folder
    workspace.mkdir(exist_ok=True)
    return git.fetch(
        location,
        wanted.reference_type,
        wanted.reference,
        folder=workspace,
        bounds=job.bounds,
        allowed_hosts=job.allowed_hosts,
    )


def _with_template(location: Git, job: FetchJob) -> git.Fetched:
    """Return the branch with the template in its folder; commit and push it unless it is already there."""
    wanted = job.template
    if wanted is None or job.reference_type != "branch":
        raise RepositoryError("reference", "A template is committed to a branch. Choose the reference type branch.")
    template = _fetched(wanted.location, wanted, job, "template")
    entries = Files(template.store, template.chosen.commit, wanted.root_directory, template.chosen.name)
    fetched = _fetched(location, job, job)
    branch, parent = fetched.chosen
    message = f"Add {wanted.root_directory or 'template'} {template.chosen.name}\n"
    commit, objects = commits.commit_files(
        fetched.store, parent, job.root_directory, entries, message=message, now=int(time.time())
    )
    if objects:
        git.push(location, branch, parent, commit, objects, allowed_hosts=job.allowed_hosts)
    return git.Fetched(fetched.store, ResolvedReference(branch, commit))


def _origin(fetched: git.Fetched, job: FetchJob, web_url: str) -> Origin:
    """Return the origin of a fetched commit. `web_url` is the repository's page, empty if it has none."""
    name, sha = fetched.chosen
    commit = commit_of(fetched.store, sha)
    known = job.known
    if job.reference_type == "commit" and known.branch:
        name = known.branch  # a commit keeps the branch of its first fetch
    return msgspec.structs.replace(
        known,
        branch=name,
        branch_url=f"{known.repository_url}/{_page_kind(job)}/{quote(name, safe='/')}" if known.repository_url else "",
        commit_hash=sha,
        commit_message=message_of(commit),
        commit_url=f"{web_url}/commit/{sha}" if web_url else "",
        commit_author=author_of(commit),
        root_directory=job.root_directory,
    )


def _page_kind(job: FetchJob) -> str:
    """Return the word for a reference's page in its URL: `blob` for a template (http-api.md 7.15)."""
    return "tree" if job.known.repository_id else "blob"


if __name__ == "__main__":
    main()
