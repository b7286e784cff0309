"""The fetching process: takes one job from its standard input, carries it out within bounds, and tells what it found.

It is started anew for each job, with no secret but the job's own, so that what a repository holds meets nothing else.
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
from annals.vcs import archive, bundled, commits, git, guard
from annals.vcs.errors import RepositoryError
from annals.vcs.github import Repository
from annals.vcs.jobs import Bundled, Folder, Found, Git, GitHub, Job, JobRefused, Place, Reply
from annals.vcs.references import Chosen
from annals.vcs.trees import Files, author_of, commit_of, message_of

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_MOST_FILES_OPEN = 256


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    confine(job)
    sys.stdout.buffer.write(msgspec.json.encode(answer(job)))


def confine(job: Job) -> None:
    """End with the one who asked, use no more than was allowed, connect to nowhere inside, start no program."""
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
    place = job.place
    places = (place, job.template.place) if job.template else (place,)
    trusted = [urlsplit(one.url).hostname or "" for one in places if isinstance(one, Git) and one.trusted]
    guard.install([*job.allowed_hosts, *trusted])


def answer(job: Job) -> Reply:
    """Carry a job out; every failure is told."""
    try:
        return carry_out(job)
    except RepositoryError as refusal:
        return JobRefused(kind=refusal.kind, sentence=refusal.sentence)
    except (MemoryError, RecursionError):
        return JobRefused(kind="too_large", sentence="The repository needs more memory than a fetch may use.")
    except (ObjectFormatException, AssertionError, KeyError, ValueError) as error:
        return JobRefused(
            kind="failed", sentence=f"The repository cannot be read: {type(error).__name__}: {error}"[:500]
        )
    except OSError as error:
        return JobRefused(kind="failed", sentence=f"The fetch failed on this side: {error.strerror or error}")


def carry_out(job: Job) -> Found:
    """What a reference leads to, with the folder packed when that was asked for. Raises RepositoryError."""
    if isinstance(job.place, GitHub):
        return _at_github(Repository(job.place, now=time.time(), allowed_hosts=job.allowed_hosts), job)
    if job.report is not None:
        return Found(origin=job.known)  # such a host shows nothing beside its commits
    fetched = (
        _with_template(job.place, job) if isinstance(job.place, Git) and job.template else _fetched(job.place, job, job)
    )
    return Found(
        origin=_origin(fetched, job, job.place.web_url if isinstance(job.place, Git) else ""),
        files=_packed(Files(fetched.store, *_where(fetched, job)), job) if job.archive else 0,
    )


def _at_github(repository: Repository, job: Job) -> Found:
    if job.report is not None:
        repository.report(job.report)
        return Found(origin=job.known)
    if job.template is None:
        origin = repository.find(job.reference_type, job.reference, job.root_directory, shown=job.known.branch)
        return Found(origin=origin, files=_packed(repository.files(origin, job.bounds), job) if job.archive else 0)
    fetched = _with_template(repository.git(), job)
    origin = repository.find("commit", fetched.chosen.commit, job.root_directory, shown=fetched.chosen.name)
    return Found(origin=origin, files=_packed(Files(fetched.store, *_where(fetched, job)), job) if job.archive else 0)


def _packed(entries: Iterable[archive.Entry], job: Job) -> int:
    return archive.pack(entries, Path(job.archive), job.bounds)


def _where(fetched: git.Fetched, job: Job) -> tuple[str, str, str]:
    return fetched.chosen.commit, job.root_directory, fetched.chosen.name


def _fetched(place: Place, wanted: Job | Folder, job: Job, folder: str = "") -> git.Fetched:
    """A commit with its files, within the job's bounds; `folder` keeps two of one job apart."""
    if isinstance(place, Bundled):
        return bundled.open_bundled(wanted.reference_type, wanted.reference)
    if not isinstance(place, Git):
        raise RepositoryError("failed", "This repository is not reached by git.")
    scratch = Path(job.folder) / folder
    scratch.mkdir(exist_ok=True)
    return git.fetch(
        place,
        wanted.reference_type,
        wanted.reference,
        folder=scratch,
        bounds=job.bounds,
        allowed_hosts=job.allowed_hosts,
    )


def _with_template(place: Git, job: Job) -> git.Fetched:
    """The branch with the template in its folder, committed and pushed unless it is there already."""
    wanted = job.template
    if wanted is None or job.reference_type != "branch":
        raise RepositoryError("reference", "A template is committed to a branch.")
    template = _fetched(wanted.place, wanted, job, "template")
    entries = Files(template.store, template.chosen.commit, wanted.root_directory, template.chosen.name)
    fetched = _fetched(place, job, job)
    branch, parent = fetched.chosen
    message = f"Add {wanted.root_directory or 'template'} {template.chosen.name}\n"
    commit, objects = commits.with_files(
        fetched.store, parent, job.root_directory, entries, message=message, now=int(time.time())
    )
    if objects:
        git.push(place, branch, parent, commit, objects, allowed_hosts=job.allowed_hosts)
    return git.Fetched(fetched.store, Chosen(branch, commit))


def _origin(fetched: git.Fetched, job: Job, web_url: str) -> Origin:
    """`web_url` is where people see the repository, empty when its commits are shown nowhere."""
    name, sha = fetched.chosen
    commit = commit_of(fetched.store, sha)
    known = job.known
    if job.reference_type == "commit" and known.branch:
        name = known.branch  # a commit is shown by the branch that it was found on
    return msgspec.structs.replace(
        known,
        branch=name,
        branch_url=f"{known.repository_url}/{_shows(job)}/{quote(name, safe='/')}" if known.repository_url else "",
        commit_hash=sha,
        commit_message=message_of(commit),
        commit_url=f"{web_url}/commit/{sha}" if web_url else "",
        commit_author=author_of(commit),
        root_directory=job.root_directory,
    )


def _shows(job: Job) -> str:
    """The word of a reference's page: a template's is `blob` (http-api.md 7.15)."""
    return "tree" if job.known.repository_id else "blob"


if __name__ == "__main__":
    main()
