"""Builds reuse downloads and artefacts of earlier builds with the same input, and nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from annals.domain.ports import Artefact, Build, Limits
from annals.executor.builds import cache as buildcache
from annals.executor.builds.cache import BuildCache, cache_keys
from annals.executor.isolation import folders, trash
from tests.unit.executor.archives import deep

JOB = Build(
    project="p",
    function="f",
    deployment="d1",
    epoch=1,
    runtime="node-22",
    source=Artefact(key="s", digest="0" * 64, size=1),
    output_key="o",
    entrypoint="index.js",
    commands="npm ci",
    output_directory="",
    environment={"A": "1", "APPWRITE_FUNCTION_DEPLOYMENT": "d1", "APPWRITE_FUNCTION_API_KEY": "k1"},
    limits=Limits(cpus=1, memory_mb=64),
    timeout_seconds=1,
    output_limit_bytes=1,
)
LOCK = {"package-lock.json": "{}", "package.json": "{}"}


def source(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def changed(**changes: object) -> Build:
    return msgspec.structs.replace(JOB, **changes)


def test_key_of_downloads_depends_on_runtime_commands_and_package_files(tmp_path: Path) -> None:
    source(tmp_path, LOCK)
    first = cache_keys(JOB, tmp_path).packages

    (tmp_path / "index.js").write_text("changed")
    assert cache_keys(changed(entrypoint="other.js"), tmp_path).packages == first
    assert cache_keys(changed(runtime="node-24"), tmp_path).packages != first
    assert cache_keys(changed(commands="npm install"), tmp_path).packages != first
    (tmp_path / "package-lock.json").write_text('{"x": 1}')
    assert cache_keys(JOB, tmp_path).packages != first


def test_lock_files_in_folders_below_count_but_not_those_of_packages(tmp_path: Path) -> None:
    source(tmp_path, LOCK)
    first = cache_keys(JOB, tmp_path).packages
    source(tmp_path, {"node_modules/a/package.json": "{}"})
    assert cache_keys(JOB, tmp_path).packages == first
    source(tmp_path, {"web/yarn.lock": "x"})

    assert cache_keys(JOB, tmp_path).packages != first


def test_key_of_an_artefact_depends_on_all_input_but_not_on_the_deployment(tmp_path: Path) -> None:
    source(tmp_path, LOCK)
    first = cache_keys(JOB, tmp_path).artefact
    later = {**JOB.environment, "APPWRITE_FUNCTION_DEPLOYMENT": "d2", "APPWRITE_FUNCTION_API_KEY": "k2"}

    assert first
    assert cache_keys(changed(deployment="d2", environment=later), tmp_path).artefact == first
    assert cache_keys(changed(environment={"A": "2"}), tmp_path).artefact != first
    assert cache_keys(changed(source=Artefact(key="s", digest="1" * 64, size=1)), tmp_path).artefact == first
    assert cache_keys(changed(output_directory="dist"), tmp_path).artefact != first
    (tmp_path / "package.json").chmod(0o755)
    assert cache_keys(JOB, tmp_path).artefact != first
    (tmp_path / "package.json").chmod(0o644)
    (tmp_path / "index.js").write_text("changed")
    assert cache_keys(JOB, tmp_path).artefact != first


@pytest.mark.parametrize(
    ("files", "commands", "fixed"),
    [
        ({}, "  ", True),
        ({}, "npm install", False),
        ({"package.json": "{}"}, "npm install", False),
        (LOCK, "npm install", True),
        ({"requirements.txt": "a\nb==1"}, "pip install -r requirements.txt", False),
        (
            {"requirements.txt": "# all\na==1 \\\n --hash=sha256:00\n\nb==1  # b"},
            "pip install -r requirements.txt",
            True,
        ),
        ({"requirements.txt": "-r other.txt"}, "pip install -r requirements.txt", False),
    ],
)
def test_artefact_is_reused_only_if_all_versions_are_fixed(
    tmp_path: Path, files: dict[str, str], commands: str, fixed: bool
) -> None:
    assert bool(cache_keys(changed(commands=commands), source(tmp_path, files)).artefact) is fixed


def test_links_in_a_source_are_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "package-lock.json").symlink_to(secret)
    first = cache_keys(JOB, tmp_path / "source")
    secret.write_text("two")

    assert cache_keys(JOB, tmp_path / "source") == first


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[BuildCache]:
    made = BuildCache(tmp_path / "cache", most_bytes=3_000_000, project_bytes=2_000_000)
    made.open()
    yield made
    for folder in tmp_path.iterdir():  # deeper than what follows can remove
        trash.remove(folder)


def left(folder: Path, size: int) -> Path:
    folder.mkdir()
    (folder / "download").write_bytes(os.urandom(size))
    return folder


async def test_next_build_of_a_project_finds_the_downloads_of_the_last_one(cache: BuildCache, tmp_path: Path) -> None:
    assert not await cache.take("p", "k", tmp_path / "first")
    await cache.give("p", "k", left(tmp_path / "a", 10))

    assert not await cache.take("other", "k", tmp_path / "others")
    assert await cache.take("p", "k", tmp_path / "second")
    assert (tmp_path / "second" / "download").stat().st_size == 10


async def test_concurrent_builds_do_not_share_downloads_and_the_last_one_is_kept(
    cache: BuildCache, tmp_path: Path
) -> None:
    await cache.give("p", "k", left(tmp_path / "a", 10))
    assert await cache.take("p", "k", tmp_path / "b")
    assert not await cache.take("p", "k", tmp_path / "c")
    await cache.give("p", "k", tmp_path / "b")
    await cache.give("p", "k", left(tmp_path / "d", 20))

    assert await cache.take("p", "k", tmp_path / "e")
    assert (tmp_path / "e" / "download").stat().st_size == 20


async def test_project_and_all_together_are_bounded(cache: BuildCache, tmp_path: Path) -> None:
    for n in range(3):
        await cache.give("p", f"k{n}", left(tmp_path / f"p{n}", 900_000))
        os.utime(cache._downloads("p", f"k{n}"), (n, n))
        await cache.swept()
    assert not await cache.take("p", "k0", tmp_path / "gone")
    for n in range(3):
        await cache.give(f"q{n}", "k", left(tmp_path / f"q{n}", 900_000))
    await cache.swept()

    kept = [path for path in (tmp_path / "cache").glob("*/packages/*") if path.is_dir()]
    assert len(kept) == 3


async def test_least_recently_used_downloads_of_all_projects_go_first(cache: BuildCache, tmp_path: Path) -> None:
    for n in range(4):
        await cache.give(f"p{n}", "k", left(tmp_path / f"p{n}", 900_000))
        os.utime(cache._downloads(f"p{n}", "k"), (100 - n, 100 - n))
    await cache.swept()
    await cache.give("p4", "k", left(tmp_path / "p4", 900_000))
    await cache.swept()

    assert [cache._downloads(f"p{n}", "k").exists() for n in range(5)] == [True, True, False, False, True]


async def test_downloads_larger_than_a_projects_share_are_not_kept(cache: BuildCache, tmp_path: Path) -> None:
    await cache.give("p", "k", left(tmp_path / "a", 2_500_000))

    assert not await cache.take("p", "k", tmp_path / "b")


async def test_downloads_of_a_project_are_never_walked_in_the_build_of_another(
    cache: BuildCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.give("hostile", "k", left(tmp_path / "a", 10))
    await cache.swept()
    walked: list[Path] = []
    init = folders.Walk.__init__

    def noted(walk: folders.Walk, folder: Path, bounds: folders.WalkBounds) -> None:
        walked.append(folder)
        init(walk, folder, bounds)

    monkeypatch.setattr(folders.Walk, "__init__", noted)
    await cache.give("quiet", "k", left(tmp_path / "b", 10))
    await cache.swept()

    assert walked == [tmp_path / "b"]


async def test_deep_downloads_are_kept_and_removed_like_any_other(cache: BuildCache, tmp_path: Path) -> None:
    deep(tmp_path / "deep", 1_500)
    await cache.give("hostile", "k", tmp_path / "deep")
    await cache.give("quiet", "k", left(tmp_path / "a", 10))
    await cache.swept()

    assert await cache.take("quiet", "k", tmp_path / "b")
    assert cache._sweeping is not None
    assert cache._sweeping.exception() is None


async def test_downloads_that_cannot_be_measured_are_dropped_whole(
    cache: BuildCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buildcache, "LOOK", folders.WalkBounds(entries=0))
    await cache.give("hostile", "k", left(tmp_path / "a", 10))

    assert not await cache.take("hostile", "k", tmp_path / "b")


async def test_downloads_without_a_recorded_size_are_dropped_whole(cache: BuildCache, tmp_path: Path) -> None:
    await cache.give("hostile", "k", left(tmp_path / "a", 10))
    await cache.swept()
    for record in (tmp_path / "cache").glob("*/sizes/*"):
        record.unlink()
    await cache.give("quiet", "k", left(tmp_path / "b", 10))
    await cache.swept()

    assert not await cache.take("hostile", "k", tmp_path / "c")
    assert await cache.take("quiet", "k", tmp_path / "d")


async def test_failed_sweeps_fail_no_build(cache: BuildCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: BuildCache) -> None:
        raise RecursionError

    monkeypatch.setattr(BuildCache, "_shrink", broken)
    await cache.give("p", "k", left(tmp_path / "a", 10))
    await cache.swept()

    assert await cache.take("p", "k", tmp_path / "b")


async def test_recorded_artefact_is_returned(cache: BuildCache) -> None:
    artefact = Artefact(key="k", digest="0" * 64, size=3)
    await cache.keep_artefact("p", "w", artefact)

    assert await cache.artefact("p", "w") == artefact
    assert await cache.artefact("p", "x") is None
    assert await cache.artefact("q", "w") is None
